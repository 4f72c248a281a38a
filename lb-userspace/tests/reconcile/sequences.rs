//! Random events: after each of them the tables are, word for word, those of a twin that looks at everything each time.

use std::{net::IpAddr, time::Duration};

use etherparse::PacketBuilder;
use evenkeel::{
    config::model::AdminState,
    dataplane::DataPlane as _,
    health::Status,
    state::{
        BackendRuntime, DrainRecord, Leaving,
        runtime::{Added, key_text},
    },
};
use proptest::prelude::*;

use super::node::Node;

/// Backends are shared: the first service and the second have the same, at different ports; the third is of UDP and lets flows
/// stay; the second resets them; the fourth prefers whatever there is to nothing; the last is not probed.
const CONFIG: &str = "
version: 1
node:
  interfaces: [eth0]
  flow_table: {entries: 1024}
  limits: {services: 8, backends: 64, slots: 8192}
defaults:
  probe: {type: tcp}
services:
  - {name: s0, vip: 192.0.2.1, port: 80, protocol: tcp, backends: [10.0.0.1, 10.0.0.2, 10.0.0.3]}
  - {name: s1, vip: 192.0.2.1, port: 443, protocol: tcp, on_no_backend: reject, on_backend_down: reset,
     on_drain_timeout: reset, backends: [10.0.0.1, 10.0.0.2, 10.0.0.3]}
  - {name: s2, vip: 192.0.2.2, port: 53, protocol: udp, on_backend_down: keep, backends: [10.0.0.2, 10.0.0.4]}
  - {name: s3, vip: 192.0.2.3, port: 80, protocol: tcp, on_no_backend: fail-open,
     backends: [10.0.0.4, 10.0.0.5, {address: 10.0.0.6, backup: true}]}
  - {name: s4, vip: 192.0.2.4, port: 80, protocol: tcp, probe: none, backends: [10.0.0.1, 10.0.0.6]}
";
const SERVICES: [(&str, [u8; 4], u16); 5] = [
    ("s0", [192, 0, 2, 1], 80),
    ("s1", [192, 0, 2, 1], 443),
    ("s2", [192, 0, 2, 2], 53),
    ("s3", [192, 0, 2, 3], 80),
    ("s4", [192, 0, 2, 4], 80),
];
const UDP: usize = 2;

#[derive(Clone, Debug)]
enum Event {
    Probe(u8, u16, Status),
    Forget(u8, u16),
    Hop(u8, Option<(u32, u8)>),
    Weight(usize, u8, u16),
    Admin(usize, u8, AdminState),
    Add(usize, u8, u16),
    Remove(usize, u8, u64),
    Packet(usize, u8),
    Time(u64),
    /// The whole configuration is taken over again.
    Reload,
}

fn event() -> impl Strategy<Value = Event> {
    let host = || 1..8_u8;
    let service = || 0..SERVICES.len();
    let port = || prop::sample::select(vec![80_u16, 443, 53]);
    let status = prop::sample::select(vec![Status::Up, Status::Up, Status::Down]);
    let admin = prop::sample::select(vec![AdminState::Enabled, AdminState::Draining, AdminState::Disabled]);
    prop_oneof![
        8 => (host(), port(), status).prop_map(|(host, port, status)| Event::Probe(host, port, status)),
        1 => (host(), port()).prop_map(|(host, port)| Event::Forget(host, port)),
        4 => (host(), prop::option::weighted(0.8, (2..5_u32, 0..3_u8))).prop_map(|(host, hop)| Event::Hop(host, hop)),
        2 => (service(), host(), 0..4_u16).prop_map(|(s, host, weight)| Event::Weight(s, host, weight)),
        2 => (service(), host(), admin).prop_map(|(s, host, admin)| Event::Admin(s, host, admin)),
        2 => (service(), host(), 0..4_u16).prop_map(|(s, host, weight)| Event::Add(s, host, weight)),
        2 => (service(), host(), prop::sample::select(vec![0, 5, 300])).prop_map(|(s, h, time)| Event::Remove(s, h, time)),
        6 => (service(), any::<u8>()).prop_map(|(s, client)| Event::Packet(s, client)),
        2 => (1..20_u64).prop_map(Event::Time),
        1 => Just(Event::Reload),
    ]
}

fn backend(host: u8) -> IpAddr {
    [10, 0, 0, host].into()
}

fn packet(service: usize, client: u8) -> Vec<u8> {
    let (_, vip, port) = SERVICES[service];
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([198, 51, 100, client], vip, 64);
    let mut bytes = Vec::new();
    if service == UDP {
        builder.udp(4000, port).write(&mut bytes, &[]).expect("memory takes it");
    } else {
        builder.tcp(4000, port, 1, 1000).syn().write(&mut bytes, &[]).expect("memory takes it");
    }
    bytes
}

impl Node {
    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Probe(host, port, status) => self.probe(backend(host), port, status),
            Event::Forget(host, port) => self.forget(backend(host), port),
            Event::Hop(host, hop) => self.hop(backend(host), hop),
            Event::Weight(s, host, weight) => self.change_backend(s, host, |change| change.weight = Some(weight)),
            Event::Admin(s, host, admin) => {
                let drain = (admin == AdminState::Draining).then(|| DrainRecord::new(self.now, Duration::from_secs(9)));
                self.change_backend(s, host, |change| (change.admin_state, change.drain) = (Some(admin), drain));
            }
            Event::Add(s, host, weight) => {
                let name = backend(host).to_string();
                let added = Added {
                    name,
                    mode: None,
                    weight,
                    max_connections: None,
                    priority: 0,
                    backup: host == 7,
                    admin_state: AdminState::Enabled,
                    quic_server_id: None,
                    ttl: None,
                };
                self.change_backend(s, host, |change| {
                    *change = BackendRuntime { added: Some(added), ..BackendRuntime::default() };
                });
            }
            Event::Remove(s, host, seconds) => {
                let (name, _, port) = SERVICES[s];
                let drain = DrainRecord::new(self.now, Duration::from_secs(seconds));
                let leaving = Leaving { name: backend(host).to_string(), drain };
                self.change(name, |runtime| {
                    let key = (backend(host), port);
                    *runtime.backend_mut(name, key) = BackendRuntime { removed: true, ..BackendRuntime::default() };
                    runtime.services.entry(name.to_owned()).or_default().leaving.insert(key_text(key), leaving);
                });
            }
            Event::Packet(s, client) => drop(self.fake.run(&packet(s, client), self.fake.tick, 3)),
            Event::Time(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.fake.tick += 16 * seconds as u32;
            }
            Event::Reload => {
                let runtime = self.reconciler.runtime().clone();
                let fit =
                    self.reconciler.fit_all(&self.config, runtime, &self.fake, self.now).expect("it fitted before");
                self.reconciler.take(fit);
            }
        }
    }

    fn change_backend(&mut self, s: usize, host: u8, change: impl FnOnce(&mut BackendRuntime)) {
        let (name, _, port) = SERVICES[s];
        self.change(name, |runtime| change(runtime.backend_mut(name, (backend(host), port))));
    }

    fn tables(&self) -> String {
        let tables = self.fake.tables();
        // What packets write of translated flows and fragments is none of the plan's.
        let plan = (tables.control, tables.services, tables.slots, tables.destinations, tables.tunnels, tables.egress);
        format!("{plan:?} {:?} {:?} {:?}", tables.vip_filter, tables.service_buckets, tables.flows)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_are_those_of_a_full_plan(events in prop::collection::vec((event(), prop::bool::weighted(0.7)), 1..80)) {
        let (mut node, mut twin) = (Node::new(CONFIG), Node::new(CONFIG));
        for (i, (event, at_once)) in events.iter().enumerate() {
            node.happen(event);
            twin.happen(event);
            // Some events come together.
            if *at_once || i + 1 == events.len() {
                let writes = node.reconcile();
                twin.reconciler.concern_all();
                prop_assert_eq!(writes, twin.reconcile(), "after {:?}", event);
                prop_assert_eq!(node.tables(), twin.tables(), "after {:?}", event);
                let left = node.reconciler.plan_all(&node.fake, node.now);
                prop_assert_eq!(left, Ok(vec![]), "after {:?}", event);
            }
        }
        prop_assert_eq!(node.reconciler.targets(), twin.reconciler.targets());
        prop_assert_eq!(node.fake.grace_periods, twin.fake.grace_periods);
    }
}
