//! A change touches what changed and nothing else.

use std::collections::BTreeMap;

use evenkeel::config::model::SlotKind;
use evenkeel::dataplane::{DataPlane as _, fake::Fake, publish};
use evenkeel::plan::{
    Actual, Desired, Memo, Write,
    desired::{DesiredBackend, DesiredLimits, DesiredService, DesiredWay, ServiceKey},
    plan,
    write::EgressRecord,
};
use lb_common::{
    abi::{Protocols, Scheduling},
    memory::Sizes,
    parse::Family,
    schedule::maglev::table_size_for,
};

const SERVICES: u32 = 200;
const BACKENDS: u8 = 100;
const SIZES: Sizes = Sizes {
    service_buckets: 1024,
    services: 256,
    slots: 202 * 16_381,
    destinations: 20_100,
    flow_buckets: 64,
    nat_buckets: 64,
    fragment_buckets: 1,
    quic_buckets: 4,
    list_bounds: 256,
    client_buckets: 16,
};

fn key(index: u32) -> ServiceKey {
    ServiceKey {
        family: Family::V4,
        prefix: [(0xcb00_7100 + index).to_be(), 0, 0, 0],
        prefix_length: 32,
        protocol: Protocols::Tcp,
        first_port: 443,
        last_port: 443,
    }
}

fn service(index: u32) -> DesiredService {
    let egress = EgressRecord { ifindex: 3, source_mac: [2, 0, 0, 0, 0, 3], vlan: 0, mtu: 1500 };
    let backend = |b: u8| {
        let mac = [2, 0, 0, index as u8, b, 0];
        let backend = DesiredBackend {
            weight: 10,
            keeps_flows: true,
            resets_flows: false,
            most: 0,
            next_hop: Some((egress, mac)),
            way: DesiredWay::Link,
        };
        (([10, 0, index as u8, b].into(), 443), backend)
    };
    DesiredService {
        on_no_backend: 0,
        fragments: 0,
        quic: None,
        limits: DesiredLimits::default(),
        timeouts: [960; 5],
        slot_kind: SlotKind::Maglev,
        scheduling: Scheduling::default(),
        table_size: table_size_for(usize::from(BACKENDS)),
        backends: (0..BACKENDS).map(backend).collect(),
    }
}

/// Plans twice, once with a memo that knows nothing, and carries it out.
fn step(fake: &mut Fake, actual: &mut Actual, memo: &mut Memo, desired: &Desired) -> Vec<Write> {
    let key = fake.constants.hash_key;
    let writes = plan(desired, actual, fake.tables(), &key, memo).expect("a plan");
    assert_eq!(plan(desired, actual, fake.tables(), &key, &mut Memo::default()).as_ref(), Ok(&writes));
    publish(fake, &writes).expect("memory takes every write");
    writes.iter().for_each(|write| actual.apply(write));
    writes
}

fn kind(write: &Write) -> &'static str {
    match write {
        Write::Egress { .. } => "egress",
        Write::PoolAddress { .. } => "pool address",
        Write::PoolSize { .. } => "pool size",
        Write::QuicConfiguration { .. } => "quic configuration",
        Write::QuicServer { .. } => "server id",
        Write::LongestTimeouts(_) => "longest time-outs",
        Write::Destination { .. } => "destination",
        Write::NextHop { .. } => "next hop",
        Write::Way { .. } => "way",
        Write::State { .. } => "state",
        Write::Score { .. } => "score",
        Write::MostFlows { .. } => "most flows",
        Write::ListBounds { .. } => "bounds of prefixes",
        Write::Limits { .. } => "limits",
        Write::Slots { .. } => "slots",
        Write::SlotChanges { .. } => "slot changes",
        Write::Service { .. } => "service",
        Write::ServiceSlots { .. } => "service slots",
        Write::ServiceOptions { .. } => "service options",
        Write::ServiceTable { .. } => "service table",
        Write::Quiesce => "grace period",
        Write::FreeDestination { .. } => "free destination",
        Write::FreeService { .. } => "free service",
    }
}

fn count(writes: &[Write]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    writes.iter().for_each(|write| *counts.entry(kind(write)).or_insert(0) += 1);
    counts
}

#[test]
fn one_backend_down_is_a_change_of_its_service_alone() {
    let mut desired =
        Desired { services: (0..SERVICES).map(|index| (key(index), service(index))).collect(), pool: Vec::new() };
    let mut fake = Fake::new(SIZES);
    let mut actual = Actual::read(&fake.tables());
    let mut memo = Memo::default();
    let first = count(&step(&mut fake, &mut actual, &mut memo, &desired));
    let expected = [
        ("destination", 20_000),
        ("egress", 1),
        ("grace period", 2),
        ("longest time-outs", 1),
        ("service", 200),
        ("service table", 1),
        ("slots", 200),
    ];
    assert_eq!(first, expected.into());
    assert_eq!(step(&mut fake, &mut actual, &mut memo, &desired), []);

    let down = desired.services.get_mut(&key(77)).expect("a service");
    let backend = down.backends.get_mut(&([10, 0, 77, 5].into(), 443)).expect("a backend");
    (backend.weight, backend.keeps_flows) = (0, false);
    let id = actual.services[&key(77)].backends[&([10, 0, 77, 5].into(), 443)];
    let writes = step(&mut fake, &mut actual, &mut memo, &desired);
    let kinds: Vec<_> = writes.iter().map(kind).collect();
    assert_eq!(kinds, ["slot changes", "state"]);
    assert!(matches!(writes[1], Write::State { id: of, .. } if of == id));

    assert_eq!(step(&mut fake, &mut actual, &mut memo, &desired), []);
    // After a restart as well.
    actual = Actual::read(&fake.tables());
    assert_eq!(step(&mut fake, &mut actual, &mut Memo::default(), &desired), []);
}
