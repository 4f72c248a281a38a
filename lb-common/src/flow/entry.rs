//! An entry of the flow table.
//!
//! ```text
//! check  64  the flow's tag, exclusive-or a hash of the word's identity bits
//! word   64  | destination 24 | generation 12 | copy 1 | state 3 | last seen 24 |
//!              `------ identity ------------'
//! ```
//!
//! Inserts are atomic with respect to readers on other CPUs although an entry is two words: each word is one aligned
//! store, and a reader accepts the entry only if `check ^ hash(identity of word)` gives its own flow's tag. A reader
//! (or a later writer) that meets the check of one flow beside the word of another computes a value that matches no
//! flow but by a chance of 2^-64, and takes the entry for somebody else's. No order of the two stores is needed, and
//! no lock. Refreshing state and time changes only bits outside of the identity, so it is one store of the word; if it
//! races with a replacement, the entry matches nobody and its flow is inserted again by its next packet. Where both
//! flows go to one destination it matches the new one, which then has the other's state and time until its next packet.
//! The trick is known from lockless hash tables of chess programs (Hyatt and Mann, ICGA Journal 25(1), 2002).

use crate::abi::Word64;

use super::{BUCKET_ENTRIES, ENTRY_BYTES, FlowState};

/// Mask of the clock in an entry.
pub const TICK_MASK: u32 = (1 << TICK_BITS) - 1;
const TICK_BITS: u32 = 24;
/// An entry may be stamped so many ticks later than the clock that it is judged by: another CPU wrote it after this one
/// had read its clock, and a CPU can stand still in between (an interrupt, or its hypervisor).
pub const SKEW_TICKS: u32 = 1 << 10;
const STATE_SHIFT: u32 = TICK_BITS;
/// Set by [`super::resize`], and cleared by whoever refreshes the entry.
#[cfg(not(target_arch = "bpf"))]
const COPY: u64 = 1 << (STATE_SHIFT + 3);
const GENERATION_SHIFT: u32 = STATE_SHIFT + 4;
const DESTINATION_SHIFT: u32 = GENERATION_SHIFT + crate::abi::GENERATION_BITS;
const PROGRESS_MASK: u32 = (1 << GENERATION_SHIFT) - 1;
const GENERATION_MASK: u64 = (1 << crate::abi::GENERATION_BITS) - 1;

/// The layout that only tests have differs in this: checks are the other way round.
const NEXT_LAYOUT: u64 = if cfg!(feature = "next-layout") { u64::MAX } else { 0 };

/// One entry.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct FlowEntry {
    check: Word64,
    word: Word64,
}

/// One bucket: a cache line.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct FlowBucket {
    /// Its entries.
    pub entries: [FlowEntry; BUCKET_ENTRIES],
}

/// What an entry says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowWord(u64);

impl FlowWord {
    /// An entry that is not used.
    pub const EMPTY: Self = Self(0);

    /// Packs a word. `generation` is never 0 for a live destination, so a packed word is never [`Self::EMPTY`].
    #[inline(always)]
    #[must_use]
    pub const fn new(destination: u32, generation: u16, state: FlowState, seen: u32) -> Self {
        Self(
            (destination as u64) << DESTINATION_SHIFT
                | (generation as u64 & GENERATION_MASK) << GENERATION_SHIFT
                | (state as u64) << STATE_SHIFT
                | (seen & TICK_MASK) as u64,
        )
    }

    /// As a number.
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

    /// The destination's id.
    #[inline(always)]
    #[must_use]
    pub const fn destination(self) -> u32 {
        (self.0 >> DESTINATION_SHIFT) as u32
    }

    /// The generation that the id had.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> u16 {
        (self.0 >> GENERATION_SHIFT & GENERATION_MASK) as u16
    }

    /// The state; `None` if the entry is not used.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> Option<FlowState> {
        FlowState::from_bits(self.0 >> STATE_SHIFT)
    }

    /// The bits of the state, as an index into a table of eight.
    #[inline(always)]
    #[must_use]
    pub const fn state_index(self) -> usize {
        (self.0 >> STATE_SHIFT & 7) as usize
    }

    /// The same as a copy that no packet has met yet.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn as_copy(self) -> Self {
        Self(self.0 | COPY)
    }

    /// Whether it is a copy from another table that no packet has met yet.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn is_copy(self) -> bool {
        self.0 & COPY != 0
    }

    /// Ticks since the last packet; negative, but not below -[`SKEW_TICKS`], if it came to a CPU whose clock is ahead.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: u32) -> i32 {
        let ahead = now.wrapping_add(SKEW_TICKS).wrapping_sub(self.0 as u32) & TICK_MASK;
        ahead as i32 - SKEW_TICKS as i32
    }

    /// Ticks since the last packet.
    #[must_use]
    pub const fn idle(self, now: u32) -> u32 {
        let age = self.age(now);
        if age < 0 { 0 } else { age as u32 }
    }

    /// The same flow in another state at another time.
    #[inline(always)]
    #[must_use]
    pub const fn refreshed(self, state: FlowState, seen: u32) -> Self {
        Self(self.0 >> GENERATION_SHIFT << GENERATION_SHIFT | (state as u64) << STATE_SHIFT | (seen & TICK_MASK) as u64)
    }

    /// State and time alone, as they would be in another state at another time.
    #[inline(always)]
    #[must_use]
    pub const fn progress_of(state: FlowState, seen: u32) -> u32 {
        (state as u32) << STATE_SHIFT | seen & TICK_MASK
    }

    /// State and time alone.
    #[inline(always)]
    #[must_use]
    pub const fn progress(self) -> u32 {
        self.0 as u32 & PROGRESS_MASK
    }

    /// Destination and generation, as [`Self::identity_of`] packs them.
    #[inline(always)]
    #[must_use]
    pub const fn identity_bits(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// A destination's id and generation as one number, which is never 0 for a live destination.
    #[must_use]
    pub const fn identity_of(destination: u32, generation: u16) -> u64 {
        Self::new(destination, generation, FlowState::Setup, 0).identity_bits()
    }

    /// A word of this identity, not used and of no time.
    #[inline(always)]
    #[must_use]
    pub const fn of_identity(identity: u64) -> Self {
        Self(identity << GENERATION_SHIFT)
    }

    /// A hash of destination and generation that shares no structure with the tags.
    #[inline(always)]
    const fn identity(self) -> u64 {
        self.identity_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl FlowEntry {
    /// The word alone.
    #[inline(always)]
    #[must_use]
    pub fn word(&self) -> FlowWord {
        FlowWord(self.word.load())
    }

    /// The tag of the flow, and its word.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> (u64, FlowWord) {
        let word = self.word();
        (self.check.load() ^ NEXT_LAYOUT ^ word.identity(), word)
    }

    /// [`Self::load`] of an entry of layout 7.
    #[cfg(feature = "next-layout")]
    #[must_use]
    pub fn load_of_layout_7(&self) -> (u64, FlowWord) {
        let (tag, word) = self.load();
        (tag ^ NEXT_LAYOUT, word)
    }

    /// Writes a flow.
    #[inline(always)]
    pub fn store(&self, tag: u64, word: FlowWord) {
        self.check.store(tag ^ NEXT_LAYOUT ^ word.identity());
        self.word.store(word.0);
    }

    /// Writes a word with the same identity, or that of an unused entry, if the present one is there still; `false`: it is not.
    #[cfg(not(target_arch = "bpf"))]
    pub fn advance(&self, present: FlowWord, word: FlowWord) -> bool {
        self.word.exchange(present.0, word.0)
    }

    /// Writes a word with the same identity.
    #[inline(always)]
    pub fn refresh(&self, word: FlowWord) {
        self.word.store(word.0);
    }
}

const _: () = {
    assert!(size_of::<FlowEntry>() == ENTRY_BYTES);
    assert!(size_of::<FlowBucket>() == 64);
};
