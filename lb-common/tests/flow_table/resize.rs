//! Flows that move into another table.

use lb_common::{
    abi::DestinationState,
    flow::{
        FlowEntry, FlowState, FlowWord,
        resize::{copy, settle},
    },
    wire::tcp::{ACK, FIN, SYN},
};

use crate::node::{Client, Node, TCP, serving, tcp};

const FLOWS: u32 = 1500;

fn present(entry: &FlowEntry) -> Option<(u64, FlowWord)> {
    let (tag, word) = entry.load();
    word.state().map(|_| (tag, word))
}

/// A node of so many buckets with open flows, and where they go.
fn filled(buckets: usize) -> (Node, Vec<(Client, u32)>) {
    let node = Node::new(buckets);
    let flows = (0..FLOWS).map(tcp).map(|client| {
        node.send(client, SYN);
        (client, node.send(client, ACK))
    });
    let flows = flows.collect();
    (node, flows)
}

/// A node whose new flows all go to one destination, which the flows of the other one do not have.
fn empty(buckets: usize) -> Node {
    let node = Node::new(buckets);
    node.schedule(TCP, &[16]);
    node
}

fn check_kept(node: &Node, flows: &[(Client, u32)]) {
    for (client, destination) in flows {
        assert_eq!(node.send(*client, ACK), *destination, "{client:?}");
    }
    assert_eq!(node.flows(), (0, 0), "some were taken for new ones");
}

#[test]
fn every_flow_is_found_in_a_table_of_any_size() {
    // 1 500 flows: from a table with 4 096 places into ones with 2 048 to 65 536.
    let (old, flows) = filled(1024);
    for buckets in [512, 1024, 2048, 4096, 16384] {
        let new = empty(buckets);
        let copied = copy(&new.view(), old.buckets(), present);
        assert_eq!((copied.flows, copied.without_room), (u64::from(FLOWS), 0), "{buckets} buckets");
        check_kept(&new, &flows);
    }
}

#[test]
fn a_grown_table_is_settled_by_the_packets_of_its_flows() {
    let (old, flows) = filled(1024);
    let new = empty(4096);
    copy(&new.view(), old.buckets(), present);
    assert_eq!(new.entries().len(), 4 * FLOWS as usize);
    assert_eq!(
        settle(&new.view(), 1024, 0..new.buckets().len()),
        4 * u64::from(FLOWS),
        "no packet has told which of them are used"
    );
    let (heard, silent) = flows.split_at(1000);
    check_kept(&new, heard);
    assert_eq!(settle(&new.view(), 1024, 0..new.buckets().len()), 4 * silent.len() as u64);
    assert_eq!(new.entries().len(), heard.len() + 4 * silent.len());
    check_kept(&new, &flows);
    assert_eq!(settle(&new.view(), 1024, 0..new.buckets().len()), 0);
    assert_eq!(new.entries().len(), FLOWS as usize);
    check_kept(&new, &flows);
}

#[test]
fn copies_of_silent_flows_end_by_their_time_out() {
    let (old, _) = filled(1024);
    let mut new = empty(2048);
    copy(&new.view(), old.buckets(), present);
    new.pass(901 * crate::node::HZ);
    assert_eq!(settle(&new.view(), 1024, 0..new.buckets().len()), 0);
}

#[test]
fn a_second_copy_brings_what_was_written_between() {
    let (old, flows) = filled(1024);
    let new = empty(2048);
    copy(&new.view(), old.buckets(), present);
    // One flow ends and one begins in the old table, while it is still in use.
    old.send(flows[0].0, FIN | ACK);
    let late = tcp(FLOWS);
    old.send(late, SYN);
    let destination = old.send(late, ACK);
    // Packets have met the new one.
    let ended = flows[1].0;
    new.send(ended, FIN | ACK);
    copy(&new.view(), old.buckets(), present);
    assert_eq!(new.send(late, ACK), destination);
    let closing = new.entries().into_iter().filter(|word| word.state() == Some(FlowState::Closing)).count();
    // Both copies of the first one; that of the second one which its packet met.
    assert_eq!(closing, 3);
    assert_eq!(new.flows().0, 0, "some were taken for new ones");
}

#[test]
fn what_is_over_is_left_behind() {
    let (mut old, flows) = filled(1024);
    let gone = flows[0].1;
    old.pass(10);
    let new = empty(1024);
    new.set_state(gone, DestinationState { keeps_flows: false, takes_flows: false, ..serving(1) });
    let of_gone = flows.iter().filter(|flow| flow.1 == gone).count();
    let copied = copy(&new.view(), old.buckets(), present);
    assert_eq!(copied.flows, u64::from(FLOWS) - of_gone as u64);
}

#[test]
fn a_table_that_is_too_small_takes_what_it_can() {
    let (old, flows) = filled(1024);
    let new = empty(128);
    let copied = copy(&new.view(), old.buckets(), present);
    assert!(copied.without_room > 900, "{copied:?}");
    assert!(new.entries().len() > 500);
    let kept = flows.iter().filter(|(client, destination)| new.send(*client, ACK) == *destination).count();
    assert!(kept > 400, "{kept}");
}
