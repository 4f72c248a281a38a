//! Services as the data path knows them.

use super::{Scheduling, Word32, Word64};

use crate::{flow::FlowState, parse::Family, wire::ip::Protocol};

/// A service without a backend drops.
pub const ON_NO_BACKEND_DROP: u8 = 0;
/// A service without a backend answers with a reset or port unreachable.
pub const ON_NO_BACKEND_REJECT: u8 = 1;

/// A fragment whose first one has not come is dropped.
pub const FRAGMENTS_DROP: u8 = 0;
/// It goes where the hash of source, destination and protocol says, as new flows of the service do.
pub const FRAGMENTS_HASH: u8 = 1;
const FRAGMENTS_SHIFT: u32 = 60;
const QUIC: usize = 7;
const SCHEDULING: usize = 6;

/// One service: a cache line.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct Service {
    slots: Word64,
    prefix: [Word32; 4],
    identity: Word64,
    /// In ticks, by [`FlowState`]; the first, which no state has, says whether the table in force lists the service, and the
    /// last two, which none has either, say how it schedules, and its place in the table of QUIC configurations.
    timeouts: [Word32; 8],
}

/// The transport protocols that a service takes. As bits, both are all that TCP and UDP have, so that one comparison tells for
/// all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocols {
    /// TCP alone.
    Tcp = Protocol::Tcp as u8,
    /// UDP alone.
    Udp = Protocol::Udp as u8,
    /// Both.
    Both = Protocol::Tcp as u8 | Protocol::Udp as u8,
}

impl Protocols {
    /// Each of them.
    #[must_use]
    pub const fn each(self) -> &'static [Protocol] {
        match self {
            Self::Tcp => &[Protocol::Tcp],
            Self::Udp => &[Protocol::Udp],
            Self::Both => &[Protocol::Tcp, Protocol::Udp],
        }
    }

    /// Whether a protocol is among them.
    #[must_use]
    pub const fn has(self, protocol: Protocol) -> bool {
        self as u8 & protocol as u8 == protocol as u8
    }

    /// Whether some protocol is among both.
    #[must_use]
    pub fn meet(self, other: Self) -> bool {
        self.each().iter().any(|protocol| other.has(*protocol))
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        const TCP: u8 = Protocols::Tcp as u8;
        const UDP: u8 = Protocols::Udp as u8;
        const BOTH: u8 = Protocols::Both as u8;
        match bits {
            TCP => Some(Self::Tcp),
            UDP => Some(Self::Udp),
            BOTH => Some(Self::Both),
            _ => None,
        }
    }
}

impl From<Protocol> for Protocols {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

/// What a service answers to; fixed for the life of its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceIdentity {
    /// First port, host byte order.
    pub first_port: u16,
    /// Last port, host byte order.
    pub last_port: u16,
    /// Transport protocols.
    pub protocol: Protocols,
    /// Bits of the address that count.
    pub prefix_length: u8,
    /// IPv4 or IPv6.
    pub family: Family,
    /// [`ON_NO_BACKEND_DROP`] or [`ON_NO_BACKEND_REJECT`].
    pub on_no_backend: u8,
    /// [`FRAGMENTS_DROP`] or [`FRAGMENTS_HASH`].
    pub fragments: u8,
    /// Its place in the table of QUIC configurations, 1 to [`MAX_QUIC`](super::MAX_QUIC); 0: connection ids mean nothing.
    pub quic: u8,
    /// How it chooses among its slots.
    pub scheduling: Scheduling,
}

/// A range of the slot array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotRange {
    /// First slot.
    pub offset: u32,
    /// Number of slots; 0: no backend takes flows.
    pub size: u32,
}

impl ServiceIdentity {
    /// Whether it is of a single address and a single port.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        let width = match self.family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        self.prefix_length == width && self.first_port == self.last_port
    }

    const fn pack(self) -> u64 {
        self.first_port as u64
            | (self.last_port as u64) << 16
            | (self.protocol as u64) << 32
            | (self.prefix_length as u64) << 40
            | (self.family as u64) << 48
            | (self.on_no_backend as u64 & 0xf) << 56
            | (self.fragments as u64) << FRAGMENTS_SHIFT
    }
}

impl Service {
    /// Where its slots are.
    #[inline(always)]
    #[must_use]
    pub fn slots(&self) -> SlotRange {
        let word = self.slots.load();
        SlotRange { offset: word as u32, size: (word >> 32) as u32 }
    }

    /// Switches to another range of slots: one aligned store.
    pub fn set_slots(&self, range: SlotRange) {
        self.slots.publish(u64::from(range.offset) | u64::from(range.size) << 32);
    }

    /// Writes everything but the slots.
    pub fn set_identity(&self, prefix: &[u32; 4], identity: ServiceIdentity) {
        for (word, value) in self.prefix.iter().zip(prefix) {
            word.store(*value);
        }
        self.timeouts[QUIC].store(u32::from(identity.quic));
        self.timeouts[SCHEDULING].store(identity.scheduling.bits());
        self.identity.store(identity.pack());
    }

    /// What it answers to and its VIP; `None` if the place is free.
    #[must_use]
    pub fn identity(&self) -> Option<([u32; 4], ServiceIdentity)> {
        let word = self.identity.load();
        let protocol = Protocols::from_bits((word >> 32) as u8)?;
        let identity = ServiceIdentity {
            first_port: word as u16,
            last_port: (word >> 16) as u16,
            protocol,
            prefix_length: (word >> 40) as u8,
            family: if (word >> 48) as u8 == 0 { Family::V4 } else { Family::V6 },
            on_no_backend: (word >> 56) as u8 & 0xf,
            fragments: (word >> FRAGMENTS_SHIFT) as u8,
            quic: self.timeouts[QUIC].load() as u8,
            scheduling: self.scheduling(),
        };
        let mut prefix = [0; 4];
        for (value, word) in prefix.iter_mut().zip(&self.prefix) {
            *value = word.load();
        }
        Some((prefix, identity))
    }

    /// Whether the table in force lists it: else no packet is its own.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.timeouts[0].load() != 0
    }

    /// Says whether the table in force lists it.
    pub fn set_listed(&self, listed: bool) {
        self.timeouts[0].store(u32::from(listed));
    }

    /// Frees the place.
    pub fn clear(&self) {
        self.set_listed(false);
        self.identity.publish(0);
        self.slots.publish(0);
    }

    /// What happens to new flows without a backend.
    #[inline(always)]
    #[must_use]
    pub fn on_no_backend(&self) -> u8 {
        (self.identity.load() >> 56) as u8 & 0xf
    }

    /// Whether its scheduler goes by the addresses alone, for the sake of fragments ([`FRAGMENTS_HASH`]).
    #[inline(always)]
    #[must_use]
    pub fn hashes_fragments(&self) -> bool {
        self.identity.load() >> FRAGMENTS_SHIFT == FRAGMENTS_HASH as u64
    }

    /// Its place in the table of QUIC configurations; 0: it has none.
    #[inline(always)]
    #[must_use]
    pub fn quic(&self) -> u32 {
        self.timeouts[QUIC].load()
    }

    /// How it chooses among its slots.
    #[inline(always)]
    #[must_use]
    pub fn scheduling(&self) -> Scheduling {
        Scheduling::from_bits(self.timeouts[SCHEDULING].load())
    }

    /// Sets it: one word.
    pub fn set_scheduling(&self, scheduling: Scheduling) {
        self.timeouts[SCHEDULING].publish(scheduling.bits());
    }

    /// Bits of the address that count.
    #[inline(always)]
    #[must_use]
    pub fn prefix_length(&self) -> u8 {
        (self.identity.load() >> 40) as u8
    }

    /// Whether protocol, family and port are this service's.
    #[inline(always)]
    #[must_use]
    pub fn takes(&self, family: Family, protocol: u8, port: u16) -> bool {
        let word = self.identity.load();
        (word >> 48) as u8 == family as u8
            && (word >> 32) as u8 & protocol == protocol
            && port >= word as u16
            && port <= (word >> 16) as u16
    }

    /// Whether a masked address is its VIP.
    #[inline(always)]
    #[must_use]
    pub fn has_prefix(&self, family: Family, masked: &[u32; 4]) -> bool {
        let is = |i: usize| self.prefix[i].load() == masked[i];
        (self.identity.load() >> 48) as u8 == family as u8
            && is(0)
            && (matches!(family, Family::V4) || is(1) && is(2) && is(3))
    }

    /// Ticks after which a flow in this state is forgotten.
    #[inline(always)]
    #[must_use]
    pub fn timeout(&self, state: FlowState) -> u32 {
        self.timeouts[state.index()].load()
    }

    /// Sets the time-out of a state, in ticks.
    pub fn set_timeout(&self, state: FlowState, ticks: u32) {
        self.timeouts[state.index()].store(ticks);
    }
}

/// Two neighbouring slots of the slot array: destination ids.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(8))]
pub struct SlotPair([Word32; 2]);

impl SlotPair {
    /// The slot with this index in the whole array.
    #[inline(always)]
    #[must_use]
    pub fn slot(&self, index: u32) -> u32 {
        self.0[(index & 1) as usize].load()
    }
}

/// Entries in a bucket of the service table.
pub const SERVICE_BUCKET_ENTRIES: usize = 4;

/// A bucket of the service table: a cache line.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct ServiceBucket {
    /// Entries; the unused ones have index [`Entry::NONE`].
    pub entries: [Entry; SERVICE_BUCKET_ENTRIES],
}

/// An entry of the service table. The tag finds it; the service's record proves it.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Entry {
    tag: Word64,
    value: Word64,
}

impl Entry {
    /// An entry that is not used.
    pub const NONE: u32 = 0;

    /// The keyed hash of what it stands for.
    #[inline(always)]
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.tag.load()
    }

    /// Index of the service, from 1; [`Entry::NONE`] if unused.
    #[inline(always)]
    #[must_use]
    pub fn service(&self) -> u32 {
        self.value.load() as u32
    }

    /// Writes both words.
    pub fn set(&self, tag: u64, service: u32) {
        self.tag.store(tag);
        self.value.store(u64::from(service));
    }
}

const _: () = {
    assert!(size_of::<Service>() == 64);
    assert!(size_of::<ServiceBucket>() == 64);
    assert!(size_of::<SlotPair>() == 8);
};
