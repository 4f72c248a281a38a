//! The decapsulator's books: every packet is counted under exactly one verdict.

use super::verdict::{DropReason, Kind, PassReason, Verdict};
use crate::abi::{Counter, PacketCounter};

/// Room for reasons: more than there are today, so that a new one does not change the layout.
const PASS_REASONS: usize = 8;
const DROP_REASONS: usize = 16;
const KINDS: usize = 8;

/// What one CPU did. Bytes are those of the frames as they arrived.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Counters {
    unpacked: [PacketCounter; KINDS],
    /// Bytes of the packets that were passed unmodified or dropped.
    pub stopped_bytes: Counter,
    spare: [Counter; 7],
    passed: [Counter; PASS_REASONS],
    dropped: [Counter; DROP_REASONS],
}

impl Counters {
    /// Words of the record.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// Counts a packet of `bytes` bytes as it arrived.
    #[inline(always)]
    pub fn book(&self, verdict: Verdict, bytes: u64) {
        let stopped = match verdict {
            Verdict::Unpacked(kind) => return self.unpacked(kind).add(bytes),
            Verdict::Pass(reason) => self.passed(reason),
            Verdict::Drop(reason) => self.dropped(reason),
        };
        stopped.add(1);
        self.stopped_bytes.add(bytes);
    }

    /// Adds the record of a CPU, as the words that the kernel hands out.
    pub fn add_words(&self, words: &[u64; Self::WORDS]) {
        let unpacked = self.unpacked.iter().flat_map(|counter| [&counter.packets, &counter.bytes]);
        let fields = unpacked.chain([&self.stopped_bytes]).chain(&self.spare).chain(&self.passed).chain(&self.dropped);
        for (field, word) in fields.zip(words) {
            field.add(*word);
        }
    }

    /// Packets and bytes that the program saw.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn received(&self) -> PacketCounter {
        let received = PacketCounter::default();
        for counter in self.passed.iter().chain(&self.dropped) {
            received.packets.add(counter.get());
        }
        received.bytes.add(self.stopped_bytes.get());
        for counter in &self.unpacked {
            received.packets.add(counter.packets.get());
            received.bytes.add(counter.bytes.get());
        }
        received
    }

    /// The counter of a kind of tunnelled packet.
    #[inline(always)]
    #[must_use]
    pub fn unpacked(&self, kind: Kind) -> &PacketCounter {
        &self.unpacked[(kind as usize) % KINDS]
    }

    /// The counter of a pass reason.
    #[inline(always)]
    #[must_use]
    pub fn passed(&self, reason: PassReason) -> &Counter {
        &self.passed[(reason as usize) % PASS_REASONS]
    }

    /// The counter of a drop reason.
    #[inline(always)]
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> &Counter {
        &self.dropped[(reason as usize) % DROP_REASONS]
    }
}

const _: () = {
    assert!(size_of::<Counters>() == 384);
    assert!(Kind::ALL.len() == KINDS);
    assert!(PassReason::ALL.len() <= PASS_REASONS && DropReason::ALL.len() <= DROP_REASONS);
};
