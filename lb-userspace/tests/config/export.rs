//! What runs is exported as a document that says the same.

use std::{collections::BTreeMap, path::Path, time::Duration};

use evenkeel::{
    config::{self, AppliedServices, Sources, model::*},
    plan::desired::backend_key,
    state::{
        Effective, Runtime,
        runtime::{Added, DrainRecord, Leaving},
    },
};
use proptest::prelude::*;

/// Exports what runs, and reads it again in both ways.
fn comes_back(sources: &Sources, runtime: &mut Runtime) -> Result<String, TestCaseError> {
    let config = sources.config(&runtime.applied, None).map_err(|error| TestCaseError::fail(error.to_string()))?;
    runtime.prune(&config);
    let Effective { services, .. } = runtime.effective(&config);
    // The last backend can be taken from a service, but no file can say so.
    prop_assume!(services.iter().all(|service| !service.backends.is_empty()));
    prop_assume!(config::check_all(&Config { services: services.clone(), node: config.node.clone() }).is_empty());
    let text = config::export(sources, &runtime.applied, services.iter().map(|service| &**service), 7);
    let again = config::parse(&text, "x").map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
    prop_assert_eq!(&again.node, &config.node, "{}", text);
    prop_assert_eq!(sorted(&again.services), sorted(&services), "{}", &text);
    // Applied to a node that runs it, it names every service as it is.
    let proposal = sources.propose(&runtime.applied, &text, "x", None);
    let proposal = proposal.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
    prop_assert_eq!(proposal.services.len(), services.len());
    prop_assert_eq!(sorted(&proposal.config.services), sorted(&services), "{}", text);
    Ok(text)
}

/// Neither the order of services nor that of backends means anything.
fn sorted(services: &[std::sync::Arc<Service>]) -> BTreeMap<String, Service> {
    let one = |service: &std::sync::Arc<Service>| {
        let mut service = Service::clone(service);
        service.backends.sort_by_key(|backend| (backend.address, backend.port));
        (service.name.clone(), service)
    };
    services.iter().map(one).collect()
}

/// Options of a service, each as it may be written.
const OPTIONS: [&str; 22] = [
    "mode: ipip",
    "mode: {type: gue, port: 6081}",
    "scheduler: {type: source-hash, prefix_ipv4: 24}",
    "scheduler: random",
    "scheduler: {type: maglev, table_size: 2039}",
    "probe: {type: http, path: '/a?b=c#d', headers: {X-A: ' yes', 'B-C': 'on'}, status: 200-299}",
    "probe: {type: tcp, interval: 500ms, timeout: 100ms, damping: {flaps: 2}}",
    "probe: none",
    "probe: {type: exec, command: [/bin/true, '', \"a\\tb\\u0085\", 'null', '1e3', '- x', '#']}",
    "quorum: {up: 50%, down: 25%}",
    "hooks: {backend: [/bin/echo, 'a: b', \"\\\"\"]}",
    "on_no_backend: reject",
    "overflow_threshold: 0",
    "on_backend_down: reset",
    "fragments: drop",
    "max_connections: 100",
    "limits: {new_per_second: 100, client: {new_per_second: 10, prefix_ipv6: 56}, flood: auto}",
    "allow: [198.51.100.0/24, '2001:db8::/32', 0.0.0.0/1]",
    "slow_start: {duration: 1m 30s, exponent: 2}",
    "drain_timeout: 90s",
    "timeouts: {tcp_established: 1h, udp: 3s}",
    "affinity: {type: client-ip, timeout: 1m}",
];

fn service(number: u8, options: &[usize], backends: &[(u8, String)]) -> String {
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    for option in options.iter().map(|index| OPTIONS[*index]) {
        keys.entry(option.split_once(':').expect("a key").0).or_insert(option);
    }
    // What does not go together.
    if keys.get("scheduler").is_some_and(|scheduler| scheduler.contains("source-hash")) {
        keys.remove("affinity");
    }
    let options: String = keys.values().map(|option| format!("    {option}\n")).collect();
    let backends: String =
        backends.iter().map(|(host, more)| format!("      - {{address: 10.{number}.0.{host}{more}}}\n")).collect();
    format!(
        "  - name: s{number}\n    vip: 192.0.2.{number}\n    port: 80\n    protocol: tcp\n{options}    backends:\n{backends}"
    )
}

fn any_service(number: u8) -> impl Strategy<Value = String> {
    let more = prop::sample::select(vec![
        "",
        ", weight: 7",
        ", name: 'on'",
        ", backup: true",
        ", priority: 3",
        ", admin_state: draining",
    ]);
    let backends = prop::collection::btree_map(1_u8..9, more.prop_map(str::to_owned), 1..5)
        .prop_map(|all| all.into_iter().collect::<Vec<_>>());
    (prop::collection::vec(0..OPTIONS.len(), 0..8), backends)
        .prop_map(move |(options, backends)| service(number, &options, &backends))
}

/// A change at run time of a backend, by the number of its service.
fn change(runtime: &mut Runtime, config: &Config, (service, host, what): (usize, u8, u8)) {
    let Some(service) = config.services.get(service % config.services.len().max(1)) else { return };
    let present = service.backends.get(usize::from(host) % (service.backends.len() + 1));
    let Some(backend) = present else {
        let key = (format!("10.200.0.{}", host + 1).parse().expect("an address"), backend_key(&service.backends[0]).1);
        let added = Added {
            name: format!("new{host}"),
            mode: (what == 1).then_some(ForwardingMode::Gue { port: 6082 }),
            weight: what.into(),
            max_connections: (what == 2).then_some(9),
            priority: what % 3,
            backup: false,
            admin_state: AdminState::Enabled,
            quic_server_id: None,
            ttl: None,
        };
        runtime.backend_mut(&service.name, key).added = Some(added);
        return;
    };
    let key = backend_key(backend);
    let change = runtime.backend_mut(&service.name, key);
    match what {
        0 => change.weight = Some(9),
        1 => change.admin_state = Some(AdminState::Disabled),
        2 => change.admin_state = Some(AdminState::Enabled),
        _ => {
            change.removed = true;
            let drain = DrainRecord::new(std::time::SystemTime::UNIX_EPOCH, Duration::from_secs(1));
            let leaving = Leaving { name: backend.name.clone(), drain };
            let key = evenkeel::state::runtime::key_text(key);
            runtime.services.entry(service.name.clone()).or_default().leaving.insert(key, leaving);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_global_rejects: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_configurations_come_back(
        services in (1_u8..6).prop_flat_map(|count| (1..=count).map(any_service).collect::<Vec<_>>()),
        in_file in 0_usize..6,
        changes in prop::collection::vec((0_usize..6, 0_u8..6, 0_u8..4), 0..6),
        defaults in prop::sample::select(vec!["", "defaults: {probe: {type: tcp, interval: 3s}, timeouts: {udp: 9s}}\n"]),
    ) {
        let (file, applied) = services.split_at(in_file.min(services.len()));
        let list = if file.is_empty() { "services: []\n".to_owned() } else { format!("services:\n{}", file.concat()) };
        let text = format!("version: 1\nnode: {{interfaces: [eth0], tunnel: {{source_ipv4: 10.0.0.1}}}}\n{defaults}{list}");
        let sources = Sources::of(&text, "file");
        let mut runtime = Runtime::default();
        if !applied.is_empty() {
            let document = format!("version: 1\nservices:\n{}", applied.concat());
            let proposal = sources.propose(&AppliedServices::new(), &document, "applied", None);
            let Ok(proposal) = proposal else { return Err(TestCaseError::reject("does not go together")) };
            runtime.applied = proposal.services.into_iter().collect();
        }
        let Ok(config) = sources.config(&runtime.applied, None) else {
            return Err(TestCaseError::reject("does not go together"));
        };
        changes.into_iter().for_each(|one| change(&mut runtime, &config, one));
        comes_back(&sources, &mut runtime)?;
    }
}

#[test]
fn examples_come_back() {
    for name in ["evenkeel.yaml", "minimal.yaml", "two-nics.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name);
        let sources = Sources::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let mut runtime = Runtime::default();
        let text = comes_back(&sources, &mut runtime).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.starts_with("# The running configuration, version 7.\n"), "{text}");
    }
}

#[test]
fn secrets_in_files_stay_there() {
    let text = "version: 1\nnode: {interfaces: [eth0], hash_secret_file: /etc/evenkeel/secret}\nservices: []\n";
    let exported = config::export(&Sources::of(text, "x"), &AppliedServices::new(), std::iter::empty(), 1);
    assert!(exported.contains("hash_secret_file: /etc/evenkeel/secret"), "{exported}");
}
