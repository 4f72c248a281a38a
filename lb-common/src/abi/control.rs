//! The control record: which service table is in force, and what concerns all services.

use super::{Word32, Word64};

use crate::{
    flow::{FlowState, TICK_MASK},
    opaque::opaque,
    parse::Family,
};

/// Different (prefix length, port bits) combinations for each family, besides a single address with a single port.
/// This bounds the look-ups of a packet that is for no VIP.
pub const MAX_SHAPES: usize = 32;

/// The one record of the map `CONTROL`.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct Control {
    layout_version: Word32,
    active: Word32,
    /// Identifies the hash key without telling it; 0: not set.
    key_fingerprint: Word64,
    /// The longest time-out of any service for each state, in ticks.
    longest_timeouts: [Word32; 8],
    /// Used places of the pool of source addresses, for IPv4 and IPv6: now in the lower half, before the last change in the upper one.
    pool: [Word32; 2],
    /// The tick at which live flows were counted last, and that they were.
    counted: Word32,
    /// Buckets of the flow table before it grew, as long as copies may be there that no flow looks for; else 0.
    flow_buckets_before: Word32,
    headers: [TableHeader; 2],
}

/// In [`Control`]'s word: the bits below are a tick.
const COUNTED: u32 = 1 << 31;

/// Where a service table lies and what it holds.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct TableHeader {
    /// First bucket.
    pub offset: Word32,
    /// Number of buckets less one; a power of two less one.
    pub mask: Word32,
    /// Chosen by the builder so that no bucket overflows.
    pub salt: Word64,
    /// Used shapes for IPv4 and IPv6.
    pub counts: [Word32; 2],
    pad: [Word64; 5],
    /// [`Shape`]s for IPv4 and IPv6, most specific first.
    pub shapes: [[Word32; MAX_SHAPES]; 2],
}

/// What an entry of the service table is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// Bits of the address that count.
    pub address_bits: u8,
    /// Bits of the port that count: 16 for one port, 0 for any; a range is cut into aligned blocks.
    pub port_bits: u8,
    /// Whether the entry stands for a service or for the address alone.
    pub kind: AddressKind,
}

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AddressKind {
    /// A service.
    Service = 0,
    /// An address that some service has as its VIP.
    Address = 1,
}

impl Shape {
    /// As a word.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u32 {
        self.address_bits as u32 | (self.port_bits as u32) << 8 | (self.kind as u32) << 16
    }

    /// From a word.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u32) -> Self {
        Self {
            address_bits: word as u8,
            port_bits: (word >> 8) as u8,
            kind: if word >> 16 == 0 { AddressKind::Service } else { AddressKind::Address },
        }
    }
}

impl TableHeader {
    /// Index of the bucket for a tag.
    #[inline(always)]
    #[must_use]
    pub fn bucket_of(&self, tag: u64) -> u32 {
        self.offset.load().wrapping_add(tag as u32 & self.mask.load())
    }

    /// Salt, first bucket and mask.
    #[inline(always)]
    #[must_use]
    pub fn place(&self) -> (u64, u32, u32) {
        (self.salt.load(), self.offset.load(), self.mask.load())
    }

    /// Whether anything but single addresses with single ports is served.
    #[inline(always)]
    #[must_use]
    pub fn has_shapes(&self) -> bool {
        self.counts[0].load() | self.counts[1].load() != 0
    }

    /// Number of shapes in use, and the shapes.
    #[inline(always)]
    #[must_use]
    pub fn shapes_of(&self, family: Family) -> (u32, &[Word32; MAX_SHAPES]) {
        // The compiler knows that a family is 0 or 1 and drops a plain mask; the verifier does not know and needs it.
        let index = opaque(family as u64) as usize & 1;
        (self.counts[index].load(), &self.shapes[index])
    }
}

impl Control {
    /// The table in force.
    #[inline(always)]
    #[must_use]
    pub fn active(&self) -> &TableHeader {
        // `& 1` rather than a bounds check: the verifier needs the bound, and there are two.
        &self.headers[(self.active.load() & 1) as usize]
    }

    /// The table that is not in force.
    #[must_use]
    pub fn inactive(&self) -> &TableHeader {
        &self.headers[((self.active.load() + 1) & 1) as usize]
    }

    /// Puts the other table in force: one aligned store.
    pub fn switch(&self) {
        let other = (self.active.load() + 1) & 1;
        self.active.publish(other);
    }

    /// The layout of the tables, [`super::LAYOUT_VERSION`].
    #[must_use]
    pub fn layout_version(&self) -> u32 {
        self.layout_version.load()
    }

    /// Fingerprint of the hash key.
    #[must_use]
    pub fn key_fingerprint(&self) -> u64 {
        self.key_fingerprint.load()
    }

    /// Marks fresh tables as ours.
    pub fn set_layout(&self, version: u32, key_fingerprint: u64) {
        self.key_fingerprint.store(key_fingerprint);
        self.layout_version.publish(version);
    }

    /// Buckets that the flow table had before it grew, as long as flows may have several entries for that
    /// ([`crate::flow::resize`]); else 0.
    #[must_use]
    pub fn flow_buckets_before(&self) -> u32 {
        self.flow_buckets_before.load()
    }

    /// Sets it.
    pub fn set_flow_buckets_before(&self, buckets: u32) {
        self.flow_buckets_before.store(buckets);
    }

    /// The longest time-out of any service for a state, in ticks, by [`FlowWord::state_index`](crate::flow::FlowWord::state_index); 0 for an entry
    /// that is not used.
    #[inline(always)]
    #[must_use]
    pub fn longest_timeout(&self, state_index: usize) -> u32 {
        self.longest_timeouts[state_index].load()
    }

    /// Places of the pool of source addresses that were ever used, up to [`super::MAX_POOL`].
    #[inline(always)]
    #[must_use]
    pub fn pool(&self, family: Family) -> u32 {
        let index = opaque(family as u64) as usize & 1;
        self.pool[index].load() & 0xffff
    }

    /// The same before the last change: flows of that time found their ports by it.
    #[inline(always)]
    #[must_use]
    pub fn pool_before(&self, family: Family) -> u32 {
        let index = opaque(family as u64) as usize & 1;
        self.pool[index].load() >> 16
    }

    /// Sets the number of places, after the addresses were written: one word.
    pub fn set_pool(&self, family: Family, count: u32) {
        let before = self.pool(family);
        if count != before {
            self.pool[family as usize].publish(count | before << 16);
        }
    }

    /// The tick at which live flows were counted last; `None`: never, or too long ago.
    #[inline(always)]
    #[must_use]
    pub fn counted(&self) -> Option<u32> {
        let word = self.counted.load();
        (word & COUNTED != 0).then_some(word & TICK_MASK)
    }

    /// Live flows were counted at this tick; `None`: that is too long ago.
    #[inline(always)]
    pub fn set_counted(&self, tick: Option<u32>) {
        self.counted.store(tick.map_or(0, |tick| tick & TICK_MASK | COUNTED));
    }

    /// Sets it.
    pub fn set_longest_timeout(&self, state: FlowState, ticks: u32) {
        self.longest_timeouts[state.index()].store(ticks);
    }
}

const _: () = {
    assert!(size_of::<TableHeader>() == 64 + 2 * 4 * MAX_SHAPES);
    assert!(size_of::<Control>() == 64 + 2 * size_of::<TableHeader>());
};
