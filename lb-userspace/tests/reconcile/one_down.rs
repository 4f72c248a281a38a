//! One of many backends goes down: what is written, counted in the tables.

use std::net::IpAddr;

use evenkeel::{
    dataplane::DataPlane as _,
    health::Status,
    plan::{Write, desired::ServiceKey},
};

use super::node::Node;

const SERVICES: u8 = 40;
const BACKENDS: u8 = 100;

fn address(service: u8, backend: u8) -> IpAddr {
    [10, 0, service, backend + 1].into()
}

fn node() -> Node {
    let mut text = "version: 1\nnode:\n  interfaces: [eth0]\ndefaults:\n  probe: {type: tcp}\nservices:\n".to_owned();
    for service in 0..SERVICES {
        let backends: Vec<String> = (0..BACKENDS).map(|backend| address(service, backend).to_string()).collect();
        text += &format!("  - name: s{service}\n    vip: 192.0.2.{service}\n    port: 80\n    protocol: tcp\n");
        text += &format!("    backends: [{}]\n", backends.join(", "));
    }
    let mut node = Node::new(&text);
    for service in 0..SERVICES {
        for backend in 0..BACKENDS {
            node.hop(address(service, backend), Some((3, backend)));
            node.probe(address(service, backend), 80, Status::Up);
        }
    }
    node.reconcile();
    node
}

/// Every word of the tables but the slots, and the slots.
fn image(node: &Node) -> (String, Vec<String>, Vec<u32>) {
    let tables = node.fake.tables();
    let rest = format!("{:?} {:?} {:?} {:?}", tables.control, tables.service_buckets, tables.services, tables.egress);
    let destinations = tables.destinations.iter().map(|destination| format!("{destination:?}")).collect();
    (rest, destinations, tables.slots.iter().map(|slot| slot.load()).collect())
}

#[test]
fn changed_slots_and_one_state_are_written() {
    let mut node = node();
    for (service, backend) in [(0, 0), (17, 42), (39, 99)] {
        let configured = &node.reconciler.services()[usize::from(service)];
        let actual = &node.reconciler.actual().services[&ServiceKey::of(configured)];
        let (range, id) = (actual.slots, actual.backends[&(address(service, backend), 80)]);
        let (rest, destinations, slots) = image(&node);
        let periods = node.fake.grace_periods;

        node.probe(address(service, backend), 80, Status::Down);
        let writes = node.reconcile();

        let (rest_after, destinations_after, slots_after) = image(&node);
        assert_eq!(rest_after, rest, "services and their table stay");
        assert_eq!(node.fake.grace_periods, periods, "nothing is waited for");
        let [Write::SlotChanges { changes }, Write::State { id: written, state }] = writes.as_slice() else {
            panic!("{writes:?}")
        };
        assert_eq!((*written, state.takes_flows, state.keeps_flows), (id, false, false));
        let changed: Vec<u32> =
            (0..).zip(slots.iter().zip(&slots_after)).filter(|(_, (a, b))| a != b).map(|c| c.0).collect();
        let written: Vec<u32> = changes.iter().map(|(slot, _)| *slot).collect();
        assert_eq!(written, changed, "each changed slot is written once, and no other");
        assert!(changed.iter().all(|slot| (range.offset..range.offset + range.size).contains(slot)));
        let own = slots.iter().filter(|slot| **slot == id).count();
        assert!(own > 0 && changed.len() >= own && changed.len() < 3 * own, "{} for {own} of its own", changed.len());
        let other: Vec<usize> =
            (0..destinations.len()).filter(|i| destinations[*i] != destinations_after[*i]).collect();
        assert_eq!(other, [id as usize], "one destination");
    }
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let mut node = node();
    let before = image(&node);
    node.probe(address(3, 3), 80, Status::Up);
    assert_eq!(node.reconcile(), []);
    // A target that no service has.
    node.probe([10, 9, 9, 9].into(), 80, Status::Down);
    assert_eq!(node.reconcile(), []);
    // A port that no service has.
    node.probe(address(3, 3), 81, Status::Down);
    assert_eq!(node.reconcile(), []);
    assert!(image(&node) == before);
}
