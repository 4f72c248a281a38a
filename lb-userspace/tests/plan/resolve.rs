//! Who takes flows and who keeps them, for every combination of what can be said of a backend.

use std::time::Duration;

use evenkeel::{
    config::model::{
        AdminState, Backend, FlowLimits, ForwardingMode, Fragments, Hooks, OnBackendDown, OnDrainTimeout, OnNoBackend,
        OnUnknownFlow, PoolFamilies, Ports, Protocol, Scheduler, SchedulerKind, Service, Timeouts, TunnelSources,
    },
    dataplane::kernel::Clock,
    health::{Advice, Status, Wants},
    plan::desired::{BackendKey, DesiredBackend, DesiredWay, Drain, Inputs, resolve},
    plan::write::EgressRecord,
};
use lb_common::abi::{ON_NO_BACKEND_DROP, ON_NO_BACKEND_REJECT};

const SUBJECT: u8 = 1;
const OTHER: u8 = 2;
const ADMIN: [AdminState; 3] = [AdminState::Enabled, AdminState::Draining, AdminState::Disabled];
const ON_NO_BACKEND: [OnNoBackend; 4] =
    [OnNoBackend::FailOpen, OnNoBackend::Backup, OnNoBackend::Drop, OnNoBackend::Reject];
const ON_DOWN: [OnBackendDown; 3] = [OnBackendDown::Move, OnBackendDown::Keep, OnBackendDown::Reset];
const THEN: [OnDrainTimeout; 2] = [OnDrainTimeout::Keep, OnDrainTimeout::Reset];
const BOTH: [bool; 2] = [false, true];
/// Not probed, or what the probes say and whether that is enough for traffic.
const HEALTH: [Option<(Status, bool)>; 5] = [
    None,
    Some((Status::Up, true)),
    Some((Status::Down, false)),
    Some((Status::Unknown, true)),
    Some((Status::Unknown, false)),
];

/// What is said of the backend under test.
#[derive(Clone, Copy, Debug)]
struct Case {
    admin: AdminState,
    health: Option<(Status, bool)>,
    backup: bool,
    on_no_backend: OnNoBackend,
    on_down: OnBackendDown,
    protocol: Protocol,
    resolved: bool,
    overdue: bool,
    then: OnDrainTimeout,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for admin in ADMIN {
        for health in HEALTH {
            for on_no_backend in ON_NO_BACKEND {
                for on_down in ON_DOWN {
                    for bits in 0..48 {
                        cases.push(Case {
                            admin,
                            health,
                            backup: bits & 1 != 0,
                            on_no_backend,
                            on_down,
                            protocol: [Protocol::Tcp, Protocol::Udp, Protocol::Any][bits / 8 % 3],
                            resolved: bits & 4 != 0,
                            overdue: bits & 2 != 0,
                            then: THEN[bits / 24],
                        });
                    }
                }
            }
        }
    }
    cases
}

impl Case {
    fn healthy(&self) -> bool {
        matches!(self.health, None | Some((_, true)))
    }

    fn enabled(&self) -> bool {
        self.admin == AdminState::Enabled
    }
}

fn key(host: u8) -> BackendKey {
    ([10, 0, 0, host].into(), 80)
}

fn backend(host: u8) -> Backend {
    let (address, port) = key(host);
    let admin_state = AdminState::Enabled;
    Backend {
        name: address.to_string(),
        address,
        mode: None,
        port,
        weight: 7,
        max_connections: None,
        priority: 0,
        backup: false,
        admin_state,
        quic_server_id: None,
    }
}

fn hop(host: u8) -> (EgressRecord, [u8; 6]) {
    (EgressRecord { ifindex: 3, source_mac: [2, 0, 0, 0, 0, 9], vlan: 0, mtu: 1500 }, [2, 0, 0, 0, 0, host])
}

fn service(case: &Case, others: &[Backend]) -> Service {
    let subject = Backend { backup: case.backup, admin_state: case.admin, ..backend(SUBJECT) };
    Service {
        name: "web".into(),
        vip: "198.51.100.10/32".parse().expect("a prefix"),
        ports: Ports::Range(80, 80),
        protocol: case.protocol,
        mode: ForwardingMode::DsrL2,
        tunnel: TunnelSources::default(),
        pool: PoolFamilies::default(),
        scheduler: Scheduler::of(SchedulerKind::Maglev),
        probe: None,
        quorum: None,
        hooks: Hooks::default(),
        on_no_backend: case.on_no_backend,
        overflow_threshold: 70,
        on_backend_down: case.on_down,
        fragments: Fragments::Drop,
        on_unknown_flow: OnUnknownFlow::Hash,
        max_connections: 0,
        limits: FlowLimits::default(),
        quic: Vec::new(),
        affinity: None,
        slow_start: None,
        passive_health: None,
        drain_timeout: Duration::from_secs(300),
        on_drain_timeout: OnDrainTimeout::of(case.protocol),
        timeouts: Timeouts::default(),
        backends: std::iter::once(subject).chain(others.iter().cloned()).collect(),
    }
}

fn inputs(case: &Case) -> Inputs {
    let mut inputs = Inputs::default();
    inputs.health.extend(case.health.map(|health| (key(SUBJECT), health)));
    inputs.drains.insert(key(SUBJECT), Drain { overdue: case.overdue, then: case.then });
    inputs.next_hops.insert(key(OTHER).0, hop(OTHER));
    if case.resolved {
        inputs.next_hops.insert(key(SUBJECT).0, hop(SUBJECT));
    }
    inputs
}

/// The backend under test and, if there is one, the other.
fn resolved(case: &Case, others: &[Backend]) -> (DesiredBackend, Option<DesiredBackend>) {
    let service = service(case, others);
    let desired = resolve(&service, &inputs(case), Clock::with_hz(250));
    let found = &desired;
    let on_no_backend =
        if case.on_no_backend == OnNoBackend::Reject { ON_NO_BACKEND_REJECT } else { ON_NO_BACKEND_DROP };
    assert_eq!(found.on_no_backend, on_no_backend);
    let subject = found.backends[&key(SUBJECT)];
    assert_eq!(subject.next_hop, case.resolved.then(|| hop(SUBJECT)));
    assert!(subject.weight == 0 || subject.weight == 7 && subject.keeps_flows, "{case:?}: {subject:?}");
    assert!(!subject.resets_flows || !subject.keeps_flows, "{case:?}: {subject:?}");
    (subject, found.backends.get(&key(OTHER)).copied())
}

/// Without another backend it takes flows if it may, healthy or, with fail-open or as a sorry server, not. Whether it is resolved makes
/// no difference: there is none better.
#[test]
fn alone() {
    for case in cases() {
        let (subject, _) = resolved(&case, &[]);
        let whatever = match case.on_no_backend {
            OnNoBackend::FailOpen => true,
            OnNoBackend::Backup => case.backup,
            OnNoBackend::Drop | OnNoBackend::Reject => false,
        };
        let takes = case.enabled() && (case.healthy() || whatever);
        assert_eq!(subject.weight > 0, takes, "{case:?}");
    }
}

/// Beside a healthy backend with a known next hop, only what is healthy, no backup and resolved takes flows.
#[test]
fn beside_a_healthy_backend() {
    for case in cases() {
        let (subject, other) = resolved(&case, &[backend(OTHER)]);
        let takes = case.enabled() && case.healthy() && !case.backup && case.resolved;
        assert_eq!(subject.weight > 0, takes, "{case:?}");
        assert_eq!(other.map(|other| other.weight), Some(7), "{case:?}");
    }
}

/// Beside a healthy backup that is resolved: the backup takes flows only while it must, which is also when every flow to the
/// backend would be lost.
#[test]
fn beside_a_healthy_backup() {
    let backup = Backend { backup: true, ..backend(OTHER) };
    for case in cases() {
        let (subject, other) = resolved(&case, std::slice::from_ref(&backup));
        let takes = case.enabled() && case.healthy() && case.resolved;
        assert_eq!(subject.weight > 0, takes, "{case:?}");
        let backup_takes = !takes || case.backup;
        assert_eq!(other.is_some_and(|other| other.weight > 0), backup_takes, "{case:?}");
    }
}

/// A backend that takes no new flows keeps the known ones unless it is disabled, is down where flows move or are reset then, or its
/// drain is over where they are reset then. There is nothing to reset in UDP.
#[test]
fn known_flows() {
    for case in cases() {
        let (subject, _) = resolved(&case, &[backend(OTHER)]);
        let is_down = matches!(case.health, Some((Status::Down, _)));
        let drained = case.admin == AdminState::Draining && case.overdue && case.then == OnDrainTimeout::Reset;
        let (keeps, resets) = match (case.admin, case.on_down) {
            (AdminState::Disabled, _) => (false, false),
            (_, OnBackendDown::Move) if is_down => (false, false),
            (_, OnBackendDown::Reset) if is_down => (false, true),
            _ => (!drained, drained),
        };
        let resets = resets && case.protocol != Protocol::Udp;
        assert_eq!((subject.keeps_flows, subject.resets_flows), (keeps, resets), "{case:?}");
    }
}

/// What takes new flows, fail-open included, keeps the known ones.
#[test]
fn a_backend_that_takes_flows_resets_none() {
    for case in cases() {
        let (subject, _) = resolved(&case, &[]);
        assert!(subject.weight == 0 || subject.keeps_flows && !subject.resets_flows, "{case:?}");
    }
}

/// With fail-open, unhealthy backups take flows only where nothing else that can be reached is enabled.
#[test]
fn fail_open_prefers_what_is_no_backup() {
    let backup = Backend { backup: true, ..backend(OTHER) };
    for case in cases().into_iter().filter(|case| case.on_no_backend == OnNoBackend::FailOpen && !case.backup) {
        let service = service(&case, std::slice::from_ref(&backup));
        let mut inputs = inputs(&case);
        inputs.health.insert(key(OTHER), (Status::Down, false));
        let desired = resolve(&service, &inputs, Clock::with_hz(250));
        let backends = &desired.backends;
        let takes = case.enabled() && case.resolved;
        assert_eq!(backends[&key(SUBJECT)].weight > 0, takes, "{case:?}");
        assert_eq!(backends[&key(OTHER)].weight > 0, !takes, "{case:?}");
    }
}

/// A backend that left the configuration keeps its flows until its deadline, unless it is down where flows move or are reset then.
#[test]
fn leaving() {
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Any] {
        THEN.into_iter().for_each(|then| leaving_of(protocol, then));
    }
}

fn leaving_of(protocol: Protocol, then: OnDrainTimeout) {
    for on_down in ON_DOWN {
        for health in HEALTH {
            for overdue in BOTH {
                let case = Case { on_down, protocol, ..cases()[0] };
                let service = service(&case, &[]);
                let mut inputs = inputs(&case);
                let leaving = key(OTHER);
                inputs.health.extend(health.map(|health| (leaving, health)));
                inputs.leaving.insert(leaving, Drain { overdue, then });
                let desired = resolve(&service, &inputs, Clock::with_hz(250));
                let backends = &desired.backends;
                let (keeps, resets) = match (matches!(health, Some((Status::Down, _))), on_down) {
                    (true, OnBackendDown::Move) => (false, false),
                    (true, OnBackendDown::Reset) => (false, true),
                    _ => (!overdue, overdue && then == OnDrainTimeout::Reset),
                };
                let expected = DesiredBackend {
                    weight: 0,
                    keeps_flows: keeps,
                    resets_flows: resets && protocol != Protocol::Udp,
                    most: 0,
                    next_hop: Some(hop(OTHER)),
                    way: DesiredWay::Unchanged,
                };
                assert_eq!(backends[&key(OTHER)], expected, "{protocol:?} {then:?} {on_down:?} {health:?} {overdue}");
            }
        }
    }
}

/// Weight 0 takes no new flows, healthy or not, and keeps the known ones; others take them instead.
#[test]
fn weight_zero() {
    for on_no_backend in ON_NO_BACKEND {
        let case = Case { on_no_backend, resolved: true, ..cases()[0] };
        let mut service = service(&case, &[Backend { backup: true, ..backend(OTHER) }]);
        service.backends[0].weight = 0;
        let desired = resolve(&service, &inputs(&case), Clock::with_hz(250));
        let backends = &desired.backends;
        assert_eq!((backends[&key(SUBJECT)].weight, backends[&key(SUBJECT)].keeps_flows), (0, true));
        assert_eq!(backends[&key(OTHER)].weight, 7);
    }
}

/// What a backend says of itself counts as if the operator had said it, and more than fail-open.
#[test]
fn advice() {
    let says = |weight_percent, wants| Advice { weight_percent, wants };
    for (advice, weight, keeps_flows) in [
        (says(None, None), 7, true),
        (says(Some(50), None), 4, true),
        (says(Some(1), None), 1, true),
        (says(Some(200), None), 14, true),
        (says(Some(0), None), 0, true),
        (says(None, Some(Wants::Drain)), 0, true),
        (says(Some(50), Some(Wants::Drain)), 0, true),
        (says(None, Some(Wants::Maintenance)), 0, false),
    ] {
        for on_no_backend in ON_NO_BACKEND {
            let case = Case { on_no_backend, resolved: true, ..cases()[0] };
            let mut inputs = inputs(&case);
            inputs.advice.insert(key(SUBJECT), advice);
            let alone = resolve(&service(&case, &[]), &inputs, Clock::with_hz(250)).backends[&key(SUBJECT)];
            assert_eq!((alone.weight, alone.keeps_flows), (weight, keeps_flows), "{advice:?}");
            let backup = Backend { backup: true, ..backend(OTHER) };
            let beside = resolve(&service(&case, &[backup]), &inputs, Clock::with_hz(250));
            assert_eq!(beside.backends[&key(SUBJECT)].weight, weight, "{advice:?}");
            assert_eq!(beside.backends[&key(OTHER)].weight > 0, weight == 0, "{advice:?}");
        }
    }
}
