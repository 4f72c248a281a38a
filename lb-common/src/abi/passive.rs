//! What the program saw of the connections of a destination, for passive health.

use super::Counter;

/// What one CPU saw of the TCP connections of one destination: a cache line. They only ever grow, also when the id is given to another
/// backend: whoever reads goes by the difference between two readings.
///
/// Each connection is counted once when it is opened, and once at most when its opening is over: in [`Self::confirmed`],
/// [`Self::aborted`] or [`Self::refused`]. What is in none of them was not answered, or not yet.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct PassiveCounters {
    /// SYNs that began a flow.
    pub opened: Counter,
    /// Flows whose client then sent something else than SYN and RST: it was answered.
    pub confirmed: Counter,
    /// Flows that the client reset before that: it was answered, and wanted no more.
    pub aborted: Counter,
    /// SYNs repeated before that.
    pub repeated: Counter,
    /// Flows that the client reset after that.
    pub reset: Counter,
    /// Flows that the backend reset before that; in `nat` and `full-nat` only.
    pub refused: Counter,
    /// Flows that the backend reset after that; in `nat` and `full-nat` only.
    pub broken: Counter,
    /// ICMP messages that the backend or its port cannot be reached; in `nat` and `full-nat` only.
    pub unreachable: Counter,
}

impl PassiveCounters {
    /// Words of the record.
    pub const WORDS: usize = size_of::<Self>() / 8;

    const fn fields(&self) -> [&Counter; Self::WORDS] {
        [
            &self.opened,
            &self.confirmed,
            &self.aborted,
            &self.repeated,
            &self.reset,
            &self.refused,
            &self.broken,
            &self.unreachable,
        ]
    }

    /// Adds the record of a CPU, as the words that the kernel hands out.
    pub fn add_words(&self, words: &[u64; Self::WORDS]) {
        for (field, word) in self.fields().into_iter().zip(words) {
            field.add(*word);
        }
    }

    /// As words, in the order of the fields.
    #[must_use]
    pub fn words(&self) -> [u64; Self::WORDS] {
        self.fields().map(Counter::get)
    }
}

const _: () = assert!(size_of::<PassiveCounters>() == 64);
