//! How a service chooses among its slots, and what a choice by score goes by.

use super::{Word32, Word64};
use crate::opaque::opaque;

/// How a new flow chooses one of the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Pick {
    /// By the flow's hash.
    #[default]
    FlowHash = 0,
    /// By the hash of the client's address, as far as its prefix counts.
    SourceHash = 1,
    /// In turn, on each CPU.
    Turn = 2,
    /// At random.
    Random = 3,
    /// The lowest score of all.
    Least = 4,
    /// The lower score of two at random.
    TwoChoices = 5,
}

impl Pick {
    /// All of them, by their bits.
    pub const ALL: [Self; 6] =
        [Self::FlowHash, Self::SourceHash, Self::Turn, Self::Random, Self::Least, Self::TwoChoices];

    /// From the bits of a service's word; unknown ones are [`Pick::FlowHash`]'s.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        match bits & 0x7f {
            1 => Self::SourceHash,
            2 => Self::Turn,
            3 => Self::Random,
            4 => Self::Least,
            5 => Self::TwoChoices,
            _ => Self::FlowHash,
        }
    }

    /// Whether the same packet always makes the same choice among the same slots.
    #[inline(always)]
    #[must_use]
    pub const fn is_stateless(self) -> bool {
        matches!(self, Self::FlowHash | Self::SourceHash)
    }

    /// Whether it goes by [`Score`]s.
    #[inline(always)]
    #[must_use]
    pub const fn is_by_score(self) -> bool {
        matches!(self, Self::Least | Self::TwoChoices)
    }
}

/// What holds a client's new flows together ([`crate::schedule::affinity`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Bits of the client's address that count.
    pub prefix: u8,
    /// Since its last new flow.
    pub seconds: u16,
}

/// How a service schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scheduling {
    /// How a new flow chooses.
    pub pick: Pick,
    /// Bits of the client's address that count where it is hashed, or for affinity, 0 to 128.
    pub source_prefix: u8,
    /// A TCP segment of no known flow that opens none is refused, where the scheduler cannot tell whose it is.
    pub resets_unknown: bool,
    /// Seconds for which a client's new flows go where its last one went; 0: none.
    pub affinity_seconds: u16,
}

impl Scheduling {
    /// As a service's word.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.pick as u32
            | (self.resets_unknown as u32) << 7
            | (self.source_prefix as u32) << 8
            | (self.affinity_seconds as u32) << 16
    }

    /// From a service's word.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            pick: Pick::from_bits(bits),
            source_prefix: (bits >> 8) as u8,
            resets_unknown: bits >> 7 & 1 != 0,
            affinity_seconds: (bits >> 16) as u16,
        }
    }

    /// What holds a client's new flows together; `None`: nothing does.
    #[inline(always)]
    #[must_use]
    pub const fn affinity(self) -> Option<Affinity> {
        if self.affinity_seconds == 0 {
            return None;
        }
        Some(Affinity { prefix: self.source_prefix, seconds: self.affinity_seconds })
    }

    /// Whether a flow that nobody knows may get another destination than one that is.
    #[inline(always)]
    #[must_use]
    pub const fn is_stateless(self) -> bool {
        self.pick.is_stateless() && self.affinity_seconds == 0
    }
}

/// The largest [`ScoreTerms::inverse`]: that of weight 1.
pub const INVERSE: u32 = 1 << 24;

/// What a destination has to do: how many flows it has, and its load over its weight.
///
/// Both are written by programs on every CPU and by user space, so they are exact only after user space has written them, and
/// a little off until the next time.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(16))]
pub struct Score {
    load: Word64,
    live: Word64,
    inverse: Word32,
    step: Word32,
    /// Live flows that it may have at most; 0: any number.
    most: Word32,
    reserved: Word32,
}

impl Score {
    /// The score with one more flow: load and step over weight.
    #[inline(always)]
    #[must_use]
    pub fn with_one_more(&self) -> u64 {
        let load = self.load.load();
        // Nothing where it is below zero, after more ends were seen than begins.
        let load = load & !((opaque(load) as i64 >> 63) as u64);
        (load & u32::MAX as u64).wrapping_add(self.step.load() as u64).wrapping_mul(self.inverse.load() as u64)
    }

    /// Whether it has as many flows as it may.
    #[inline(always)]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.fullness() != 0
    }

    /// 1 if it has as many flows as it may. Without a branch: the verifier would follow both for each of a list.
    #[inline(always)]
    #[must_use]
    pub fn fullness(&self) -> u64 {
        let most = opaque(self.most.load() as u64);
        // The highest bits say that no more are left and that there is a limit at all.
        let left = most.wrapping_sub(1).wrapping_sub(self.live.load());
        (opaque(left) & most.wrapping_neg()) >> 63
    }

    /// Live flows that it may have at most; 0: any number.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.most.load()
    }

    /// Sets it.
    pub fn set_most(&self, most: u32) {
        self.most.store(most);
    }

    /// A flow has begun.
    #[inline(always)]
    pub fn begin(&self) {
        self.live.add(1);
        self.load.add(self.step.load() as u64);
    }

    /// A flow has ended.
    #[inline(always)]
    pub fn end(&self) {
        self.live.add(1u64.wrapping_neg());
        self.load.add((self.step.load() as u64).wrapping_neg());
    }

    /// A copy, for whoever tries something out.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            load: Word64::new(self.load.load()),
            live: Word64::new(self.live.load()),
            most: Word32::new(self.most.load()),
            reserved: Word32::default(),
            inverse: Word32::new(self.inverse.load()),
            step: Word32::new(self.step.load()),
        }
    }

    /// The load: flows, or whatever else user space writes, 0 to 2^32 less one.
    #[must_use]
    pub fn load(&self) -> i64 {
        self.load.load() as i64
    }

    /// Sets the load.
    pub fn set_load(&self, load: u32) {
        self.load.store(u64::from(load));
    }

    /// Live flows: a little off, and for a moment below zero, after more ends were seen than begins.
    #[must_use]
    pub fn live(&self) -> i64 {
        self.live.load() as i64
    }

    /// Adds to the number of live flows, whatever else happens to it at this moment.
    pub fn adjust_live(&self, by: i64) {
        self.live.add(by as u64);
    }

    /// Adds to the load, likewise.
    pub fn adjust_load(&self, by: i64) {
        self.load.add(by as u64);
    }

    /// [`INVERSE`] over the weight, and what a flow adds to the load and takes from it.
    #[must_use]
    pub fn terms(&self) -> ScoreTerms {
        ScoreTerms { inverse: self.inverse.load(), step: self.step.load() }
    }

    /// Sets them.
    pub fn set_terms(&self, terms: ScoreTerms) {
        self.inverse.store(terms.inverse);
        self.step.store(terms.step);
    }
}

/// What a score is made of besides the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScoreTerms {
    /// [`INVERSE`] over the weight.
    pub inverse: u32,
    /// What a flow adds to the load while it lives.
    pub step: u32,
}

impl ScoreTerms {
    /// Of a weight from 1 on.
    #[must_use]
    pub const fn of_weight(weight: u32, step: u32) -> Self {
        Self { inverse: INVERSE / if weight == 0 { 1 } else { weight }, step }
    }

    /// Of the same weight, where a flow counts more (or less) by this factor.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn slower(self, factor: f64) -> Self {
        Self { inverse: (f64::from(self.inverse) * factor).clamp(1.0, f64::from(1u32 << 30)) as u32, ..self }
    }
}

const _: () = assert!(size_of::<Score>() == 32);
