//! What a flow costs in memory.

use lb_common::flow::{BUCKET_ENTRIES, ENTRY_BYTES, FlowBucket, FlowEntry};

use crate::node::{Node, tcp};

/// Sixteen bytes a place from the sizes of the records, and nothing beside the table: no other table grows with flows.
#[test]
fn a_flow_costs_sixteen_bytes() {
    assert_eq!((size_of::<FlowEntry>(), ENTRY_BYTES), (16, 16));
    assert_eq!(size_of::<FlowBucket>(), BUCKET_ENTRIES * 16);
    assert_eq!(align_of::<FlowBucket>(), 64, "a bucket is one cache line");
    let buckets = 1 << 10;
    let node = Node::new(buckets);
    let flows = node.view().tables.flows;
    let places: usize = flows.iter().map(|bucket| bucket.entries.len()).sum();
    assert_eq!(places, buckets * 4);
    assert_eq!(size_of_val(flows), places * 16);
}

/// The places are real: a table takes as many flows as it has places, short of a few that find no way.
#[test]
fn nearly_every_place_takes_a_flow() {
    let node = Node::new(1 << 10);
    (0..4096).for_each(|number| _ = node.send(tcp(number), lb_common::wire::tcp::SYN));
    let used = node.entries().len();
    assert!(used > 4096 * 95 / 100, "{used} of 4096 places");
}
