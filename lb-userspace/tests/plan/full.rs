//! What does not fit is refused by name, and nothing changes.

use evenkeel::{
    dataplane::{DataPlane as _, fake::Fake},
    plan::{Actual, PlanError},
};
use lb_common::{memory::Sizes, schedule::maglev::MaglevError, service::builder::BuildError};

use super::{
    node::Node,
    world::{Backend, Service, World},
};

const SIZES: Sizes = Sizes {
    service_buckets: 64,
    services: 10,
    slots: 2000,
    destinations: 40,
    flow_buckets: 512,
    nat_buckets: 64,
    fragment_buckets: 1,
    quic_buckets: 4,
    list_bounds: 256,
    client_buckets: 16,
};

fn image(fake: &Fake) -> String {
    format!("{:?}", fake.tables())
}

/// A world of two services is in force, with backend 1 of the first at weight 1. The next one has another weight there, and
/// something that does not fit. Returns the refusal.
fn refused(sizes: Sizes, change: impl FnOnce(&mut World)) -> PlanError {
    let mut node = Node::new(sizes);
    let mut world = World::default();
    world.services.insert(0, Service::new(0b11));
    world.services.insert(4, Service::new(0b11));
    node.go(&world);
    let (image_before, actual_before) = (image(&node.fake), format!("{:?}", node.actual));
    let good = world.clone();
    let heavier = Backend { weight: 3, keeps: true, hop: Some(0), tunnel: None };
    world.services.get_mut(&0).expect("a service").backends.insert(1, heavier);
    let reweighted = world.clone();
    change(&mut world);
    let error = node.try_plan(&world).expect_err("does not fit");
    assert_eq!(image(&node.fake), image_before);
    assert_eq!(format!("{:?}", node.actual), actual_before);
    assert_eq!(node.plan(&good), [], "the refused state left a trace");
    // What fits of it is really written, although the refused plan had it computed already.
    let _ = node.try_plan(&world);
    node.go(&reweighted);
    let taken = slots_of_first(&node);
    assert!(taken[1] > 2 * taken[0], "{taken:?} slots");
    error
}

/// Slots of the two backends of service 0.
fn slots_of_first(node: &Node) -> [usize; 2] {
    let tables = node.fake.tables();
    let actual = Actual::read(&tables);
    let service = &actual.services[&super::world::key(0)];
    let (offset, size) = (service.slots.offset as usize, service.slots.size as usize);
    [0, 1].map(|b| {
        let id = service.backends[&super::world::backend_key(0, b)];
        tables.slots[offset..offset + size].iter().filter(|slot| slot.load() == id).count()
    })
}

#[test]
fn services() {
    let sizes = Sizes { services: 4, ..SIZES };
    let error = refused(sizes, |world| (5..7).for_each(|s| drop(world.services.insert(s, Service::new(1)))));
    assert_eq!(error, PlanError::Full("services"));
    assert!(error.to_string().contains("`node.limits.services`"), "{error}");
}

#[test]
fn backends() {
    let sizes = Sizes { destinations: 8, ..SIZES };
    let error = refused(sizes, |world| drop(world.services.insert(5, Service::new(0b1111))));
    assert_eq!(error, PlanError::Full("backends"));
    assert!(error.to_string().contains("`node.limits.backends`"), "{error}");
}

#[test]
fn slots() {
    let sizes = Sizes { slots: 4 * 251, ..SIZES };
    let error = refused(sizes, |world| (5..8).for_each(|s| drop(world.services.insert(s, Service::new(1)))));
    assert_eq!(error, PlanError::Full("slots"));
    assert!(error.to_string().contains("`node.limits.slots`"), "{error}");
}

#[test]
fn buckets_of_the_service_table() {
    let sizes = Sizes { service_buckets: 8, slots: 4000, ..SIZES };
    let error = refused(sizes, |world| {
        (1..9).filter(|s| *s != 4).for_each(|s| drop(world.services.insert(s, Service::new(1))));
    });
    assert_eq!(error, PlanError::Services(BuildError::TooLarge { buckets: 4 }));
}

#[test]
fn a_maglev_table_too_small_for_its_backends() {
    let mut node = Node::new(Sizes { destinations: 400, ..SIZES });
    let mut world = World::default();
    world.services.insert(0, Service::new(1));
    node.go(&world);
    let mut desired = world.desired();
    let service = desired.services.values_mut().next().expect("a service");
    let backend = *service.backends.values().next().expect("a backend");
    service.backends.extend((0..=250).map(|b| (([10, 1, 0, b].into(), 80), backend)));
    service.backends.extend((0..=50).map(|b| (([10, 2, 0, b].into(), 80), backend)));
    let key = node.fake.constants.hash_key;
    let error = evenkeel::plan::plan(&desired, &node.actual, node.fake.tables(), &key, &mut node.memo).unwrap_err();
    assert_eq!(error, PlanError::Maglev(MaglevError::TooManyMembers { members: 303, size: 251 }));
    assert_eq!(node.plan(&world), []);
}

#[test]
fn interfaces() {
    let mut node = Node::new(Sizes { destinations: 100, ..SIZES });
    let mut world = World::default();
    world.services.insert(0, Service::new(1));
    let mut desired = world.desired();
    let service = desired.services.values_mut().next().expect("a service");
    let backend = *service.backends.values().next().expect("a backend");
    for b in 0..64 {
        let mut other = backend;
        other.next_hop.as_mut().expect("resolved").0.ifindex = 100 + u32::from(b);
        service.backends.insert(([10, 1, 0, b].into(), 80), other);
    }
    let key = node.fake.constants.hash_key;
    let error = evenkeel::plan::plan(&desired, &node.actual, node.fake.tables(), &key, &mut node.memo).unwrap_err();
    assert_eq!(error, PlanError::Egress);
    node.go(&world);
}
