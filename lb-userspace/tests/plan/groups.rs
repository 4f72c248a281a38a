//! Backends by priority: whose weights are what, for groups of which some can take flows.

use std::collections::BTreeMap;

use evenkeel::{
    config::{
        self,
        model::{AdminState, Service},
    },
    dataplane::kernel::Clock,
    health::{Advice, Status, Wants},
    plan::{
        desired::{BackendKey, Inputs, backend_key, resolve},
        takers::{Because, WHOLE, takers},
        write::EgressRecord,
    },
};
use proptest::prelude::*;

/// Priority, weight, and whether it is up.
type Server = (u8, u16, bool);

const SCHEDULERS: [&str; 5] = ["maglev", "weighted-round-robin", "round-robin", "least-connections", "power-of-two"];

fn service(scheduler: &str, options: &str, servers: &[Server]) -> Service {
    let backend = |(host, (priority, weight, _)): (usize, &Server)| {
        format!("{{address: 10.0.0.{}, weight: {weight}, priority: {priority}}}", host + 1)
    };
    let backends: Vec<String> = servers.iter().enumerate().map(backend).collect();
    let text = format!(
        "version: 1\nnode: {{interfaces: [eth0]}}\nservices:\n  - {{name: web, vip: 192.0.2.1, port: 80, protocol: tcp, \
         scheduler: {scheduler}, {options}\n     backends: [{}]}}\n",
        backends.join(", ")
    );
    let config = config::parse(&text, "groups").expect("a good configuration");
    Service::clone(&config.services[0])
}

fn key(host: usize) -> BackendKey {
    ([10, 0, 0, host as u8 + 1].into(), 80)
}

fn inputs(servers: &[Server]) -> Inputs {
    let mut inputs = Inputs::default();
    for (host, (_, _, up)) in servers.iter().enumerate() {
        let status = if *up { Status::Up } else { Status::Down };
        inputs.health.insert(key(host), (status, *up));
        let egress = EgressRecord { ifindex: 3, source_mac: [2; 6], vlan: 0, mtu: 1500 };
        inputs.next_hops.insert(key(host).0, (egress, [2, 0, 0, 0, 0, host as u8]));
    }
    inputs
}

fn weights(service: &Service, inputs: &Inputs) -> BTreeMap<BackendKey, u32> {
    let desired = resolve(service, inputs, Clock::with_hz(250));
    desired.backends.into_iter().map(|(key, backend)| (key, backend.weight)).collect()
}

/// The part of all flows that each backend gets, in floating point and without the code under test.
fn model(servers: &[Server], threshold: u8, even: bool) -> Vec<f64> {
    let own = |weight: u16| f64::from(if even { weight.min(1) } else { weight });
    let sum = |priority: u8, all: bool| -> f64 {
        servers.iter().filter(|s| s.0 == priority && (all || s.2)).map(|s| own(s.1)).sum()
    };
    let mut left = 1.0;
    let mut shares = BTreeMap::new();
    for priority in servers.iter().map(|server| server.0).collect::<std::collections::BTreeSet<_>>() {
        let (able, needed) = (sum(priority, false), sum(priority, true) * f64::from(threshold) / 100.0);
        let can = if able > 0.0 { (able / needed).min(1.0_f64) } else { 0.0 };
        shares.insert(priority, can.min(left));
        left -= can.min(left);
    }
    let taken = 1.0 - left;
    let part = |&(priority, weight, up): &Server| {
        if up && weight > 0 && taken > 0.0 {
            shares[&priority] / taken * own(weight) / sum(priority, false)
        } else {
            0.0
        }
    };
    servers.iter().map(part).collect()
}

fn servers() -> impl Strategy<Value = Vec<Server>> {
    let weight = prop_oneof![Just(0_u16), Just(1), Just(2), 3..100_u16, Just(65_535)];
    prop::collection::vec((0_u8..4, weight, any::<bool>()), 1..12)
}

proptest! {
    #[test]
    fn each_backend_has_its_part(servers in servers(), threshold in 0_u8..=100, scheduler in 0..SCHEDULERS.len()) {
        let service = service(SCHEDULERS[scheduler], &format!("overflow_threshold: {threshold},"), &servers);
        let weights = weights(&service, &inputs(&servers));
        let all: u64 = weights.values().map(|weight| u64::from(*weight)).sum();
        let expected = model(&servers, threshold, SCHEDULERS[scheduler] == "round-robin");
        for (host, expected) in expected.into_iter().enumerate() {
            let part = f64::from(weights[&key(host)]) / (all.max(1) as f64);
            // Some are so little that one of 65 536 parts is the least there is.
            prop_assert!((part - expected).abs() < 0.0005, "{host}: {part} instead of {expected}; {weights:?}");
            let (_, weight, up) = servers[host];
            prop_assert!(weights[&key(host)] == 0 || up && weight > 0);
        }
        let (first, again) = (weights, self::weights(&service, &inputs(&servers)));
        prop_assert_eq!(first, again, "same inputs, same plan");
    }

    /// Who is above the threshold is alone and has the weights of the file: a service that needs no other group has the table that it
    /// would have without any.
    #[test]
    fn a_group_that_is_whole_has_its_own_weights(servers in servers(), scheduler in 0..SCHEDULERS.len()) {
        let servers: Vec<Server> = servers.into_iter().map(|(priority, weight, _)| (priority, weight.max(1), true)).collect();
        let service = service(SCHEDULERS[scheduler], "", &servers);
        let first = servers.iter().map(|server| server.0).min().expect("there is one");
        for (host, (priority, weight, _)) in servers.iter().enumerate() {
            let own = if SCHEDULERS[scheduler] == "round-robin" { 1 } else { u32::from(*weight) };
            let expected = if *priority == first { own } else { 0 };
            prop_assert_eq!(weights(&service, &inputs(&servers))[&key(host)], expected);
        }
    }
}

/// Below the threshold a failure moves what the failed one had and nothing else.
#[test]
fn a_failure_below_the_threshold_leaves_the_others_of_its_group() {
    for scheduler in SCHEDULERS {
        let mut servers: Vec<Server> = (0..10).map(|_| (0, 3, true)).collect();
        servers.extend((0..4).map(|_| (1, 3, true)));
        let service = service(scheduler, "", &servers);
        (0..4).for_each(|host| servers[host].2 = false);
        let before = weights(&service, &inputs(&servers));
        for failing in 4..9 {
            servers[failing].2 = false;
            let after = weights(&service, &inputs(&servers));
            for host in failing + 1..10 {
                assert_eq!(after[&key(host)], before[&key(host)], "{scheduler}: {failing} failed");
            }
            assert!(after[&key(10)] > before[&key(10)], "{scheduler}: {failing} failed");
        }
    }
}

/// Whoever cannot take flows is missing, whatever keeps him; who is not meant to have any is not.
#[test]
fn what_counts_as_missing() {
    let all: Vec<Server> = vec![(0, 1, true), (0, 1, true), (1, 1, true)];
    let usual = || (service("maglev", "overflow_threshold: 100,", &all), inputs(&all));
    let parts = |service: &Service, inputs: &Inputs| {
        let groups = takers(service, inputs).groups;
        groups.iter().map(|group| 100 * u64::from(group.share) / u64::from(WHOLE)).collect::<Vec<_>>()
    };
    let (service, told) = usual();
    assert_eq!(parts(&service, &told), [100, 0]);
    for admin in [AdminState::Draining, AdminState::Disabled] {
        let (mut service, told) = usual();
        service.backends[1].admin_state = admin;
        assert_eq!(parts(&service, &told), [50, 50], "{admin:?}");
    }
    for advice in [
        Advice { weight_percent: None, wants: Some(Wants::Drain) },
        Advice { weight_percent: None, wants: Some(Wants::Maintenance) },
        Advice { weight_percent: Some(0), wants: None },
    ] {
        let (service, mut told) = usual();
        told.advice.insert(key(1), advice);
        assert_eq!(parts(&service, &told), [50, 50], "{advice:?}");
    }
    let (service, mut told) = usual();
    told.next_hops.remove(&key(1).0);
    assert_eq!(parts(&service, &told), [50, 50], "no next hop");
    let (mut service, told) = usual();
    service.backends[1].weight = 0;
    assert_eq!(parts(&service, &told), [100, 0], "weight 0");
    let (service, mut told) = usual();
    told.slow_start.insert(key(1), 50);
    assert_eq!(parts(&service, &told), [100, 0], "slow start");
}

/// In a slow start a backend has less of what its group takes; the group takes no less.
#[test]
fn slow_start_is_within_a_group() {
    for scheduler in SCHEDULERS {
        let servers: Vec<Server> = vec![(0, 1, true), (0, 1, true), (0, 1, false), (0, 1, false), (1, 1, true)];
        let service = service(scheduler, "overflow_threshold: 100,", &servers);
        let mut told = inputs(&servers);
        told.slow_start.insert(key(1), 250);
        let weights = weights(&service, &told);
        let all: u32 = weights.values().sum();
        let percent = |host| (100.0 * f64::from(weights[&key(host)]) / f64::from(all)).round();
        assert_eq!([0, 1, 4].map(percent), [40.0, 10.0, 50.0], "{scheduler}");
    }
}

/// Backups are asked when no priority has anybody, and with `on_no_backend: backup` also those that are down.
#[test]
fn backups_are_last() {
    let servers: Vec<Server> = vec![(0, 1, true), (1, 1, true), (0, 1, true), (0, 1, true)];
    let of = |up: [bool; 4], on_no_backend: &str| {
        let mut service = service("maglev", "", &servers);
        service.backends[2].backup = true;
        service.backends[3].backup = true;
        service.on_no_backend = match on_no_backend {
            "backup" => config::model::OnNoBackend::Backup,
            "fail-open" => config::model::OnNoBackend::FailOpen,
            _ => config::model::OnNoBackend::Drop,
        };
        let servers: Vec<Server> = servers.iter().zip(up).map(|((p, w, _), up)| (*p, *w, up)).collect();
        let found = takers(&service, &inputs(&servers));
        let keys: Vec<BackendKey> = service.backends.iter().map(backend_key).collect();
        let hosts: Vec<usize> = (0..4).filter(|host| found.contains(&keys[*host])).collect();
        (hosts, found.because)
    };
    assert_eq!(of([true; 4], "drop"), (vec![0], Because::Able));
    assert_eq!(of([false, true, true, true], "drop"), (vec![1], Because::Able));
    assert_eq!(of([false, false, true, true], "drop"), (vec![2, 3], Because::Backups));
    assert_eq!(of([false, false, false, true], "backup"), (vec![3], Because::Backups));
    assert_eq!(of([false; 4], "drop"), (vec![], Because::Nobody));
    assert_eq!(of([false; 4], "backup"), (vec![2, 3], Because::SorryBackups));
    assert_eq!(of([false; 4], "fail-open"), (vec![0], Because::FailOpen));
}
