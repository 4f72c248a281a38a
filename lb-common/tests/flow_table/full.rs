//! A table that is full (catalogue, line 16). With one bucket nothing can move, so the order among four flows is seen.

use lb_common::{
    abi::DestinationState,
    wire::tcp::{ACK, FIN, SYN},
};

use crate::node::{Client, HZ, Node, PATIENT, TCP, ids_of, serving, tcp};

/// Four established flows, each a second later than the one before, and their destinations.
fn full() -> (Node, Vec<u32>) {
    let mut node = Node::new(1);
    let mut destinations = Vec::new();
    for number in 0..4 {
        node.pass(HZ);
        destinations.push(node.send(tcp(number), ACK));
    }
    (node, destinations)
}

/// Which of the first four clients of [`TCP`] are still known.
fn known(node: &Node, destinations: &[u32]) -> Vec<u32> {
    // A packet of a flow that is not known would make an entry, so a FIN asks: it makes none.
    let is_known = |number: &u32| {
        let destination = destinations[*number as usize];
        node.schedule(TCP, &[destination % 16 + 1]);
        node.send(tcp(*number), FIN) == destination
    };
    (0..4).filter(is_known).collect()
}

/// (created, evicted, displaced, untracked).
fn counted(node: &Node) -> (u64, u64, u64, u64) {
    let counters = node.counters();
    let (created, evicted) = (counters.flows_created.get(), counters.flows_evicted.get());
    (created, evicted, counters.flows_displaced.get(), counters.flows_untracked.get())
}

#[test]
fn a_dead_entry_goes_before_a_closing_one() {
    let (mut node, destinations) = full();
    node.send(tcp(0), FIN);
    // Dead by the time-outs of its own service, not by the longest of any.
    node.pass(900 * HZ - 2 * HZ - 1);
    for number in [0, 2, 3] {
        node.send(tcp(number), ACK);
    }
    node.pass(1);
    node.send(tcp(0), FIN);
    node.send(tcp(9), SYN);
    assert_eq!(counted(&node), (6, 0, 0, 0));
    assert_eq!(known(&node, &destinations), [0, 2, 3]);
}

#[test]
fn an_entry_of_an_old_generation_or_of_a_destination_that_keeps_none_is_dead() {
    let none = DestinationState { keeps_flows: false, ..serving(1) };
    let moved = DestinationState { service: PATIENT, ..serving(1) };
    for (state, dead) in [(serving(2), true), (none, true), (moved, false)] {
        let node = Node::new(1);
        for (number, id) in (0..4).zip(ids_of(TCP)) {
            node.schedule(TCP, &[id]);
            node.send(tcp(number), ACK);
        }
        node.set_state(3, state);
        node.schedule(TCP, &[9]);
        node.send(tcp(9), SYN);
        let mut found: Vec<u32> = node.entries().iter().map(|word| word.destination()).collect();
        found.sort_unstable();
        assert_eq!(found == [1, 2, 4, 9], dead, "{state:?} {found:?}");
        assert_eq!(node.counters().flows_untracked.get(), u64::from(!dead));
    }
}

#[test]
fn the_closing_flow_that_is_idle_longest_goes_first() {
    let (mut node, destinations) = full();
    for number in [2, 1] {
        node.pass(1);
        node.send(tcp(number), FIN);
    }
    // The flow that is idle longest is not closing, and stays.
    node.pass(1);
    node.send(tcp(9), SYN);
    assert_eq!(counted(&node), (5, 1, 0, 0));
    assert_eq!(known(&node, &destinations), [0, 1, 3]);
}

#[test]
fn then_the_flow_that_is_idle_longest_if_for_a_minute() {
    for (ticks, evicted) in [(60 * HZ - 1, false), (60 * HZ, true)] {
        let (mut node, destinations) = full();
        node.send(tcp(0), ACK);
        node.pass(ticks - 2 * HZ);
        let untracked = node.send(tcp(9), SYN);
        assert_eq!(counted(&node), if evicted { (5, 1, 0, 0) } else { (4, 0, 0, 1) }, "after {ticks} ticks");
        assert!(ids_of(TCP).contains(&untracked), "forwarded in any case");
        assert_eq!(known(&node, &destinations), if evicted { vec![0, 2, 3] } else { vec![0, 1, 2, 3] });
    }
}

#[test]
fn an_untracked_flow_goes_where_its_hash_says() {
    let (node, _) = full();
    let empty = Node::new(64);
    for number in 10..200 {
        let expected = empty.send(tcp(number), SYN);
        for flags in [SYN, ACK, ACK, FIN | ACK] {
            assert_eq!(node.send(tcp(number), flags), expected);
        }
    }
    assert_eq!(node.entries().len(), 4);
    assert_eq!(counted(&node), (4, 0, 0, 3 * 190), "every packet that would have made an entry is counted");
}

/// 32 buckets, filled to the first flow that finds no room: until then flows move, and each keeps its destination.
#[test]
fn flows_move_to_their_other_bucket_before_any_is_evicted() {
    let node = Node::new(32);
    let mut flows: Vec<(Client, u32)> = Vec::new();
    while counted(&node).3 == 0 {
        let client = tcp(flows.len() as u32);
        flows.push((client, node.send(client, SYN)));
    }
    flows.pop();
    let (created, evicted, displaced, _) = counted(&node);
    assert!(displaced > 0 && evicted == 0 && created == flows.len() as u64);
    assert!(flows.len() > 128 * 80 / 100, "{} of 128 places", flows.len());
    node.schedule(TCP, &[]);
    for (client, destination) in flows {
        assert_eq!(node.send(client, ACK), destination);
    }
}

/// All around is closing: the flow in the way moves onto a closing one, and no live flow suffers.
#[test]
fn a_flow_moves_onto_one_that_is_closing() {
    let node = Node::new(1 << 10);
    let mut live = Vec::new();
    for number in 0..40_000 {
        let destination = node.send(tcp(number), SYN);
        // One in twenty stays, the others close at once: the table is full of closing flows, half of it at last live.
        if number % 20 == 0 { live.push((tcp(number), destination)) } else { _ = node.send(tcp(number), FIN) }
    }
    assert_eq!(node.entries().len(), 4096);
    assert_eq!(node.counters().flows_untracked.get(), 0);
    node.schedule(TCP, &[]);
    for (client, destination) in live {
        assert_eq!(node.send(client, ACK), destination);
    }
}
