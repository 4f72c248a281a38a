//! Services with `quic`: their configurations, and the destinations that server ids name.

use super::{Word32, Word64};
use crate::quic::{QuicLb, configuration::RECORD_WORDS};

/// Services with `quic` at a time.
pub const MAX_QUIC: u32 = 64;

/// Places for configurations of a service: one for each number that a connection id can name.
const PLACES: u32 = 8;

/// Places for configurations of all services; those of place 0, which no service has, stay empty.
pub const QUIC_PLACES: u32 = (MAX_QUIC + 1) * PLACES;

/// Where a configuration of a service is.
#[inline(always)]
#[must_use]
pub const fn quic_index(place: u32, configuration: u8) -> u32 {
    place * PLACES + (configuration as u32 & (PLACES - 1))
}

/// The place of the service that has the configuration at an index.
#[must_use]
pub const fn quic_place(index: u32) -> u8 {
    (index / PLACES) as u8
}

/// A [`QuicLb`] as user space writes it.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
#[repr(C, align(64))]
pub struct QuicRecord([Word32; RECORD_WORDS]);

#[cfg(not(target_arch = "bpf"))]
impl Default for QuicRecord {
    fn default() -> Self {
        Self(core::array::from_fn(|_| Word32::default()))
    }
}

#[cfg(not(target_arch = "bpf"))]
impl QuicRecord {
    /// Whether there is a configuration.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.0[QuicLb::MODE_WORD].load() != 0
    }

    /// What it is.
    #[must_use]
    pub fn load(&self) -> QuicLb {
        QuicLb::from_words(&core::array::from_fn(|word| self.0[word].load()))
    }

    /// Sets it. A packet that reads it meanwhile finds no configuration, or some server id that nobody has: nothing tells
    /// a connection id of another configuration either.
    pub fn set(&self, configuration: &QuicLb) {
        let words = configuration.to_words();
        self.0[QuicLb::MODE_WORD].publish(0);
        for (word, value) in
            self.0.iter().zip(words).enumerate().filter(|(at, _)| *at != QuicLb::MODE_WORD).map(|(_, pair)| pair)
        {
            word.publish(value);
        }
        self.0[QuicLb::MODE_WORD].publish(words[QuicLb::MODE_WORD]);
    }
}

/// Words of a bucket.
pub const QUIC_BUCKET: usize = 8;

/// Server ids: a cache line of [`QuicServer`]s, each one word, so that each changes by one store.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct QuicBucket {
    /// [`QuicServer`]s.
    pub words: [Word64; QUIC_BUCKET],
}

/// A server id, by a keyed tag of 40 bits, and the destination that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicServer(u64);

impl QuicServer {
    /// No server id.
    pub const NONE: Self = Self(0);
    const TAG_SHIFT: u32 = 24;

    /// Of a tag, whose upper 40 bits count, and a destination id, never 0.
    #[inline(always)]
    #[must_use]
    pub const fn new(tag: u64, destination: u32) -> Self {
        Self(tag >> Self::TAG_SHIFT << Self::TAG_SHIFT | destination as u64 & ((1 << Self::TAG_SHIFT) - 1))
    }

    /// As a word.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From [`Self::to_bits`].
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether its tag is this one.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, tag: u64) -> bool {
        (self.0 ^ tag) >> Self::TAG_SHIFT == 0
    }

    /// The destination's id; 0: none.
    #[inline(always)]
    #[must_use]
    pub const fn destination(self) -> u32 {
        self.0 as u32 & ((1 << Self::TAG_SHIFT) - 1)
    }
}

const _: () = {
    assert!(size_of::<QuicRecord>() == size_of::<QuicLb>());
    assert!(size_of::<QuicBucket>() == 64);
};
