//! Single situations that went wrong, or would without care that a random walk seldom meets.

use evenkeel::{
    dataplane::{DataPlane as _, fake::Fake, publish},
    plan::{Actual, Memo, PlanError, Write, desired::DesiredWay, features, plan},
};
use lb_common::{abi::Mode, features::Features, memory::Sizes};

use super::{
    node::{Node, ROOMY},
    world::{Backend, Service, World, backend_key, key},
};

fn world_of(services: &[(usize, u8)]) -> World {
    let services = services.iter().map(|(s, mask)| (*s, Service::new(*mask))).collect();
    World { services, egress_version: 0 }
}

/// A plan that was made and only written in part: the next one finds the finished tables in the memo, but not in force.
#[test]
fn a_memo_of_a_plan_that_failed_half_way_is_not_believed() {
    let mut node = Node::new(ROOMY);
    node.go(&world_of(&[(0, 0b111)]));
    let smaller = world_of(&[(0, 0b011)]);
    node.begin(&smaller);
    let first = node.plan(&smaller)[0].clone();
    assert!(matches!(first, Write::SlotChanges { .. }), "{first:?}");
    node.restart(false);
    node.go(&smaller);
}

/// A daemon that is killed between two slots leaves a table of both: every packet has a backend of one of the two states, and
/// the next daemon writes the rest.
#[test]
fn killed_between_two_slots() {
    for memo_lost in [false, true] {
        let mut node = Node::new(ROOMY);
        node.go(&world_of(&[(0, 0b111), (1, 0b111)]));
        let other = world_of(&[(0, 0b1101), (1, 0b111)]);
        node.begin(&other);
        let writes = node.plan(&other);
        let at = writes.iter().position(|write| matches!(write, Write::SlotChanges { .. })).expect("changed slots");
        let Write::SlotChanges { changes } = &writes[at] else { unreachable!("found as such") };
        writes[..at].iter().for_each(|write| node.perform(write));
        let (some, rest) = changes.split_at(changes.len() / 2);
        node.perform(&Write::SlotChanges { changes: some.to_vec() });
        node.watch();
        node.restart(memo_lost);
        let left = node.plan(&other);
        assert_eq!(left[0], Write::SlotChanges { changes: rest.to_vec() });
        node.go(&other);
    }
}

/// A shared server goes down while the tables are nearly full: all services get other slots at once.
#[test]
fn all_services_change_in_room_for_one_more_table() {
    let mut node = Node::new(Sizes { slots: 7 * 251, ..ROOMY });
    let all: Vec<(usize, u8)> = (0..6).map(|s| (s, 0b111)).collect();
    node.go(&world_of(&all));
    let fewer: Vec<(usize, u8)> = (0..6).map(|s| (s, 0b110)).collect();
    node.go(&world_of(&fewer));
    node.go(&world_of(&all));
}

/// Another configuration in tables that hold the old or the new one, not both. Flows of backends that stay, stay.
#[test]
fn what_goes_makes_room_for_what_comes() {
    let mut node = Node::new(Sizes { services: 4, slots: 4 * 251, destinations: 10, ..ROOMY });
    node.go(&world_of(&[(0, 0b111), (1, 0b111), (2, 0b111)]));
    node.go(&world_of(&[(0, 0b111), (4, 0b111), (5, 0b111)]));
    node.go(&world_of(&[(0, 0b110_001), (7, 0b111), (8, 0b111)]));
}

/// Room is not made by taking away all backends of a service that has others to come.
#[test]
fn room_is_not_made_by_an_outage() {
    let mut node = Node::new(Sizes { destinations: 5, ..ROOMY });
    node.go(&world_of(&[(0, 0b000_111)]));
    assert_eq!(node.try_plan(&world_of(&[(0, 0b111_000)])), Err(PlanError::Full("backends")));
    node.go(&world_of(&[(0, 0b011_001)]));
}

/// A service that a killed daemon had freed in part is wanted again, and what else is wanted needs room: it is not listed
/// before it is whole.
#[test]
fn a_service_freed_in_part_is_not_listed_to_make_room() {
    let mut node = Node::new(Sizes { services: 4, ..ROOMY });
    node.go(&world_of(&[(0, 0b11), (1, 0b11), (4, 0b11)]));
    let without = world_of(&[(0, 0b11), (1, 0b11)]);
    node.begin(&without);
    let writes = node.plan(&without);
    let first = writes.iter().position(|write| matches!(write, Write::FreeDestination { .. })).expect("one is freed");
    writes[..=first].iter().for_each(|write| node.perform(write));
    node.restart(true);
    node.go(&world_of(&[(0, 0b11), (4, 0b11), (5, 0b11)]));
}

/// The destinations of a service that was never written are not taken for backends of the next one in its place.
#[test]
fn destinations_without_a_service_are_reclaimed() {
    let mut node = Node::new(ROOMY);
    let first = world_of(&[(0, 0b111)]);
    node.begin(&first);
    let writes = node.plan(&first);
    let destinations = writes.iter().filter(|write| matches!(write, Write::Destination { .. })).count();
    assert_eq!(destinations, 3);
    let until = writes.iter().position(|write| matches!(write, Write::Slots { .. })).expect("slots");
    writes[..until].iter().for_each(|write| node.perform(write));
    node.restart(true);
    node.go(&world_of(&[(1, 0b111)]));
    assert_eq!(node.checker.used(), (1, 3));
}

/// The same without a restart, by a daemon that followed the writes that it made.
#[test]
fn destinations_without_a_service_are_reclaimed_by_their_writer() {
    let mut node = Node::new(ROOMY);
    let first = world_of(&[(0, 0b111)]);
    node.begin(&first);
    let writes = node.plan(&first);
    let until = writes.iter().position(|write| matches!(write, Write::Slots { .. })).expect("slots");
    writes[..until].iter().for_each(|write| node.perform(write));
    node.go(&world_of(&[(1, 0b111)]));
}

/// A grace period comes before the first reuse after a restart: what the killed daemon replaced may still be read.
#[test]
fn a_restart_waits_before_it_reuses() {
    let mut node = Node::new(ROOMY);
    node.go(&world_of(&[(0, 0b111)]));
    let mut larger = world_of(&[(0, 0b111)]);
    larger.services.get_mut(&0).expect("a service").large = true;
    node.begin(&larger);
    let writes = node.plan(&larger);
    let switch = writes.iter().position(|write| matches!(write, Write::ServiceSlots { .. })).expect("a switch");
    writes[..=switch].iter().for_each(|write| node.perform(write));
    node.restart(true);
    let periods = node.fake.grace_periods;
    let back = world_of(&[(0, 0b111)]);
    node.begin(&back);
    let writes = node.plan(&back);
    let before = writes.iter().take_while(|write| **write != Write::Quiesce);
    assert!(before.into_iter().all(|write| matches!(write, Write::MostFlows { .. } | Write::Score { .. })));
    assert!(writes.contains(&Write::Quiesce));
    writes.iter().for_each(|write| node.perform(write));
    node.arrive();
    assert_eq!(node.fake.grace_periods, periods + 2);
}

/// A service without slots leaves, and takes nobody's slots at offset 0 with it.
#[test]
fn a_service_without_slots_frees_none() {
    let mut node = Node::new(ROOMY);
    let mut world = world_of(&[(0, 0b111)]);
    node.go(&world);
    world.services.insert(1, Service::new(0));
    node.go(&world);
    world.services.remove(&1);
    node.go(&world);
    assert_eq!(node.actual.slots.find(251, 20_000), Some(251));
}

/// The longest time-outs are never below those of a service: the checker looks at every write.
#[test]
fn longest_time_outs_bound_those_of_services_all_the_time() {
    let mut node = Node::new(ROOMY);
    let mut world = world_of(&[(0, 1), (4, 1)]);
    for timeout in [1000, 3000, 2000, 2500, 1] {
        world.services.values_mut().for_each(|service| service.timeout = timeout);
        node.go(&world);
        assert_eq!(node.actual.longest_timeouts, [0, 1, 2, 3, 4].map(|state| timeout + state));
    }
}

/// A next hop that gets lost stays; a backend that never had one is given up for nobody.
#[test]
fn a_lost_next_hop_stays() {
    let mut node = Node::new(ROOMY);
    let mut world = world_of(&[(0, 0b11)]);
    node.go(&world);
    let lost = Backend { weight: 1, keeps: true, hop: None, tunnel: None };
    world.services.get_mut(&0).expect("a service").backends.insert(0, lost);
    assert_eq!(node.plan(&world), []);
    node.go(&world);
}

/// A place that is used again has another generation, and flows of the old backend do not go to the new one.
#[test]
fn places_are_used_again_with_other_generations() {
    let sizes = Sizes { destinations: 4, ..ROOMY };
    let mut node = Node::new(sizes);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..30_u8 {
        node.go(&world_of(&[(0, 1 << (round % 2))]));
        let id = node.actual.services[&key(0)].backends[&backend_key(0, round % 2)];
        assert!(seen.insert((id, node.actual.destinations[&id].state.generation)), "round {round}");
    }
    assert_eq!(seen.iter().map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>().len(), 3);
}

/// An interface that nobody leads to any more makes room for another one.
#[test]
fn interfaces_come_and_go() {
    let mut fake = Fake::new(ROOMY);
    let mut actual = Actual::read(&fake.tables());
    let (mut memo, key) = (Memo::default(), fake.constants.hash_key);
    let mut checker = super::checker::Checker::new(ROOMY);
    for ifindex in 1..200 {
        let mut desired = world_of(&[(0, 1)]).desired();
        let service = desired.services.values_mut().next().expect("a service");
        let backend = service.backends.values_mut().next().expect("a backend");
        backend.next_hop.as_mut().expect("resolved").0.ifindex = ifindex;
        let writes = plan(&desired, &actual, fake.tables(), &key, &mut memo).expect("a plan");
        for write in &writes {
            checker.follow(write);
            actual.apply(write);
        }
        publish(&mut fake, &writes).expect("memory takes every write");
        let (_, destination) = actual.destinations.iter().next().expect("a destination");
        assert_eq!(fake.devices[&destination.next_hop.egress], ifindex);
    }
}

/// Whether and how a backend is told its clients changes by one word each, and the program has to be able to do it.
#[test]
fn telling_a_backend_its_clients_is_one_write() {
    let mut fake = Fake::new(ROOMY);
    let mut actual = Actual::read(&fake.tables());
    let (mut memo, key) = (Memo::default(), fake.constants.hash_key);
    let mut desired = world_of(&[(0, 1)]).desired();
    for (turn, toa) in [0, 254, 253, 0].into_iter().enumerate() {
        let service = desired.services.values_mut().next().expect("a service");
        service.backends.values_mut().for_each(|backend| backend.way = DesiredWay::FullNat { toa });
        let writes = plan(&desired, &actual, fake.tables(), &key, &mut memo).expect("a plan");
        assert_eq!(features::of_all(&writes, &[]).has(Features::TOA), toa != 0);
        if turn > 0 {
            // Before a second change a grace period: packets may be under way by the first.
            let [.., Write::Way { state, .. }] = writes.as_slice() else { panic!("{writes:?}") };
            assert!(writes[..writes.len() - 1].iter().all(|write| *write == Write::Quiesce), "{writes:?}");
            assert_eq!((state.mode, state.toa), (Mode::FullNat, toa));
        }
        writes.iter().for_each(|write| actual.apply(write));
        publish(&mut fake, &writes).expect("memory takes every write");
        assert_eq!(plan(&desired, &actual, fake.tables(), &key, &mut memo), Ok(Vec::new()));
        assert_eq!(plan(&desired, &Actual::read(&fake.tables()), fake.tables(), &key, &mut memo), Ok(Vec::new()));
        assert_eq!(Features::of(&fake.tables(), &[]).has(Features::TOA), toa != 0);
    }
}
