//! CPUs read the clock one after the other: one may judge an entry that another stamped a tick later.

use lb_common::{
    flow::{FlowState, FlowWord, SKEW_TICKS, TICK_MASK},
    wire::tcp::{ACK, SYN},
};

use crate::node::{Node, TCP, tcp, udp};

#[test]
fn a_flow_seen_by_a_cpu_that_is_ahead_keeps_its_destination() {
    for ahead in [1, SKEW_TICKS] {
        let node = Node::new(4);
        let (now, client) = (node.now(), tcp(1));
        let destination = node.send_at(now + ahead, client, SYN);
        node.schedule(TCP, &[destination % 16 + 1]);
        assert_eq!(node.send_at(now, client, ACK), destination, "{ahead} ticks ahead");
        assert_eq!(node.flows(), (1, 0));
    }
}

#[test]
fn its_entry_is_not_taken_for_a_free_place() {
    let node = Node::new(1);
    let now = node.now();
    let destinations: Vec<u32> = (0..4).map(|number| node.send_at(now + 1, tcp(number), SYN)).collect();
    (0..100).for_each(|number| _ = node.send_at(now, udp(number), 0));
    assert_eq!(node.counters().flows_untracked.get(), 100);
    for (number, destination) in (0..4).zip(destinations) {
        node.schedule(TCP, &[destination % 16 + 1]);
        assert_eq!(node.send_at(now, tcp(number), ACK), destination);
    }
}

/// An unused entry is all zero, which just before the clock's wrap looks like a stamp of a clock that is ahead.
#[test]
fn an_unused_entry_is_free_at_every_hour() {
    for now in [0, 1, SKEW_TICKS, TICK_MASK - SKEW_TICKS, TICK_MASK - SKEW_TICKS + 1, TICK_MASK] {
        let node = Node::new(1);
        (0..4).for_each(|number| _ = node.send_at(now, tcp(number), SYN));
        assert_eq!(node.entries().len(), 4, "at {now}");
        assert_eq!((node.counters().flows_created.get(), node.counters().flows_evicted.get()), (4, 0));
    }
}

#[test]
fn ages_around_the_wrap() {
    let word = |seen| FlowWord::new(1, 1, FlowState::Udp, seen);
    assert_eq!(word(TICK_MASK).age(0), 1);
    assert_eq!(word(0).age(TICK_MASK), -1);
    assert_eq!(word(0).idle(TICK_MASK), 0);
    assert_eq!(word(5).age(5 + (1 << 20)), 1 << 20);
    assert_eq!(word(SKEW_TICKS).age(0), -(SKEW_TICKS as i32));
    assert_eq!(word(SKEW_TICKS + 1).idle(0), TICK_MASK - SKEW_TICKS, "the oldest that there is");
}
