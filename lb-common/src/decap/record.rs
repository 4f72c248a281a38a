//! The record shared between the decapsulator and user space: which tunnels end here, and who may send into them.

use super::outer::Outer;
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
    /// Our own addresses, for IPv4 and IPv6.
    pub(super) ends: [Prefixes; 2],
    /// Who may send, likewise.
    pub(super) sources: [Prefixes; 2],
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
    /// The tunnels in force.
    #[inline(always)]
    #[must_use]
    pub fn active(&self) -> &Tunnels {
        &self.tunnels[(self.active.load() & 1) as usize]
    }

    /// Those that are not: to be written before [`Self::switch`]. A program may read them for as long as a packet takes
    /// after a switch.
    #[must_use]
    pub fn inactive(&self) -> &Tunnels {
        &self.tunnels[((self.active.load() + 1) & 1) as usize]
    }

    /// Puts the others in force: one aligned store.
    pub fn switch(&self) {
        let other = (self.active.load() + 1) & 1;
        self.active.publish(other);
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

    /// Whether a packet is for one of our addresses.
    #[inline(always)]
    #[must_use]
    pub fn is_end(&self, outer: &Outer) -> bool {
        of(&self.ends, outer.family).contain(&outer.destination)
    }

    /// Whether a packet is from someone who may send.
    #[inline(always)]
    #[must_use]
    pub fn allows(&self, outer: &Outer) -> bool {
        of(&self.sources, outer.family).contain(&outer.source)
    }
}

#[inline(always)]
fn of(lists: &[Prefixes; 2], family: Family) -> &Prefixes {
    // The compiler knows that a family is 0 or 1 and drops a plain mask; the verifier does not know and needs it.
    &lists[opaque(family as u64) as usize & 1]
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
