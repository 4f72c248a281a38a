//! What limits the new flows of a service, and what was refused.

use super::{Counter, Word32, Word64};

/// Limits of a service and its token buckets: a cache line. All zero: nothing is limited.
///
/// User space writes the settings, each a word; the programs of all CPUs write the buckets ([`crate::limits::bucket`]).
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct ServiceLimits {
    list: Word64,
    options: Word32,
    pad: Word32,
    rate: [Word32; 2],
    client: [Word32; 2],
    flood: Word32,
    reserved: Word32,
    /// What was taken of [`ServiceLimits::rate`].
    pub(crate) taken: Word64,
    /// What was taken of [`ServiceLimits::flood`] by packets that open flows.
    pub(crate) opened: Word64,
    /// What was taken of it by other packets of unknown flows.
    pub(crate) continued: Word64,
}

/// So much in a second, and so much at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// New flows in a second, 1 to [`Rate::MOST`]; 0: no limit.
    pub per_second: u32,
    /// New flows at once, 1 to [`Rate::MOST`].
    pub burst: u32,
}

impl Rate {
    /// The largest rate and burst.
    pub const MOST: u32 = 10_000_000;
}

/// The prefix lists of a service: where in the array of bounds it changes whether an address is denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixList {
    /// First bound.
    pub offset: u32,
    /// Number of bounds, below 2^31.
    pub size: u32,
    /// Whether addresses below the first bound are denied.
    pub denies: bool,
}

impl PrefixList {
    /// Whether there is nothing that it denies or allows.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.size == 0 && !self.denies
    }
}

/// What of [`ServiceLimits`] user space sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSettings {
    /// Which clients are served.
    pub list: PrefixList,
    /// New flows of all clients.
    pub rate: Rate,
    /// New flows of each prefix of clients.
    pub client: Rate,
    /// Bits of clients' addresses that make such a prefix.
    pub client_prefix: u8,
    /// New flows in a second above which none is remembered; 0: all are.
    pub flood: u32,
    /// What is above a limit is answered instead of dropped.
    pub rejects: bool,
}

impl LimitSettings {
    /// Whether anything but the prefix lists is set. (How to refuse concerns the limits of destinations as well.)
    #[must_use]
    pub fn has_limits(&self) -> bool {
        let Self { list: _, rate, client, client_prefix: _, flood, rejects } = self;
        rate.per_second != 0 || client.per_second != 0 || *flood != 0 || *rejects
    }
}

impl ServiceLimits {
    const REJECTS: u32 = 1 << 8;

    /// Which clients are served: one word.
    #[inline(always)]
    #[must_use]
    pub fn list(&self) -> PrefixList {
        let word = self.list.load();
        PrefixList { offset: word as u32, size: (word >> 32) as u32 & (u32::MAX >> 1), denies: word >> 63 != 0 }
    }

    /// Whether there is a list at all.
    #[inline(always)]
    #[must_use]
    pub fn has_list(&self) -> bool {
        self.list.load() >> 32 != 0
    }

    /// New flows of all clients.
    #[inline(always)]
    #[must_use]
    pub fn rate(&self) -> Rate {
        Rate { per_second: self.rate[0].load(), burst: self.rate[1].load() }
    }

    /// New flows of each prefix of clients.
    #[inline(always)]
    #[must_use]
    pub fn client(&self) -> Rate {
        Rate { per_second: self.client[0].load(), burst: self.client[1].load() }
    }

    /// Bits of clients' addresses that make a prefix.
    #[inline(always)]
    #[must_use]
    pub fn client_prefix(&self) -> u8 {
        self.options.load() as u8
    }

    /// Whether what is above a limit is answered instead of dropped.
    #[inline(always)]
    #[must_use]
    pub fn rejects(&self) -> bool {
        self.options.load() & Self::REJECTS != 0
    }

    /// New flows in a second above which none is remembered; 0: all are.
    #[inline(always)]
    #[must_use]
    pub fn flood(&self) -> u32 {
        self.flood.load()
    }

    /// What is set.
    #[must_use]
    pub fn settings(&self) -> LimitSettings {
        LimitSettings {
            list: self.list(),
            rate: self.rate(),
            client: self.client(),
            client_prefix: self.client_prefix(),
            flood: self.flood(),
            rejects: self.rejects(),
        }
    }

    /// Sets it. A burst is written before the rate that makes use of it.
    pub fn set(&self, settings: &LimitSettings) {
        let LimitSettings { list, rate, client, client_prefix, flood, rejects } = settings;
        self.options.store(u32::from(*client_prefix) | if *rejects { Self::REJECTS } else { 0 });
        for (words, rate) in [(&self.rate, rate), (&self.client, client)] {
            words[1].publish(rate.burst);
            words[0].publish(rate.per_second);
        }
        self.flood.store(*flood);
        let size = u64::from(list.size) << 32;
        self.list.publish(u64::from(list.offset) | size | u64::from(list.denies) << 63);
    }

    /// A copy, for whoever tries something out.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        copy.set(&self.settings());
        copy.buckets().into_iter().zip(self.buckets()).for_each(|(to, from)| to.store(from.load()));
        copy
    }

    /// Its token buckets.
    #[must_use]
    pub fn buckets(&self) -> [&Word64; 3] {
        [&self.taken, &self.opened, &self.continued]
    }

    /// As if nothing had been taken.
    pub fn fill(&self) {
        self.buckets().into_iter().for_each(|bucket| bucket.store(0));
    }
}

/// Prefixes of clients in a bucket of them.
pub const CLIENT_BUCKET: usize = 4;

/// A bucket of client prefixes: a cache line.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct ClientBucket {
    /// Its entries.
    pub entries: [ClientEntry; CLIENT_BUCKET],
}

impl ClientBucket {
    /// A copy, for whoever tries something out.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        for (to, from) in copy.entries.iter().zip(&self.entries) {
            to.tag.store(from.tag.load());
            to.word.store(from.word.load());
        }
        copy
    }
}

/// What is known of a prefix of clients, for one purpose.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct ClientEntry {
    /// The keyed hash of service, prefix and purpose; 0: not used.
    pub tag: Word64,
    /// As [`crate::limits::bucket`] or [`crate::schedule::affinity`] keeps it; its lowest bits are the tick of the last change.
    pub word: Word64,
}

/// Where a prefix list changes its mind: an address, the highest bits first. A list's bounds ascend.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(16))]
pub struct ListBound {
    high: Word64,
    low: Word64,
}

impl ListBound {
    /// Both halves.
    #[inline(always)]
    #[must_use]
    pub fn halves(&self) -> (u64, u64) {
        (self.high.load(), self.low.load())
    }

    /// The address.
    #[must_use]
    pub fn get(&self) -> u128 {
        u128::from(self.high.load()) << 64 | u128::from(self.low.load())
    }

    /// Writes it; where nothing refers to it.
    pub fn set(&self, address: u128) {
        self.high.store((address >> 64) as u64);
        self.low.store(address as u64);
    }
}

/// What one CPU refused of a service: a cache line.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct LimitCounters {
    /// Packets of clients that are not served.
    pub denied: Counter,
    /// New flows above the rate of their client's prefix.
    pub client: Counter,
    /// New flows above the rate of the service.
    pub service: Counter,
    /// New flows for which no destination with room was found.
    pub connections: Counter,
    /// New flows that were not remembered, because there were too many; one of several packets counts with each.
    pub forgotten: Counter,
    /// New flows that were dropped for that, since they are translated.
    pub flood: Counter,
    spare: [Counter; 2],
}

impl LimitCounters {
    /// Words of the record.
    pub const WORDS: usize = size_of::<Self>() / 8;

    const fn fields(&self) -> [&Counter; Self::WORDS] {
        [
            &self.denied,
            &self.client,
            &self.service,
            &self.connections,
            &self.forgotten,
            &self.flood,
            &self.spare[0],
            &self.spare[1],
        ]
    }

    /// Adds the record of a CPU, as the words that the kernel hands out.
    pub fn add_words(&self, words: &[u64; Self::WORDS]) {
        for (field, word) in self.fields().into_iter().zip(words) {
            field.add(*word);
        }
    }

    /// The same figures in another record.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        copy.fields().into_iter().zip(self.fields()).for_each(|(to, from)| to.add(from.get()));
        copy
    }
}

const _: () = {
    assert!(size_of::<ServiceLimits>() == 64);
    assert!(size_of::<ClientBucket>() == 64);
    assert!(size_of::<ListBound>() == 16);
    assert!(size_of::<LimitCounters>() == 64);
};
