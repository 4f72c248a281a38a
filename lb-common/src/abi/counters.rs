//! Counters: per CPU, so plain additions.

use super::Word64;
use crate::{
    opaque::opaque,
    verdict::{DropReason, PassReason},
};

/// A counter of one CPU. Only the program running on that CPU writes it, and a program is not interrupted by itself.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(transparent)]
pub struct Counter(Word64);

impl Counter {
    /// Adds without a locked instruction.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load().wrapping_add(n));
    }

    /// Present value.
    #[inline(always)]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load()
    }
}

/// Packets and bytes; bytes are those of the frame, from the Ethernet header to the end, as it arrived.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct PacketCounter {
    /// Packets.
    pub packets: Counter,
    /// Bytes.
    pub bytes: Counter,
}

impl PacketCounter {
    /// Counts one packet.
    #[inline(always)]
    pub fn add(&self, bytes: u64) {
        self.packets.add(1);
        self.bytes.add(bytes);
    }
}

/// Room for reasons: more than there are today, so that a new one does not change the layout.
const PASS_REASONS: usize = 8;
const DROP_REASONS: usize = 32;

/// What one CPU did. Every packet is counted once, under what became of it; their sum is [`NodeCounters::received`].
///
/// The program counts here only what goes to no destination. What it sends to one is in [`DestinationCounters`];
/// [`NodeCounters::add_sent`] brings the two together.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct NodeCounters {
    /// Sent out on the interface it came from.
    pub transmitted: PacketCounter,
    /// Sent out on another interface.
    pub redirected: PacketCounter,
    /// Bytes of the packets that were passed or dropped, as they arrived.
    pub stopped_bytes: Counter,
    /// Replies made by the node itself; they are part of `transmitted`.
    pub replies: Counter,
    /// Flow entries written for new flows.
    pub flows_created: Counter,
    /// Entries of flows that had ended or timed out, overwritten while the table was full around them.
    pub flows_evicted: Counter,
    /// Entries that made room by moving to their other bucket.
    pub flows_displaced: Counter,
    /// Packets of flows without an entry because the table was full around them; they go where their hash says.
    pub flows_untracked: Counter,
    /// Replies of backends that were translated back, their fragments and ICMP errors for clients among them; they are part of `transmitted` and `redirected`.
    pub nat_replies: Counter,
    /// Packets of services with `quic` whose connection id named no backend that takes them; they went by flow table or hash.
    pub quic_unrouted: Counter,
    /// Packets that had no room for the option that tells the backend its client ([`crate::nat::toa`]).
    pub toa_omitted: Counter,
    /// Packets of new flows that were not remembered, because there were too many ([`crate::limits`]); they go where their hash says.
    pub flows_forgotten: Counter,
    spare: [Counter; 2],
    passed: [Counter; PASS_REASONS],
    dropped: [Counter; DROP_REASONS],
}

impl NodeCounters {
    /// Words of the record.
    pub const WORDS: usize = size_of::<Self>() / 8;

    fn fields(&self) -> impl Iterator<Item = &Counter> {
        let pairs = [&self.transmitted, &self.redirected];
        let singles = [
            &self.stopped_bytes,
            &self.replies,
            &self.flows_created,
            &self.flows_evicted,
            &self.flows_displaced,
            &self.flows_untracked,
            &self.nat_replies,
            &self.quic_unrouted,
            &self.toa_omitted,
            &self.flows_forgotten,
        ];
        pairs
            .into_iter()
            .flat_map(|pair| [&pair.packets, &pair.bytes])
            .chain(singles)
            .chain(&self.spare)
            .chain(&self.passed)
            .chain(&self.dropped)
    }

    /// Adds the record of a CPU, as the words that the kernel hands out.
    pub fn add_words(&self, words: &[u64; Self::WORDS]) {
        for (field, word) in self.fields().zip(words) {
            field.add(*word);
        }
    }

    /// The same figures in another record.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        copy.fields().zip(self.fields()).for_each(|(to, from)| to.add(from.get()));
        copy
    }

    /// Packets and bytes that the program saw.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn received(&self) -> PacketCounter {
        let stopped: u64 = self.passed.iter().chain(&self.dropped).map(Counter::get).sum();
        let received = PacketCounter::default();
        received.packets.add(self.transmitted.packets.get() + self.redirected.packets.get() + stopped);
        received.bytes.add(self.transmitted.bytes.get() + self.redirected.bytes.get() + self.stopped_bytes.get());
        received
    }

    /// Adds what a destination was sent, since its id was first given away.
    #[cfg(not(target_arch = "bpf"))]
    pub fn add_sent(&self, destination: &DestinationCounters) {
        for (to, from) in [(&self.transmitted, &destination.transmitted), (&self.redirected, &destination.redirected)] {
            to.packets.add(from.packets.get());
            to.bytes.add(from.bytes.get());
        }
    }

    /// The counter of a pass reason.
    #[inline(always)]
    #[must_use]
    pub fn passed(&self, reason: PassReason) -> &Counter {
        &self.passed[number(reason as u8) % PASS_REASONS]
    }

    /// The counter of a drop reason.
    #[inline(always)]
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> &Counter {
        &self.dropped[number(reason as u8) % DROP_REASONS]
    }
}

/// A reason's number, of which the compiler knows nothing. What it knows of reasons it would leave the bound to, and the verifier
/// of Linux 6.1 does not: it forgets all of a number that was put together with `|`, as verdicts are.
#[inline(always)]
fn number(reason: u8) -> usize {
    opaque(reason.into()) as usize
}

/// What one CPU sent to one destination: a cache line.
///
/// What was transmitted and redirected is never set back, since the node's sums are made of it. When an id is given to
/// another backend, [`DestinationCounters::renew`] notes what was there.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct DestinationCounters {
    /// Sent out on the interface that they came from, by whichever backend had the id.
    pub transmitted: PacketCounter,
    /// Sent out on another interface, likewise.
    pub redirected: PacketCounter,
    /// Flows that were given to it; one that found no room in the flow table counts with each packet.
    pub flows_new: Counter,
    /// Tracked flows that ended with FIN or RST.
    pub flows_closed: Counter,
    /// Packets and bytes of both kinds that belong to earlier backends.
    before: PacketCounter,
}

impl DestinationCounters {
    /// Words of the record.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// Adds the record of a CPU, as the words that the kernel hands out.
    pub fn add_words(&self, words: &[u64; Self::WORDS]) {
        for (field, word) in self.fields().into_iter().zip(words) {
            field.add(*word);
        }
    }

    const fn fields(&self) -> [&Counter; Self::WORDS] {
        [
            &self.transmitted.packets,
            &self.transmitted.bytes,
            &self.redirected.packets,
            &self.redirected.bytes,
            &self.flows_new,
            &self.flows_closed,
            &self.before.packets,
            &self.before.bytes,
        ]
    }

    /// The same figures in another record.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        copy.fields().into_iter().zip(self.fields()).for_each(|(to, from)| to.add(from.get()));
        copy
    }

    /// Packets and bytes forwarded to the backend that has the id now.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn forwarded(&self) -> PacketCounter {
        let forwarded = PacketCounter::default();
        let both = |of: fn(&PacketCounter) -> &Counter| of(&self.transmitted).get() + of(&self.redirected).get();
        forwarded.packets.add(both(|counter| &counter.packets) - self.before.packets.get());
        forwarded.bytes.add(both(|counter| &counter.bytes) - self.before.bytes.get());
        forwarded
    }

    /// The words of a CPU's record after its id was given to another backend: the sums stay, the backend's own figures begin
    /// at zero. To be written while the program does not use the id.
    #[must_use]
    pub const fn renew(words: [u64; Self::WORDS]) -> [u64; Self::WORDS] {
        let [transmitted, transmitted_bytes, redirected, redirected_bytes, ..] = words;
        let packets = transmitted.wrapping_add(redirected);
        let bytes = transmitted_bytes.wrapping_add(redirected_bytes);
        [transmitted, transmitted_bytes, redirected, redirected_bytes, 0, 0, packets, bytes]
    }
}

/// A token bucket for packets that the node makes itself, one for each CPU.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct ReplyBudget {
    /// Replies still allowed.
    pub tokens: Counter,
    /// Tick of the last refill.
    pub refilled: Counter,
}

impl ReplyBudget {
    /// Words of the record.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// Sets both words; the writer is the CPU's own program.
    #[inline(always)]
    pub fn set(&self, tokens: u64, refilled: u64) {
        self.tokens.0.store(tokens);
        self.refilled.0.store(refilled);
    }
}

const _: () = {
    assert!(size_of::<NodeCounters>() == 448);
    assert!(size_of::<DestinationCounters>() == 64);
    assert!(size_of::<ReplyBudget>() == 16);
    assert!(PassReason::ALL.len() <= PASS_REASONS && DropReason::ALL.len() <= DROP_REASONS);
};

#[cfg(all(test, not(target_arch = "bpf")))]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_given_away_again_begins_at_zero_and_the_node_forgets_nothing() {
        let record = |words: [u64; DestinationCounters::WORDS]| {
            let counters = DestinationCounters::default();
            counters.add_words(&words);
            counters
        };
        let figures = |counters: &DestinationCounters| {
            let forwarded = counters.forwarded();
            [&forwarded.packets, &forwarded.bytes, &counters.flows_new, &counters.flows_closed].map(Counter::get)
        };
        let mut words = [5, 500, 2, 200, 3, 1, 4, 400];
        assert_eq!(figures(&record(words)), [3, 300, 3, 1]);
        words = DestinationCounters::renew(words);
        assert_eq!(figures(&record(words)), [0, 0, 0, 0]);
        words[2] += 1;
        words[3] += 64;
        assert_eq!(figures(&record(words)), [1, 64, 0, 0]);
        let node = NodeCounters::default();
        node.add_sent(&record(words));
        assert_eq!((node.received().packets.get(), node.received().bytes.get()), (8, 764));
    }
}
