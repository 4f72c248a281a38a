//! `nat` and `full-nat` beside a simple model: random opens, closes and silence, and all ports of an address.

mod model;
mod node;
mod random;

use std::collections::{HashMap, HashSet};

use lb_common::{
    parse::Family,
    verdict::{DropReason, Verdict},
    wire::tcp::{ACK, SYN},
};

use crate::{
    model::Model,
    node::{Ends, Node, POOL, SERVICES},
    random::{Random, times},
};

/// No two live flows share what replies are told apart by, and each reply finds its flow; 200 000 opens, and 10 000 000 in a
/// long test.
fn opens_and_closes(name: &str, family: Family) {
    let node = Node::new(family, 1 << 16, 1 << 13, POOL);
    let mut model = Model::new(node, Random::from_environment(name), 64, 256);
    model.run(times(200_000));
    model.look_at_all();
    println!("{name}: {:?}", model.tally);
    assert_eq!(model.node.flows().1, model.tally.closed, "each flow that ended was counted once");
    assert!(model.tally.collisions > 0 && model.tally.repeated > 0 && model.tally.strangers > 0);
    assert!(model.tally.full * 10_000 < model.tally.opened, "the table has room");
}

#[test]
fn opens_and_closes_v4() {
    opens_and_closes("opens_and_closes_v4", Family::V4);
}

#[test]
fn opens_and_closes_v6() {
    opens_and_closes("opens_and_closes_v6", Family::V6);
}

/// One backend and one address of the pool: 60 000 flows at the same time, each with a port of its own, and `snat-ports` when there is
/// none left.
#[test]
fn sixty_thousand_flows_of_one_backend_and_one_address() {
    const SERVICE: usize = 2;
    const WANTED: usize = 60_000;
    let node = Node::new(Family::V4, 1 << 15, 1 << 13, 1);
    node.schedule(SERVICE, &[0]);
    let ends = |number: u32| Ends {
        source: (node.client(number), 40_000),
        destination: (node.vip(SERVICE), SERVICES[SERVICE].port),
        is_udp: false,
    };
    let mac = [2, 0, 0, 0, 0, 9];
    let mut flows: HashMap<u32, Ends> = HashMap::new();
    let mut ports = HashSet::new();
    let mut refused = [0_usize; 2];
    for number in 0..75_000 {
        match node.send(mac, &ends(number), SYN) {
            Ok(sent) => {
                assert_eq!(sent.ends.source.0, node.pool_address(0));
                assert!(ports.insert(sent.ends.source.1), "port {} is given twice", sent.ends.source.1);
                flows.insert(number, sent.ends);
            }
            Err(Verdict::Drop(DropReason::SnatPorts)) => refused[usize::from(flows.len() >= WANTED)] += 1,
            Err(verdict) => panic!("{verdict:?}"),
        }
    }
    println!("{} flows; refused before {WANTED}: {}, after: {}", flows.len(), refused[0], refused[1]);
    assert!(flows.len() >= WANTED);
    // 0.93^128 is the chance just before.
    assert!(refused[0] < WANTED / 1000);
    assert!(refused[1] > 5000 && flows.len() <= 65_536 - 1024);
    assert!(ports.iter().all(|port| *port >= 1024));
    for (number, outside) in &flows {
        let sent = node.send(mac, &outside.turned(), SYN | ACK).expect("a reply");
        assert_eq!(sent.ends, ends(*number).turned());
        assert_eq!(node.send(mac, &ends(*number), ACK).map(|sent| sent.ends), Ok(*outside), "it keeps its port");
    }
}
