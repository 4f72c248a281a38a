//! Configuration files: what is refused and where, what good files mean, and that nothing panics.

use std::{fs, num::NonZero, path::Path, time::Duration};

use evenkeel::config::{self, ConfigError, model::*};

#[path = "config/arbitrary.rs"]
mod arbitrary;
#[path = "config/bad.rs"]
mod bad;
#[path = "config/export.rs"]
mod export;
#[path = "config/include.rs"]
mod include;

const HEAD: &str = "version: 1\nnode: {interfaces: [eth0]}\n";

#[test]
fn errors_name_the_file_on_every_line() {
    let error = config::parse("version: 2\nnode: {interfaces: []}\nservices: []\n", "/etc/x.yaml").unwrap_err();
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "/etc/x.yaml:1:10: `version` 2 is not known to this release; use `version: 1`",
            "/etc/x.yaml:2:20: no interfaces; name at least one interface that receives traffic"
        ]
    );
    let json = serde_json::to_string(&error).unwrap();
    assert_eq!(serde_json::from_str::<ConfigError>(&json).unwrap(), error);
}

fn web() -> Service {
    Service {
        name: "web".into(),
        vip: "192.0.2.10/32".parse().unwrap(),
        ports: Ports::Range(80, 80),
        protocol: Protocol::Tcp,
        mode: ForwardingMode::DsrL2,
        tunnel: TunnelSources::default(),
        pool: PoolFamilies::default(),
        scheduler: Scheduler::of(SchedulerKind::Maglev),
        probe: Some(Probe {
            kind: ProbeKind::Tcp,
            interval: Duration::from_secs(2),
            fast_interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            port: None,
            source: None,
            initial: Initial::Down,
            damping: None,
            via: ProbeVia::Direct,
        }),
        quorum: None,
        hooks: Hooks::default(),
        on_no_backend: OnNoBackend::Drop,
        overflow_threshold: 70,
        on_backend_down: OnBackendDown::Move,
        fragments: Fragments::Drop,
        on_unknown_flow: OnUnknownFlow::Hash,
        quic: Vec::new(),
        affinity: None,
        slow_start: None,
        passive_health: None,
        max_connections: 0,
        limits: FlowLimits::default(),
        drain_timeout: Duration::from_secs(300),
        on_drain_timeout: OnDrainTimeout::Keep,
        timeouts: Timeouts::default(),
        backends: vec![server("192.0.2.101", "192.0.2.101", 80), server("192.0.2.102", "192.0.2.102", 80)],
    }
}

fn server(name: &str, address: &str, port: u16) -> Backend {
    let address = address.parse().unwrap();
    Backend {
        name: name.into(),
        address,
        mode: None,
        port,
        weight: 1,
        max_connections: None,
        priority: 0,
        backup: false,
        admin_state: AdminState::Enabled,
        quic_server_id: None,
    }
}

fn example(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name);
    config::load(&path).unwrap_or_else(|error| panic!("{error}"))
}

fn good(services: &str) -> Config {
    config::parse(&format!("{HEAD}{services}"), "good.yaml").unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn limits_are_a_services_own_or_the_defaults() {
    let text = "defaults: {limits: {new_per_second: 100, flood: auto}, deny: [192.0.2.0/24], max_connections: 7}
services:
- {name: a, vip: 192.0.2.1, port: 80, protocol: tcp, probe: none, backends: [10.0.0.1]}
- name: b
  vip: 192.0.2.2
  port: 53
  protocol: udp
  max_connections: 0
  limits: {client: {new_per_second: 5, burst: 9}, flood: 300, on_exceed: reject}
  allow: ['2001:db8::/32', 10.0.0.1]
  deny: []
  backends: [{address: 10.0.0.1, max_connections: 3}]
- {name: c, vip: 192.0.2.3, port: 53, protocol: udp, limits: {flood: auto}, timeouts: {udp_single: 10s}, backends: [10.0.0.1]}
- {name: d, vip: 192.0.2.4, port: 80, protocol: tcp, probe: none, limits: {}, backends: [10.0.0.1]}
";
    let config = good(text);
    let [a, b, c, d] = &config.services[..] else { panic!("four services") };
    let number = |number| NonZero::new(number).expect("not 0");
    let rate = |per_second, burst| RateLimit { per_second: number(per_second), burst: number(burst) };
    // A quarter of 1 048 576 entries in a minute.
    let expected = FlowLimits {
        rate: Some(rate(100, 100)),
        flood: Some(number(4369)),
        deny: vec!["192.0.2.0/24".parse().unwrap()],
        ..FlowLimits::default()
    };
    assert_eq!((&a.limits, a.max_connections, a.backends[0].max_connections), (&expected, 7, None));
    let expected = FlowLimits {
        client: Some(ClientLimit { rate: rate(5, 9), prefix_ipv4: 32, prefix_ipv6: 64 }),
        flood: Some(number(300)),
        on_exceed: OnExceed::Reject,
        allow: vec!["2001:db8::/32".parse().unwrap(), "10.0.0.1/32".parse().unwrap()],
        ..FlowLimits::default()
    };
    assert_eq!((&b.limits, b.max_connections, b.backends[0].max_connections), (&expected, 0, Some(3)));
    assert_eq!((c.limits.rate, c.limits.flood), (None, Some(number(26_214))));
    assert_eq!((d.limits.rate, d.limits.flood, d.limits.deny.len()), (None, None, 1));
}

#[test]
fn the_minimal_file_has_the_documented_defaults() {
    let expected = Config {
        node: Node {
            interfaces: vec![Interface { name: "eth0".into(), mode: AttachMode::Auto }],
            flow_entries: 1_048_576,
            fragment_entries: 16_384,
            fragment_timeout: Duration::from_secs(30),
            hash_secret: None,
            api_socket: "/run/evenkeel/evenkeel.sock".into(),
            api_group: None,
            pin_directory: "/sys/fs/bpf/evenkeel".into(),
            state_directory: "/var/lib/evenkeel".into(),
            tunnel: TunnelSources::default(),
            nat: Nat { entries: 262_144, pool: Vec::new() },
            icmp_echo: true,
            probe_mark: 0x00e7_0000,
            verify_interval: Duration::from_secs(60),
            limits: Limits { services: 1024, backends: 16_384, prefixes: 16_384, clients: 1 << 20, slots: 4_194_304 },
        },
        services: vec![web().into()],
    };
    assert_eq!(example("minimal.yaml"), expected);
}

#[test]
fn the_full_example_says_what_its_comments_say() {
    let config = example("evenkeel.yaml");
    let modes: Vec<_> = config.node.interfaces.iter().map(|interface| interface.mode).collect();
    assert_eq!(modes, [AttachMode::Auto, AttachMode::Native]);
    assert_eq!(config.node.api_group.as_deref(), Some("evenkeel"));
    assert_eq!(config.node.hash_secret.as_deref(), Some("replace-me-with-32-random-letters"));
    let [first, media, rest, h3, _] = config.services.as_slice() else { panic!("five services") };
    let sorry = Backend { backup: true, ..server("sorry", "192.0.2.109", 443) };
    let heavy = Backend { weight: 3, ..server("web-2", "192.0.2.102", 443) };
    let far = Backend { priority: 1, ..server("far", "192.0.2.103", 443) };
    let backends = vec![server("192.0.2.101", "192.0.2.101", 443), heavy, far, sorry];
    // `defaults` of the example are the built-in values, so `web` differs from the minimal one only in what it says.
    assert_eq!(**first, Service { ports: Ports::Range(443, 443), tunnel: config.node.tunnel, backends, ..web() });
    assert_eq!(config.node.tunnel.ipv4, "10.66.0.0/16".parse().ok());
    let probe = media.probe.as_ref().unwrap();
    assert_eq!((probe.port, probe.interval, probe.rise), (Some(8080), Duration::from_secs(5), 2));
    assert_eq!((media.ports, media.backends[0].port), (Ports::Range(8000, 8099), 8000));
    assert_eq!(media.timeouts, Timeouts { udp: Duration::from_secs(300), ..Timeouts::default() });
    assert_eq!((rest.ports, rest.backends[0].port), (Ports::Any, 0));
    assert_eq!(rest.scheduler, Scheduler { table_size: Some(65_537), ..Scheduler::of(SchedulerKind::Maglev) });
    let key = Some(0x8f95_f092_4576_5f80_2569_34e5_0c66_207f_u128.to_be_bytes());
    assert_eq!(h3.quic, [QuicParameters { id: 0, server_id_length: 4, nonce_length: 12, key }]);
    let ids: Vec<_> =
        h3.backends.iter().map(|backend| backend.quic_server_id.as_ref().map(|id| id.0.clone())).collect();
    assert_eq!(ids, [None, Some(vec![0, 0, 0, 0x0c])]);
}

#[test]
fn every_example_is_good() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let config = config::load(&path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(config::check_all(&config), Vec::<String>::new());
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} examples");
}

#[test]
fn defaults_apply_where_a_service_says_nothing() {
    let config = good(
        "defaults:
  probe: {type: tcp, interval: 10s, fall: 5}
  timeouts: {udp: 1m, tcp_setup: 5s}
  on_no_backend: reject
  overflow_threshold: 0
  fragments: hash
services:
  - {name: a, vip: 192.0.2.1, port: 80, protocol: tcp, probe: {type: tcp, fall: 7}, timeouts: {udp: 3m},
     backends: [10.0.0.1]}
  - {name: b, vip: 192.0.2.1, port: 81, protocol: tcp, probe: none, on_no_backend: fail-open, fragments: drop, overflow_threshold: 55,
     backends: [{address: 10.0.0.1, priority: 127}]}
  - {name: c, vip: 192.0.2.1, port: 80, protocol: udp, backends: [10.0.0.1]}
  - {name: d, vip: 192.0.2.2, port: 81, protocol: udp, probe: {type: tcp, port: 9}, backends: [10.0.0.1]}
",
    );
    let [a, b, c, d] = config.services.as_slice() else { panic!("four services") };
    let probe = a.probe.as_ref().unwrap();
    assert_eq!((probe.interval, probe.fall, probe.timeout), (Duration::from_secs(10), 7, Duration::from_secs(1)));
    let seconds = |timeouts: &Timeouts| (timeouts.udp.as_secs(), timeouts.tcp_setup.as_secs());
    assert_eq!((seconds(&a.timeouts), seconds(&b.timeouts)), ((180, 5), (60, 5)));
    assert_eq!((&b.probe, &c.probe), (&None, &None));
    assert_eq!((a.on_no_backend, b.on_no_backend), (OnNoBackend::Reject, OnNoBackend::FailOpen));
    assert_eq!((a.overflow_threshold, b.overflow_threshold, b.backends[0].priority), (0, 55, 127));
    assert_eq!((a.fragments, b.fragments), (Fragments::Hash, Fragments::Drop));
    let probe = d.probe.as_ref().unwrap();
    assert_eq!((probe.port, probe.interval), (Some(9), Duration::from_secs(10)));
}

#[test]
fn a_default_probe_with_a_port_is_for_udp_services_too() {
    let config = good(
        "defaults: {probe: {type: tcp, port: 9000}}
services: [{name: a, vip: 192.0.2.1, port: 53, protocol: udp, backends: [10.0.0.1]}]",
    );
    assert_eq!(config.services[0].probe.as_ref().unwrap().port, Some(9000));
}

#[test]
fn a_probe_takes_the_keys_of_a_default_of_its_type() {
    let config = good(
        "defaults: {probe: {type: http, path: /a, headers: {X-A: a}, interval: 5s, fast_interval: 1s}}
services:
  - {name: a, vip: 192.0.2.1, port: 80, protocol: tcp, probe: {type: http, status: 204}, backends: [10.0.0.1]}
  - {name: b, vip: 192.0.2.1, port: 443, protocol: tcp, probe: https, backends: [10.0.0.1]}
  - {name: c, vip: 192.0.2.1, port: 80, protocol: udp, backends: [10.0.0.1]}
  - {name: d, vip: 192.0.2.1, port: 81, protocol: udp, probe: icmp, backends: [10.0.0.1]}
  - {name: e, vip: 192.0.2.1, port: 82, protocol: tcp, backends: [10.0.0.1]}
  - {name: f, vip: 192.0.2.1, port: any, protocol: tcp, probe: icmp, backends: [10.0.0.1]}
",
    );
    let probes: Vec<_> = config.services.iter().map(|service| service.probe.as_ref()).collect();
    let http = |index: usize| match &probes[index].unwrap().kind {
        ProbeKind::Http(http) => http.clone(),
        other => panic!("{other:?}"),
    };
    let (a, b) = (http(0), http(1));
    assert_eq!((a.path.as_str(), a.status.to_string().as_str(), a.headers.len()), ("/a", "204", 1));
    assert_eq!((b.path.as_str(), b.tls.is_some(), b.headers.len()), ("/", true, 0));
    let times = |index: usize| probes[index].map(|probe| (probe.interval.as_secs(), probe.fast_interval.as_secs()));
    assert_eq!((times(0), times(1)), (Some((5, 1)), Some((2, 2))));
    assert_eq!(probes[2], None, "a UDP port answers no HTTP");
    assert_eq!((&probes[3].unwrap().kind, probes[3].unwrap().port_of(81)), (&ProbeKind::Icmp, 0));
    assert_eq!(http(4).path, "/a");
    assert_eq!(probes[5].unwrap().kind, ProbeKind::Icmp);
}

#[test]
fn a_default_for_udp_is_not_for_tcp_services() {
    let config = good(
        "defaults: {probe: {type: udp, send_hex: 00ff, expect: x}}
services:
  - {name: a, vip: 192.0.2.1, port: 80, protocol: tcp, backends: [10.0.0.1]}
  - {name: b, vip: 192.0.2.1, port: 80, protocol: udp, backends: [10.0.0.1]}
",
    );
    let kinds: Vec<_> = config.services.iter().map(|service| service.probe.as_ref().map(|probe| &probe.kind)).collect();
    let [Some(ProbeKind::Tcp), Some(ProbeKind::Udp(udp))] = kinds[..] else { panic!("{kinds:?}") };
    assert_eq!((udp.send.as_slice(), udp.expect.as_slice()), (&[0, 255][..], &b"x"[..]));
}

#[test]
fn on_the_way_of_the_traffic_services_of_a_vip_and_mode_share_a_target() {
    let service = |name: &str, rest: &str| {
        let probe = "probe: {type: http, port: 8080, via: vip, source: \"10.0.0.9\"}, backends: [10.0.0.1]";
        format!("\n  - {{name: s{name}, port: 8{name}, protocol: tcp, {rest}, {probe}}}")
    };
    let node = "version: 1\nnode: {interfaces: [eth0], tunnel: {source_ipv4: 10.66.0.0/16}}\n";
    let targets = |one: &str, other: &str| {
        let text = format!("{node}services:{}{}", service("1", one), service("2", other));
        let config = config::parse(&text, "good.yaml").unwrap_or_else(|error| panic!("{error}"));
        let of = |service: &std::sync::Arc<Service>| {
            evenkeel::probe::Target::of(service.probe.as_ref().unwrap(), service, &service.backends[0])
        };
        config.services.iter().map(of).collect::<std::collections::BTreeSet<_>>()
    };
    let both = targets("vip: 192.0.2.1", "vip: 192.0.2.1");
    let shown: Vec<String> = both.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["http 10.0.0.1:8080/ at 192.0.2.1 by dsr-l2"]);
    assert_eq!(targets("vip: 192.0.2.1", "vip: 192.0.2.2").len(), 2);
    assert_eq!(targets("vip: 192.0.2.1", "vip: 192.0.2.1, mode: ipip").len(), 2);
    let prefix = targets("vip: 192.0.2.16/28", "vip: 192.0.2.16/28");
    assert!(prefix.first().unwrap().to_string().ends_with("at 192.0.2.17 by dsr-l2"), "{prefix:?}");

    let defaults = "defaults: {probe: {type: tcp, via: vip}, mode: nat}\n";
    let plain = "{name: a, vip: 192.0.2.1, port: 80, protocol: tcp, backends: [10.0.0.1]}";
    let config = good(&format!("{defaults}services: [{plain}]\n"));
    let service = &config.services[0];
    let target = evenkeel::probe::Target::of(service.probe.as_ref().unwrap(), service, &service.backends[0]);
    assert_eq!(target.to_string(), "tcp 10.0.0.1:80", "where addresses are translated the direct way is the traffic's");
}

#[test]
fn services_share_a_target_if_all_options_are_the_same() {
    let targets = |one: &str, other: &str| {
        let config = good(&format!(
            "services:
  - {{name: a, vip: 192.0.2.1, port: 80, protocol: tcp, probe: {one}, backends: [10.0.0.1]}}
  - {{name: b, vip: 192.0.2.2, port: 80, protocol: tcp, probe: {other}, backends: [10.0.0.1]}}
"
        ));
        let targets = config
            .services
            .iter()
            .map(|service| evenkeel::probe::Target::of(service.probe.as_ref().unwrap(), service, &service.backends[0]));
        targets.collect::<std::collections::BTreeSet<_>>().len()
    };
    let http = "{type: http, path: /a, body_matches: \"^a+$\"}";
    assert_eq!(targets(http, http), 1);
    assert_eq!(targets("icmp", "icmp"), 1);
    for other in ["tcp", "{type: http, path: /a}", "{type: https, path: /a, body_matches: \"^a+$\"}"] {
        assert_eq!(targets(http, other), 2, "{other}");
    }
    assert_eq!(targets("tcp", "{type: tcp, source: 10.0.0.9}"), 2);
    assert_eq!(targets("tcp", "{type: tcp, source: \"2001:db8::9\"}"), 1, "a source of the other family");
}

#[test]
fn services_that_do_not_overlap_are_accepted() {
    let config = good(
        "services:
  - {name: any, vip: 192.0.2.1, port: any, protocol: udp, backends: [10.0.0.1]}
  - {name: range, vip: 192.0.2.1, port: 1-65535, protocol: udp, backends: [10.0.0.1]}
  - {name: port, vip: 192.0.2.1, port: 53, protocol: udp, backends: [10.0.0.1]}
  - {name: tcp, vip: 192.0.2.1, port: \"53\", protocol: tcp, backends: [10.0.0.1]}
  - {name: prefix, vip: 192.0.2.0/24, port: 53, protocol: udp, backends: [10.0.0.1]}
  - {name: beside, vip: 192.0.2.2, port: 53-60, protocol: udp, backends: [10.0.0.1]}
  - {name: next, vip: 192.0.2.2, port: 61-70, protocol: udp, backends: [10.0.0.1]}
  - {name: both, vip: 192.0.2.1, port: 54, protocol: any, backends: [10.0.0.1]}
  - {name: wide, vip: 192.0.2.0/24, port: any, protocol: any, probe: none, backends: [10.0.0.1]}
  - {name: idle, vip: 192.0.2.3, port: 9, protocol: udp, backends: [{address: 10.0.0.1, weight: 0, port: 9}]}
",
    );
    assert_eq!(config.services.len(), 10);
    assert_eq!(config.services[9].backends[0].weight, 0);
    assert!(config.services[7].probe.is_some(), "there is a TCP port to probe");
}

#[test]
fn aliases_and_merges_are_followed_and_blamed_where_they_are_used() {
    let text = "services:
  - &one {name: a, vip: 192.0.2.1, port: 80, protocol: tcp, backends: &servers [10.0.0.1, 10.0.0.2]}
  - {<<: *one, name: b, vip: 192.0.2.2}
  - {name: c, vip: 192.0.2.3, port: 80, protocol: tcp, backends: *servers}
";
    let config = good(text);
    assert_eq!(config.services[1].backends, config.services[0].backends);
    assert_eq!(config.services[2].backends, config.services[0].backends);
    let error = config::parse(&format!("{HEAD}{}", text.replace(", name: b", "")), "x").unwrap_err();
    assert!(error.problems[0].reason.contains("two services are named `a`"), "{error}");
    assert_eq!(error.problems[0].line, 5, "{error}");
}

#[test]
fn the_secret_file_is_read_and_its_problems_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, file) = (directory.path().join("secret"), directory.path().join("c.yaml"));
    let node = format!("node: {{interfaces: [eth0], hash_secret_file: {}}}", secret.display());
    fs::write(&file, format!("version: 1\n{node}\nservices: []\n")).unwrap();
    let load = || config::load(&file).map(|config| config.node.hash_secret);

    let missing = load().unwrap_err();
    assert_eq!(missing.problems[0].line, 2);
    assert!(missing.problems[0].reason.contains("cannot be read"), "{missing}");
    fs::write(&secret, "0123456789abcdef\n").unwrap();
    assert_eq!(load().unwrap().as_deref(), Some("0123456789abcdef"));
    fs::write(&secret, "0123456789\n").unwrap();
    let short = load().unwrap_err();
    assert!(short.problems[0].reason.contains("is too short"), "{short}");
    assert!(!short.to_string().contains("0123456789"), "{short}");
    fs::write(&secret, [0xff; 20]).unwrap();
    assert!(load().unwrap_err().problems[0].reason.contains("not UTF-8"));
}

#[test]
fn files_that_cannot_be_read_have_no_place() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().join("none.yaml"), directory.path().to_owned()] {
        let error = config::load(&path).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: cannot be read: ", path.display())), "{error}");
    }
    let path = directory.path().join("binary.yaml");
    fs::write(&path, b"version: \xff").unwrap();
    assert!(config::load(&path).unwrap_err().to_string().contains("not UTF-8 at byte 9"));
}

#[test]
fn a_backend_of_a_request_obeys_the_rules_of_the_file() {
    let check = |json: serde_json::Value| {
        let backend: config::raw::Backend = serde_json::from_value(json).unwrap();
        config::check_backend(&web(), &backend).map_err(|problems| problems[0].reason.clone())
    };
    let json = serde_json::json!({"name": "b3", "address": "192.0.2.103", "weight": 7, "admin_state": "draining"});
    let expected = Backend { weight: 7, admin_state: AdminState::Draining, ..server("b3", "192.0.2.103", 80) };
    assert_eq!(check(json), Ok(expected));
    let again = serde_json::json!({"address": "192.0.2.101"});
    assert_eq!(check(again), Ok(server("192.0.2.101", "192.0.2.101", 80)), "what is there may be given again");
    for (json, reason) in [
        (serde_json::json!({"address": "192.0.2.101", "name": "192.0.2.102"}), "are named"),
        (serde_json::json!({"address": "192.0.2.10"}), "own VIP"),
        (serde_json::json!({"address": "192.0.2.103", "name": "192.0.2.102"}), "are named"),
        (serde_json::json!({"address": "192.0.2.103", "weight": 65536}), "out of range"),
        (serde_json::json!({"name": "b3", "port": null}), "`address` is missing"),
    ] {
        let found = check(json.clone()).unwrap_err();
        assert!(found.contains(reason), "{json}: {found}");
    }
    for json in [r#"{"adress": "192.0.2.103"}"#, r#"{"address": "192.0.2.103", "weight": "x"}"#] {
        assert!(serde_json::from_str::<config::raw::Backend>(json).is_err(), "{json}");
    }
}

#[test]
fn cross_rules_hold_for_a_state_changed_at_run_time() {
    let mut config = example("minimal.yaml");
    std::sync::Arc::make_mut(&mut config.services[0]).scheduler.table_size = Some(251);
    config.node.limits.backends = 251;
    assert_eq!(config::check_all(&config), Vec::<String>::new());
    std::sync::Arc::make_mut(&mut config.services[0]).backends = vec![server("x", "192.0.2.101", 80); 252];
    let found = config::check_all(&config).join("\n");
    assert!(found.contains("a table of 251 slots") && found.contains("`limits.backends` is 251"), "{found}");
}

#[test]
fn the_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/schema.json");
    if std::env::var_os("EVENKEEL_WRITE_SCHEMA").is_some() {
        fs::write(&path, config::schema()).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let remedy = "run EVENKEEL_WRITE_SCHEMA=1 cargo test -p evenkeel --test config";
    assert!(stored == config::schema(), "configs/schema.json is out of date: {remedy}");
    let schema: serde_json::Value = serde_json::from_str(&stored).unwrap();
    let keys: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["defaults", "include", "node", "services", "version"]);
    assert_eq!(schema["required"], serde_json::json!(["version", "node", "services"]));
    assert_eq!(schema["additionalProperties"], false);
    let backend = &schema["$defs"]["Backend"];
    assert_eq!((&backend["required"], &backend["additionalProperties"]), (&["address"].into(), &false.into()));
    assert_eq!(backend["properties"]["weight"]["maximum"], 65_535);
}
