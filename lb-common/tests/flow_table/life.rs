//! The life of a flow, packet by packet (catalogue, lines 10 to 15 and 19).

use lb_common::{
    abi::DestinationState,
    flow::{FlowState, TICK_MASK},
    wire::tcp::{ACK, FIN, RST, SYN},
};

use crate::node::{Client, HZ, Node, TCP, TIMEOUTS, UDP, ids_of, serving, tcp, udp};

/// Points a service at another destination than the one that a flow has, and returns it.
fn point_elsewhere(node: &Node, service: u32, destination: u32) -> u32 {
    let other = ids_of(service).into_iter().find(|id| *id != destination).expect("there are several");
    node.schedule(service, &[other]);
    other
}

/// A flow brought into a state, and its destination.
fn in_state(node: &Node, state: FlowState) -> (Client, u32) {
    let (client, flags): (Client, &[u8]) = match state {
        FlowState::Setup => (tcp(1), &[SYN]),
        FlowState::Established => (tcp(1), &[SYN, ACK]),
        FlowState::Closing => (tcp(1), &[SYN, ACK, FIN | ACK]),
        FlowState::UdpSingle => (udp(1), &[0]),
        FlowState::Udp => (udp(1), &[0, 0]),
    };
    let destination = flags.iter().map(|flags| node.send(client, *flags)).last().expect("a packet");
    assert_eq!(node.entry().state(), Some(state));
    (client, destination)
}

#[test]
fn a_repeated_syn_keeps_its_destination_after_a_change_of_the_slot_table() {
    let node = Node::new(4);
    let (client, destination) = in_state(&node, FlowState::Setup);
    point_elsewhere(&node, TCP, destination);
    assert_eq!(node.send(client, SYN), destination);
    assert_eq!(node.entry().state(), Some(FlowState::Setup));
    assert_eq!(node.send(client, ACK), destination);
    assert_eq!(node.flows(), (1, 0));
}

#[test]
fn a_syn_of_an_established_flow_is_for_the_backend_to_judge() {
    let node = Node::new(4);
    let (client, destination) = in_state(&node, FlowState::Established);
    point_elsewhere(&node, TCP, destination);
    assert_eq!(node.send(client, SYN), destination);
    assert_eq!(node.entry().state(), Some(FlowState::Established));
    assert_eq!(node.flows(), (1, 0));
}

#[test]
fn a_syn_of_an_established_flow_of_a_draining_destination_is_a_new_flow() {
    let node = Node::new(4);
    let (client, destination) = in_state(&node, FlowState::Established);
    node.set_state(destination, DestinationState { takes_flows: false, ..serving(1) });
    let other = point_elsewhere(&node, TCP, destination);
    assert_eq!(node.send(client, ACK), destination, "a drain keeps what is there");
    assert_eq!(node.send(client, SYN), other);
    assert_eq!((node.entry().destination(), node.entry().state()), (other, Some(FlowState::Setup)));
    assert_eq!(node.flows(), (2, 0));
}

#[test]
fn a_syn_never_follows_to_a_draining_destination_not_even_in_setup() {
    let node = Node::new(4);
    let (client, destination) = in_state(&node, FlowState::Setup);
    node.set_state(destination, DestinationState { takes_flows: false, ..serving(1) });
    let other = point_elsewhere(&node, TCP, destination);
    assert_eq!(node.send(client, SYN), other);
    assert_eq!(node.send(client, ACK), other);
}

#[test]
fn a_syn_of_a_closing_flow_is_a_new_flow() {
    let node = Node::new(4);
    let (client, destination) = in_state(&node, FlowState::Closing);
    let other = point_elsewhere(&node, TCP, destination);
    assert_eq!(node.send(client, ACK), destination, "the last packets of the old flow");
    assert_eq!(node.send(client, SYN), other);
    assert_eq!((node.entry().destination(), node.entry().state()), (other, Some(FlowState::Setup)));
    assert_eq!((node.flows_of(destination), node.flows_of(other)), ((1, 1), (1, 0)));
}

#[test]
fn a_syn_with_ack_opens_nothing_where_a_flow_is_known() {
    let node = Node::new(4);
    let (client, destination) = in_state(&node, FlowState::Closing);
    point_elsewhere(&node, TCP, destination);
    assert_eq!(node.send(client, SYN | ACK), destination);
    assert_eq!(node.flows(), (1, 1));
}

#[test]
fn a_known_flow_goes_on_whatever_the_slot_table_says() {
    for state in [FlowState::Setup, FlowState::Established, FlowState::Closing, FlowState::UdpSingle, FlowState::Udp] {
        let node = Node::new(4);
        let (client, destination) = in_state(&node, state);
        node.schedule(client.service, &[]);
        let flags = if client.service == UDP { 0 } else { ACK };
        assert_eq!(node.send(client, flags), destination, "{state:?}");
    }
}

#[test]
fn an_unknown_flow_goes_by_its_hash_and_is_remembered() {
    let node = Node::new(4);
    let destination = node.send(tcp(1), ACK);
    assert_eq!(node.entry().state(), Some(FlowState::Established));
    point_elsewhere(&node, TCP, destination);
    assert_eq!(node.send(tcp(1), ACK), destination);
    assert_eq!(node.flows(), (1, 0));
}

#[test]
fn every_end_is_counted_once() {
    for ending in [&[FIN | ACK, ACK, FIN | ACK, RST][..], &[RST, RST], &[RST | ACK, FIN | ACK], &[FIN | ACK, RST | ACK]]
    {
        for state in [FlowState::Setup, FlowState::Established] {
            let mut node = Node::new(4);
            let (client, destination) = in_state(&node, state);
            for flags in ending {
                node.pass(1);
                assert_eq!(node.send(client, *flags), destination);
                assert_eq!(node.entry().state(), Some(FlowState::Closing));
                assert_eq!(node.flows_of(destination), (1, 1), "{state:?} {ending:?}");
            }
        }
    }
}

#[test]
fn a_flow_that_begins_with_its_end_makes_no_state() {
    for flags in [FIN, FIN | ACK, RST, RST | ACK, SYN | RST, SYN | FIN] {
        let node = Node::new(4);
        let destination = node.send(tcp(1), flags);
        assert_eq!(node.entries(), [], "{flags:#x}");
        assert_eq!((node.flows(), node.counters().flows_created.get()), ((0, 0), 0), "{flags:#x}");
        assert_eq!(node.send(tcp(1), SYN), destination, "it went where its hash says");
    }
}

#[test]
fn each_state_is_forgotten_at_its_tick() {
    for (state, seconds) in FlowState::ALL.into_iter().zip(TIMEOUTS) {
        for (ticks, forgotten) in [(seconds * HZ - 1, false), (seconds * HZ, true)] {
            let mut node = Node::new(4);
            let (client, destination) = in_state(&node, state);
            let other = point_elsewhere(&node, client.service, destination);
            node.pass(ticks);
            let flags = if client.service == UDP { 0 } else { ACK };
            let expected = if forgotten { other } else { destination };
            assert_eq!(node.send(client, flags), expected, "{state:?} after {ticks} ticks");
            assert_eq!(node.entry().destination(), expected, "the old entry is used again");
        }
    }
}

#[test]
fn a_syn_of_a_timed_out_flow_is_a_new_flow() {
    for (state, seconds) in FlowState::ALL.into_iter().zip(TIMEOUTS).take(3) {
        let mut node = Node::new(4);
        let (client, destination) = in_state(&node, state);
        let other = point_elsewhere(&node, TCP, destination);
        node.pass(seconds * HZ);
        assert_eq!(node.send(client, SYN), other, "{state:?}");
        assert_eq!(node.entry().state(), Some(FlowState::Setup));
    }
}

#[test]
fn every_packet_prolongs_a_flow() {
    let mut node = Node::new(4);
    let (client, destination) = in_state(&node, FlowState::Udp);
    point_elsewhere(&node, UDP, destination);
    for _ in 0..10 {
        node.pass(120 * HZ - 1);
        assert_eq!(node.send(client, 0), destination);
    }
}

#[test]
fn time_outs_hold_across_the_wrap_of_the_clock() {
    for (ticks, forgotten) in [(900 * HZ - 1, false), (900 * HZ, true)] {
        let mut node = Node::new(4);
        node.pass(TICK_MASK - 1100);
        let (client, destination) = in_state(&node, FlowState::Established);
        let other = point_elsewhere(&node, TCP, destination);
        node.pass(ticks);
        assert!(node.now() < 900 * HZ, "the clock has wrapped");
        assert_eq!(node.send(client, ACK), if forgotten { other } else { destination });
    }
}

#[test]
fn udp_is_single_and_then_not() {
    let node = Node::new(4);
    in_state(&node, FlowState::UdpSingle);
    node.send(udp(1), 0);
    assert_eq!(node.entry().state(), Some(FlowState::Udp));
    node.send(udp(1), 0);
    assert_eq!(node.entry().state(), Some(FlowState::Udp));
    assert_eq!((node.flows(), node.counters().flows_created.get()), ((1, 0), 1));
}

#[test]
fn a_flow_of_a_destination_that_keeps_none_is_scheduled_at_once() {
    for state in [FlowState::Setup, FlowState::Established, FlowState::Closing, FlowState::UdpSingle, FlowState::Udp] {
        let node = Node::new(4);
        let (client, destination) = in_state(&node, state);
        let other = point_elsewhere(&node, client.service, destination);
        let down = DestinationState { keeps_flows: false, takes_flows: false, service: client.service, ..serving(1) };
        node.set_state(destination, down);
        let flags = if client.service == UDP { 0 } else { ACK };
        assert_eq!(node.send(client, flags), other, "{state:?}");
        assert_eq!(node.entry().destination(), other);
        assert_eq!(node.flows_of(other), (1, 0));
    }
}

/// Line 19: nodes share nothing but key and slots. CPUs of one node share the table as well (`flow_races`).
#[test]
fn two_nodes_agree_on_every_flow() {
    let (one, other) = (Node::new(4), Node::new(1 << 10));
    for number in 0..1000 {
        assert_eq!(one.send(tcp(number), SYN), other.send(tcp(number), ACK));
        assert_eq!(one.send(udp(number), 0), other.send(udp(number), 0));
    }
}
