//! The record shared between the decapsulator and user space: which tunnels end here, and who may send into them.

use crate::{
    abi::{Word32, Word64},
    opaque::opaque,
    parse::Family,
};

/// Changes with every incompatible change of a record or its meaning. User space refuses pins of another version.
pub const LAYOUT_VERSION: u32 = 1;

/// Prefixes in a list, for each family.
pub const MAX_PREFIXES: usize = 64;

/// Names of the maps, the same in the object, in the pin directory and in messages.
pub mod map {
    /// One [`super::Control`].
    pub const CONTROL: &str = "DECAP_CONTROL";
    /// [`super::super::Counters`] per CPU.
    pub const COUNTERS: &str = "DECAP_COUNTERS";
}

/// The one record of the map [`map::CONTROL`]: two sets of tunnels and which of them is in force.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct Control {
    active: Word32,
    pad: Word32,
    spare: [Word64; 7],
    tunnels: [Tunnels; 2],
}

/// A set of tunnels. All zero, as in a fresh map, it unpacks nothing.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct Tunnels {
    /// UDP destination port of GUE, host byte order; 0: none.
    gue_port: Word32,
    pad: Word32,
    spare: [Word64; 7],
    /// Our own addresses for IPv4 and IPv6, then who may send, likewise.
    lists: [Prefixes; 4],
}

/// What a list of prefixes is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Our own addresses.
    Ends = 0,
    /// Who may send.
    Sources = 1,
}

/// One of the lists in a [`Control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    /// The set of tunnels, [`Control::active_set`].
    pub set: u32,
    /// What it is for.
    pub role: Role,
    /// The family of its prefixes.
    pub family: Family,
}

/// Prefixes of one family, in any order.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
#[repr(C, align(64))]
pub struct Prefixes {
    count: Word32,
    pad: Word32,
    spare: [Word64; 7],
    entries: [Entry; MAX_PREFIXES],
}

/// Addresses whose bits under the mask are these; both as in memory.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub(super) struct Entry {
    pub(super) address: [Word32; 4],
    pub(super) mask: [Word32; 4],
}

impl Control {
    /// Which tunnels are in force: 0 or 1.
    #[inline(always)]
    #[must_use]
    pub fn active_set(&self) -> u32 {
        self.active.load() & 1
    }

    /// The tunnels of a set.
    #[inline(always)]
    #[must_use]
    pub fn set(&self, set: u32) -> &Tunnels {
        &self.tunnels[(set & 1) as usize]
    }

    /// The tunnels in force.
    #[must_use]
    pub fn active(&self) -> &Tunnels {
        self.set(self.active_set())
    }

    /// Those that are not: to be written before [`Self::switch`]. A program may read them for as long as a packet takes
    /// after a switch.
    #[must_use]
    pub fn inactive(&self) -> &Tunnels {
        self.set(self.active_set() + 1)
    }

    /// Puts the others in force: one aligned store.
    pub fn switch(&self) {
        self.active.publish((self.active_set() + 1) & 1);
    }
}

impl Tunnels {
    /// The UDP port of GUE.
    #[inline(always)]
    #[must_use]
    pub fn gue_port(&self) -> u16 {
        self.gue_port.load() as u16
    }

    pub(super) fn set_gue_port(&self, port: u16) {
        self.gue_port.store(port.into());
    }

    /// A list.
    #[inline(always)]
    pub(super) fn list(&self, role: Role, family: Family) -> &Prefixes {
        &self.lists[(role as usize & 1) * 2 + (family as usize & 1)]
    }
}

impl List {
    /// As a number.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u32 {
        (self.set & 1) << 2 | (self.role as u32) << 1 | self.family as u32
    }

    /// Whether one of its prefixes contains an address, for a list that [`Self::pack`] made a number.
    #[inline(always)]
    #[must_use]
    pub fn contains(control: &Control, packed: u32, address: &[u32; 4]) -> bool {
        // The compiler must not see more than the verifier does, or it drops the mask.
        let packed = opaque(packed.into()) as u32;
        control.set(packed >> 2).lists[(packed & 3) as usize].contain(address)
    }
}

impl Prefixes {
    /// Whether one of them contains an address.
    #[inline(always)]
    #[must_use]
    pub fn contain(&self, address: &[u32; 4]) -> bool {
        let count = self.count.load() as usize;
        for (i, entry) in self.entries.iter().enumerate() {
            if i >= count {
                return false;
            }
            if entry.contains(address) {
                return true;
            }
        }
        false
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries[..(self.count.load() as usize).min(MAX_PREFIXES)]
    }

    /// The first so many are in use; they may be set after this.
    pub(super) fn resize(&self, count: usize) -> &[Entry] {
        self.count.store(count as u32);
        self.entries()
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Default for Prefixes {
    fn default() -> Self {
        Self {
            count: Word32::default(),
            pad: Word32::default(),
            spare: Default::default(),
            entries: core::array::from_fn(|_| Entry::default()),
        }
    }
}

impl Entry {
    #[inline(always)]
    fn contains(&self, address: &[u32; 4]) -> bool {
        let differ = |i: usize| (address[i] & self.mask[i].load()) ^ self.address[i].load();
        differ(0) | differ(1) | differ(2) | differ(3) == 0
    }
}

const _: () = {
    assert!(size_of::<Prefixes>() == 64 + 32 * MAX_PREFIXES);
    assert!(size_of::<Tunnels>() == 64 + 4 * size_of::<Prefixes>());
    assert!(size_of::<Control>() == 64 + 2 * size_of::<Tunnels>());
};
