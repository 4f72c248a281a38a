//! A daemon that is killed between two writes, at any point of a plan.

use std::collections::BTreeMap;

use evenkeel::{
    dataplane::{DataPlane as _, fake::Fake},
    plan::{
        Actual,
        desired::{BackendKey, ServiceKey},
    },
};
use lb_common::memory::Sizes;
use proptest::prelude::*;

use super::{
    node::{Node, ROOMY},
    world::{Change, World, change},
};

/// For three services with two backends more than two services of three backends have.
const TIGHT: Sizes = Sizes {
    service_buckets: 32,
    services: 4,
    // Two tables of each of two services, and the lists of those that have no table.
    slots: 4 * 251 + 16,
    destinations: 9,
    flow_buckets: 512,
    nat_buckets: 64,
    fragment_buckets: 1,
    quic_buckets: 4,
    list_bounds: 256,
    client_buckets: 16,
};

fn worlds() -> impl Strategy<Value = (World, World)> {
    let changes = || prop::collection::vec(change(), 1..12);
    (changes(), changes()).prop_map(|(first, second)| {
        let mut before = World::default();
        first.iter().for_each(|change| before.apply(change));
        let mut after = before.clone();
        second.iter().for_each(|change| after.apply(change));
        (before, after)
    })
}

/// What the tables say, without the places of things.
#[derive(Debug, PartialEq)]
struct Content(BTreeMap<ServiceKey, (Vec<BackendKey>, Backends)>);

/// Keeps flows, takes flows, MAC address, interface.
type Backends = BTreeMap<BackendKey, (bool, bool, u64, u32)>;

impl Content {
    fn of(fake: &Fake) -> Self {
        let (tables, actual) = (fake.tables(), Actual::read(&fake.tables()));
        let backend = |id: u32| actual.destinations[&id].backend;
        let services = actual.services.iter().map(|(key, service)| {
            let (offset, size) = (service.slots.offset as usize, service.slots.size as usize);
            let slots = tables.slots[offset..offset + size].iter().map(|slot| backend(slot.load())).collect();
            let backends = service.backends.iter().map(|(key, id)| {
                let found = &actual.destinations[id];
                let ifindex = actual.egress.get(&found.next_hop.egress).map_or(0, |egress| egress.ifindex);
                (*key, (found.state.keeps_flows, found.state.takes_flows, found.next_hop.mac, ifindex))
            });
            (*key, (slots, backends.collect()))
        });
        Self(services.collect())
    }
}

/// At the first world, on the way to the second after `written` writes; `None` if there are fewer.
fn killed_after(written: usize, before: &World, after: &World) -> Option<Node> {
    let mut node = Node::new(ROOMY);
    node.go(before);
    node.begin(after);
    let writes = node.plan(after);
    for write in writes.get(..written)? {
        node.perform(write);
        node.watch();
    }
    node.restart(written.is_multiple_of(2));
    Some(node)
}

fn finish(node: &mut Node, world: &World) {
    for write in node.plan(world) {
        node.perform(&write);
        node.watch();
    }
    node.arrive();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_may_end_after_any_write((before, after) in worlds()) {
        let mut whole = killed_after(0, &before, &after).expect("no write is needed");
        finish(&mut whole, &after);
        for written in 0.. {
            let Some(mut node) = killed_after(written, &before, &after) else { break };
            finish(&mut node, &after);
            if after.services.values().all(|service| service.backends.values().all(|backend| backend.hop.is_some())) {
                prop_assert_eq!(Content::of(&node.fake), Content::of(&whole.fake), "killed after {} writes", written);
            }
        }
    }

    #[test]
    fn after_a_kill_something_else_may_be_wanted(
        (before, after) in worlds(),
        written in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..8),
    ) {
        let mut node = Node::new(ROOMY);
        node.go(&before);
        node.begin(&after);
        let writes = node.plan(&after);
        for write in &writes[..written.index(writes.len() + 1)] {
            node.perform(write);
        }
        node.restart(false);
        let mut other = after;
        changes.iter().for_each(|change| other.apply(change));
        node.begin(&other);
        finish(&mut node, &other);
    }
}

/// Two services of at most three backends, out of all that may be.
fn limited(change: &Change) -> Option<Change> {
    Some(match change.clone() {
        Change::AddService(s, mask) => Change::AddService(s, (mask & 7).max(1)),
        Change::SetBackend(s, b, backend) => Change::SetBackend(s, b % 3, backend),
        Change::TableSize(_) => return None,
        other => other,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn small_tables_never_fill_up(
        steps in prop::collection::vec((change(), change(), prop::option::of(any::<prop::sample::Index>())), 300),
    ) {
        let mut node = Node::new(TIGHT);
        let mut world = World::default();
        for (first, second, killed) in steps {
            [first, second].iter().filter_map(limited).for_each(|change| world.apply(&change));
            while world.services.len() > 2 {
                world.services.pop_first();
            }
            node.begin(&world);
            let writes = node.plan(&world);
            match killed {
                Some(index) => {
                    let end = index.index(writes.len() + 1);
                    writes[..end].iter().for_each(|write| node.perform(write));
                    node.restart(end.is_multiple_of(2));
                }
                None => {
                    writes.iter().for_each(|write| node.perform(write));
                    node.arrive();
                }
            }
        }
    }
}
