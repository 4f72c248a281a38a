//! keepalived's configuration.

use std::time::Duration;

use super::*;

/// A virtual server with one real server, of lines.
fn one(of_server: &str, of_backend: &str) -> String {
    format!("virtual_server 192.0.2.10 80 {{\n{of_server}\nreal_server 10.0.0.1 80 {{\n{of_backend}\n}}\n}}\n")
}

fn probe(of_server: &str, of_backend: &str) -> Option<Probe> {
    of_keepalived(&one(of_server, of_backend)).0.services[0].probe.clone()
}

fn http(checker: &str) -> Http {
    match probe("", checker).unwrap().kind {
        ProbeKind::Http(http) => (*http).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_file_is_taken_and_told() {
    let (config, report) = of_keepalived(
        "! a comment
global_defs {
   router_id LVS
   lvs_timeouts tcp 3600 udp 30
   lvs_sync_daemon eth0 VI_1
}
vrrp_instance VI_1 {
    virtual_ipaddress {
        192.0.2.10
    }
}
@other net_namespace other
virtual_server_group web {
    192.0.2.10 80
    192.0.2.16-31 80   # a range
    fwmark 1
}
virtual_server group web {
    delay_loop 6
    lb_algo wlc
    lb_kind DR
    persistence_timeout 50
    persistence_granularity 255.255.255.0
    omega
    frobnicate
    sorry_server 10.0.0.9 80
    real_server 10.0.0.1 80 {
        weight 2
        uthreshold 10
        lthreshold 5
        inhibit_on_failure
        notify_down \"/bin/tell 'no more'\" root
        TCP_CHECK {
            connect_timeout 3
            retry 2
            delay_before_retry 0.5
        }
        PING_CHECK {
        }
    }
}
",
    );
    assert_eq!(outcomes(&report), ".ootnoooooootttntttttttnnttttntctttttnntt");
    let [web, range] = &config.services[..] else { panic!("{config:?}") };
    assert_eq!((web.vip.to_string(), range.vip.to_string()), ("192.0.2.10/32".into(), "192.0.2.16/28".into()));
    assert_eq!((web.mode, web.scheduler.kind), (ForwardingMode::DsrL2, SchedulerKind::LeastConnections));
    assert_eq!((web.on_no_backend, web.on_backend_down), (OnNoBackend::Backup, OnBackendDown::Keep));
    assert_eq!((web.timeouts.tcp_established, web.timeouts.udp), (Duration::from_secs(3600), Duration::from_secs(30)));
    let affinity = web.affinity.unwrap();
    assert_eq!((affinity.timeout, affinity.prefix_ipv4), (Duration::from_secs(50), 24));
    let [first, sorry] = &web.backends[..] else { panic!("{web:?}") };
    assert_eq!((first.weight, first.max_connections, sorry.backup), (2, Some(10), true));
    let probe = web.probe.as_ref().unwrap();
    let times = (probe.interval, probe.fast_interval, probe.timeout);
    assert_eq!(times, (Duration::from_secs(6), Duration::from_millis(500), Duration::from_secs(3)));
    assert_eq!((&probe.kind, probe.rise, probe.fall, probe.initial), (&ProbeKind::Tcp, 1, 3, Initial::Up));
    let hook = web.hooks.backend.as_ref().unwrap();
    assert_eq!(hook.command[..2], ["/bin/sh", "-c"]);
    assert_eq!(
        hook.command[2],
        "case \"$EVENKEEL_ADDRESS $EVENKEEL_STATE\" in '10.0.0.1 down') exec /bin/tell 'no more' ;; esac"
    );
}

#[test]
fn checkers_are_probes() {
    let kind = |checker| probe("", checker).unwrap().kind;
    assert_eq!(kind("PING_CHECK {\n}"), ProbeKind::Icmp);
    assert_eq!(kind("SMTP_CHECK {\nhelo_name x\nhost {\nconnect_ip 10.0.0.1\nconnect_port 2525\n}\n}"), ProbeKind::Tcp);
    let ProbeKind::Exec(exec) = kind("MISC_CHECK {\nmisc_path \"/bin/c 'a b' c\"\nmisc_timeout 4\n}") else { panic!() };
    assert_eq!(exec.command, ["/bin/c", "a b", "c"]);
    let http = http(
        "HTTP_GET {\nurl {\npath /a?b=c\nstatus_code 200-299 301\nvirtualhost www.example.com\nregex \"o.k\"\nregex_options caseless\n}\n}",
    );
    assert_eq!((http.path.as_str(), http.status.to_string().as_str()), ("/a?b=c", "200-299,301"));
    assert_eq!(
        (http.host.as_deref(), http.body),
        (Some("www.example.com"), Some(BodyMatch::Matches("(?i)o.k".into())))
    );
    let tls = self::http("SSL_GET {\nenable_sni\nvirtualhost www.example.com\nurl {\npath /\n}\n}").tls.unwrap();
    assert_eq!((tls.server_name.as_deref(), tls.trust), (Some("www.example.com"), Trust::Everybody));
    let udp = probe("protocol UDP", "UDP_CHECK {\npayload Ab1 2\nrequire_reply 24 xx 01\n}").unwrap().kind;
    let ProbeKind::Udp(udp) = udp else { panic!("{udp:?}") };
    assert_eq!((udp.send.as_slice(), udp.expect.as_slice()), (&[0xab, 0x01, 0x02][..], &[0x24][..]));
    let dns = probe("protocol UDP", "DNS_CHECK {\nname example.com\ntype A\nretry 1\n}").unwrap();
    let ProbeKind::Dns(query) = &dns.kind else { panic!("{dns:?}") };
    assert_eq!((query.query.as_str(), query.query_type.to_string().as_str(), dns.fall), ("example.com", "A", 2));
}

#[test]
fn checkers_without_counterpart_are_told() {
    for (checker, expected) in [
        ("BFD_CHECK {\nname a\n}", "tttnnntt"),
        ("FILE_CHECK {\ntrack_file a\n}", "tttnnntt"),
        ("MISC_CHECK {\nmisc_path relative\n}", "tttnnntt"),
        ("TCP_CHECK {\nconnect_ip 10.0.0.7\n}", "ttttnttt"),
        ("HTTP_GET {\nurl {\ndigest 00\n}\n}", "tttttnttttt"),
        ("HTTP_GET {\nurl {\nregex (?=a)\n}\n}", "tttttntttt"),
        ("HTTP_GET {\n}", "ttctttt"),
    ] {
        let (_, report) = of_keepalived(&one("alpha", checker));
        let outcomes = outcomes(&report);
        assert_eq!(outcomes.matches('n').count(), expected.matches('n').count(), "{checker}: {outcomes}");
        assert_eq!(outcomes.matches('c').count(), expected.matches('c').count(), "{checker}: {outcomes}");
    }
}

#[test]
fn inner_settings_go_before_outer_ones() {
    let probe = probe(
        "delay_loop 10\nretry 4\nalpha",
        "delay_loop 5\nTCP_CHECK {\nretry 1\nconnect_port 8080\nbindto 10.0.0.5\n}",
    )
    .unwrap();
    assert_eq!((probe.interval, probe.fall, probe.initial), (Duration::from_secs(5), 2, Initial::Down));
    assert_eq!((probe.port, probe.source), (Some(8080), "10.0.0.5".parse().ok()));
}

#[test]
fn the_checks_of_a_service_become_one_probe() {
    let server = |n: u8, checker: &str| format!("real_server 10.0.0.{n} 80 {{\n{checker}\n}}\n");
    let with = |port: u16| format!("TCP_CHECK {{\nconnect_port {port}\n}}");
    let servers = [server(1, &with(81)), server(2, &with(82)), server(3, &with(82)), server(4, "weight 1")];
    let (config, report) = of_keepalived(&format!("virtual_server 192.0.2.10 80 {{\n{}}}\n", servers.concat()));
    assert_eq!(config.services[0].probe.as_ref().unwrap().port, Some(82));
    assert_eq!(row(&report, 3).1, "one probe for all backends of a service: that of line 8");
    assert_eq!(row(&report, 17), (Outcome::Changed, "probed as the others of its service are: by line 8"));

    let misc = |argument: &str| format!("MISC_CHECK {{\nmisc_path \"/bin/c {argument}\"\n}}");
    let servers = [server(1, &misc("a")), server(2, &misc("b"))];
    let (config, _) = of_keepalived(&format!("virtual_server 192.0.2.10 80 {{\n{}}}\n", servers.concat()));
    let ProbeKind::Exec(exec) = &config.services[0].probe.as_ref().unwrap().kind else { panic!() };
    let script = "case \"$EVENKEEL_ADDRESS\" in '10.0.0.1') exec /bin/c a ;; '10.0.0.2') exec /bin/c b ;; esac";
    assert_eq!(exec.command, ["/bin/sh", "-c", script]);
}

#[test]
fn services_that_share_a_probe_get_the_same_times() {
    let server = |vip: &str, times: &str, backends: &str| {
        let servers =
            backends.split(' ').map(|n| format!("real_server 10.0.0.{n} 80 {{\nTCP_CHECK {{\n{times}\n}}\n}}\n"));
        format!("virtual_server {vip} 80 {{\n{}}}\n", servers.collect::<String>())
    };
    // The second shares with the third, and that with the first.
    let text = [
        server("192.0.2.1", "retry 1", "1"),
        server("192.0.2.2", "retry 2", "2"),
        server("192.0.2.3", "retry 3", "1 2"),
        server("192.0.2.4", "retry 4", "3"),
    ];
    let (config, _) = of_keepalived(&text.concat());
    let falls: Vec<_> = config.services.iter().map(|service| service.probe.as_ref().unwrap().fall).collect();
    assert_eq!(falls, [2, 2, 2, 5]);
}

#[test]
fn quorums_are_counted_or_percent() {
    let servers = |weights: &[u32]| {
        let server = |(n, weight)| format!("real_server 10.0.0.{n} 80 {{\nweight {weight}\n}}\n");
        weights.iter().enumerate().map(|(n, weight)| server((n + 1, weight))).collect::<String>()
    };
    let quorum = |quorum: &str, weights: &[u32]| {
        let text = format!(
            "virtual_server 192.0.2.10 80 {{\n{quorum}\nquorum_up /bin/up\nquorum_down /bin/down\n{}}}\n",
            servers(weights)
        );
        let service = of_keepalived(&text).0.services[0].clone();
        let hook = service.hooks.quorum.as_ref().unwrap();
        assert_eq!(
            hook.command[2],
            "case \"$EVENKEEL_STATE\" in 'met') exec /bin/up ;; 'lost') exec /bin/down ;; esac"
        );
        let quorum = service.quorum.unwrap();
        (quorum.up, quorum.down)
    };
    assert_eq!(quorum("quorum 7\nhysteresis 2", &[1; 10]), (Level::Backends(9), Level::Backends(5)));
    assert_eq!(quorum("quorum 20", &[10; 3]), (Level::Backends(2), Level::Backends(2)));
    assert_eq!(quorum("", &[1; 3]), (Level::Backends(1), Level::Backends(1)));
    assert_eq!(quorum("quorum 5\nhysteresis 1", &[3, 7]), (Level::Percent(60), Level::Percent(40)));
}

#[test]
fn a_sorry_server_below_a_quorum_is_told() {
    let (_, report) = of_keepalived(&one("quorum 3\nsorry_server 10.0.0.9 80", ""));
    assert_eq!(row(&report, 3).0, Outcome::Changed);
    let (config, report) = of_keepalived(&one("lb_kind DR\nsorry_server 10.0.0.9 80\nsorry_server_lvs_method NAT", ""));
    assert_eq!((config.services[0].backends[1].mode, report.counts.changed), (Some(ForwardingMode::Nat), 0));
    // It is nobody else's backend here.
    let (config, report) = of_keepalived(&one("sorry_server 10.0.0.1 80", ""));
    assert_eq!((config.services[0].on_no_backend, row(&report, 2).0), (OnNoBackend::Drop, Outcome::NoCounterpart));
}

#[test]
fn parameters_make_services() {
    let text = "$RS= \\
  real_server 10.0.${N}.1 80 { \\
    weight ${N} \\
  }
$VS= \\
  virtual_server 192.0.2.${N} 80 { \\
    $RS \\
  }
~SEQ(N, 1, 3) $VS
@main virtual_server 192.0.2.9 80 {
@main real_server 10.0.0.9 80 {
@main } }
@^main virtual_server 192.0.2.8 80 {
";
    let (config, report) = of_keepalived(text);
    let shown: Vec<_> = config.services.iter().map(|s| format!("{} {}", s.vip.addr(), s.backends[0].weight)).collect();
    assert_eq!(shown, ["192.0.2.1 1", "192.0.2.2 2", "192.0.2.3 3", "192.0.2.9 1"]);
    assert_eq!(outcomes(&report), "tttttttttttto");
}
