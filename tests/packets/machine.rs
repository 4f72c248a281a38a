//! What runs the packet function: a machine with tables, a clock and books.

use std::time::Duration;

use lb_common::{
    abi::{DestinationCounters, NodeCounters, PassiveCounters},
    memory::{Constants, Sizes, Slices},
    verdict::{DropReason, PassReason},
};

/// The interface that all packets come from: the loopback of whatever namespace the test runs in, the one interface
/// that is always there.
pub(crate) const INGRESS: u32 = 1;

/// Sizes for most cases.
pub(crate) const ROOMY: Sizes = Sizes {
    service_buckets: 128,
    services: 12,
    slots: 1 << 12,
    destinations: 96,
    flow_buckets: 256,
    nat_buckets: 64,
    fragment_buckets: 64,
    quic_buckets: 16,
    list_bounds: 256,
    client_buckets: 16,
};

/// A flow table of two buckets, so that every flow may lie in both.
pub(crate) const CRAMPED: Sizes = Sizes { flow_buckets: 2, ..ROOMY };

/// When the first fragment of a datagram is forgotten.
pub(crate) const FRAGMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Words of the flow hash's key, without a pattern that could hide a mistake.
pub(crate) fn hash_key() -> [u32; 20] {
    std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(2 * i as u32 + 1) ^ 0x5bd1_e995)
}

/// What was done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Out where it came from.
    Transmit,
    /// Out on another interface.
    Redirect,
    /// Left to the host.
    Pass,
    /// Discarded.
    Drop,
}

/// One way to run the packet function.
pub(crate) trait Machine {
    /// Its name in messages.
    const NAME: &'static str;
    /// Shorter frames cannot be given to it; no driver delivers them either.
    const SHORTEST: usize;

    /// As freshly loaded: empty tables, no flow; counters may go on.
    fn reset(&mut self);
    /// The tables, the flow table writable.
    fn tables(&self) -> Slices<'_>;
    /// Key and clock rate.
    fn constants(&self) -> Constants;
    /// Hands the filter of VIPs to the program.
    fn publish_filter(&mut self);
    /// Gives an egress index its device.
    fn set_device(&mut self, egress: u32, ifindex: u32);
    /// Runs a frame that came from [`INGRESS`].
    fn run(&mut self, frame: &[u8]) -> (Action, Vec<u8>);
    /// The present tick.
    fn now(&self) -> u32;
    /// Lets time pass for all flows.
    fn advance(&mut self, ticks: u32);
    /// The node's counters, summed over CPUs.
    fn node_counters(&self) -> NodeCounters;
    /// What was seen of a destination's connections, summed over CPUs.
    fn passive_counters(&self, id: u32) -> PassiveCounts;
    /// A destination's counters, summed over CPUs.
    fn destination_counters(&self, id: u32) -> DestinationCounters;
}

/// [`PassiveCounters`], in the order of the fields.
pub(crate) type PassiveCounts = [u64; PassiveCounters::WORDS];

/// A copy of the node's counters, to take differences of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Books {
    /// Packets and bytes received.
    pub(crate) received: [u64; 2],
    /// Packets and bytes transmitted.
    pub(crate) transmitted: [u64; 2],
    /// Packets and bytes redirected.
    pub(crate) redirected: [u64; 2],
    /// Replies; flows created, evicted, displaced, untracked; packets whose QUIC connection id named no backend, and that had
    /// no room for the option that tells the backend its client.
    pub(crate) other: [u64; 7],
    /// By reason.
    pub(crate) passed: Vec<(PassReason, u64)>,
    /// By reason.
    pub(crate) dropped: Vec<(DropReason, u64)>,
}

impl Books {
    /// Of a machine, now.
    pub(crate) fn of(machine: &impl Machine) -> Self {
        let node = machine.node_counters();
        let pair = |counter: &lb_common::abi::PacketCounter| [counter.packets.get(), counter.bytes.get()];
        Self {
            received: pair(&node.received()),
            transmitted: pair(&node.transmitted),
            redirected: pair(&node.redirected),
            other: [
                &node.replies,
                &node.flows_created,
                &node.flows_evicted,
                &node.flows_displaced,
                &node.flows_untracked,
                &node.quic_unrouted,
                &node.toa_omitted,
            ]
            .map(lb_common::abi::Counter::get),
            passed: PassReason::ALL.iter().map(|reason| (*reason, node.passed(*reason).get())).collect(),
            dropped: DropReason::ALL.iter().map(|reason| (*reason, node.dropped(*reason).get())).collect(),
        }
    }

    /// What was counted since.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let minus = |a: [u64; 2], b: [u64; 2]| [a[0] - b[0], a[1] - b[1]];
        Self {
            received: minus(self.received, before.received),
            transmitted: minus(self.transmitted, before.transmitted),
            redirected: minus(self.redirected, before.redirected),
            other: std::array::from_fn(|i| self.other[i] - before.other[i]),
            passed: self.passed.iter().zip(&before.passed).map(|(a, b)| (a.0, a.1 - b.1)).collect(),
            dropped: self.dropped.iter().zip(&before.dropped).map(|(a, b)| (a.0, a.1 - b.1)).collect(),
        }
    }

    /// `received` = `transmitted` + `redirected` + `passed` + `dropped`.
    pub(crate) fn balance(&self) -> bool {
        let passed: u64 = self.passed.iter().map(|(_, count)| count).sum();
        let dropped: u64 = self.dropped.iter().map(|(_, count)| count).sum();
        self.received[0] == self.transmitted[0] + self.redirected[0] + passed + dropped
    }

    /// The one pass reason that was counted.
    pub(crate) fn pass_reason(&self) -> Option<PassReason> {
        self.passed.iter().find(|(_, count)| *count > 0).map(|(reason, _)| *reason)
    }

    /// The one drop reason that was counted.
    pub(crate) fn drop_reason(&self) -> Option<DropReason> {
        self.dropped.iter().find(|(_, count)| *count > 0).map(|(reason, _)| *reason)
    }
}
