//! Translated flows, as both sides see them: how a reply is to be turned back, beside the flow table.
//!
//! A bucket of eight words has a tag, a state and a time for each of its slots ([`crate::flow::FlowWord`], the tag in the place of
//! the destination); the slot itself is a cache line in a table beside it. A word is claimed by an atomic exchange
//! before its slot is written, so no two flows ever have one slot.

use super::{Word32, Word64};
use crate::{flow::FlowWord, wire::ip::Protocol};

/// Source addresses of `full-nat` for each family.
pub const MAX_POOL: u32 = 64;

/// Slots of a bucket.
pub const NAT_BUCKET: usize = 8;

/// The words of eight slots: a cache line.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct NatBucket {
    /// [`FlowWord`]s, with 36 bits of a tag in the place of the destination; 0: never used.
    pub words: [Word64; NAT_BUCKET],
}

/// The slots of a bucket.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct NatSlots {
    /// One for each word of the bucket.
    pub records: [NatRecord; NAT_BUCKET],
}

/// One translated flow: a cache line.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct NatRecord {
    client: [Word32; 4],
    vip: [Word32; 4],
    ports: Word32,
    translation: Word32,
    destination: Word64,
    hop: Word64,
    hop_tail: Word32,
    ifindex: Word32,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translated {
    /// The client's address as in memory.
    pub client: [u32; 4],
    /// The VIP that it talks to.
    pub vip: [u32; 4],
    /// The client's port and the service's, as in the client's packets.
    pub ports: u32,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The source in packets to the backend: a place in the pool, and a port; `None`: the client's own.
    pub source: Option<(u32, u16)>,
    /// Destination and generation, as [`FlowWord::identity_of`] packs them.
    pub destination: u64,
    /// Where packets to the client go.
    pub hop: Hop,
}

/// The neighbour that the client's packets come from, as a frame to it begins: both MAC addresses in twelve bytes, and the interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// The first eight bytes, as in memory.
    pub addresses: u64,
    /// Four more.
    pub tail: u32,
    /// The kernel's index of the interface.
    pub ifindex: u32,
}

const UDP: u32 = 1 << 31;
const FULL: u32 = 1 << 30;
const CLIENT_FINISHED: u32 = 1 << 29;
const BACKEND_FINISHED: u32 = 1 << 28;
const ANSWERED: u32 = 1 << 27;

impl NatRecord {
    /// Writes it; before its word is published.
    #[inline(always)]
    pub fn set(&self, flow: &Translated) {
        for i in 0..4 {
            self.client[i].store(flow.client[i]);
            self.vip[i].store(flow.vip[i]);
        }
        self.ports.store(flow.ports);
        let protocol = if matches!(flow.protocol, Protocol::Udp) { UDP } else { 0 };
        let source = match flow.source {
            Some((place, port)) => FULL | place << 16 | port as u32,
            None => 0,
        };
        self.translation.store(protocol | source);
        self.destination.store(flow.destination);
        self.set_hop(flow.hop);
    }

    /// Where packets to the client go.
    #[inline(always)]
    #[must_use]
    pub fn hop(&self) -> Hop {
        Hop { addresses: self.hop.load(), tail: self.hop_tail.load(), ifindex: self.ifindex.load() }
    }

    /// Follows the client's packets, which come from elsewhere. Each of three words is whole; a reply in between may begin with
    /// bytes of both.
    #[inline(always)]
    pub fn set_hop(&self, hop: Hop) {
        self.hop.store(hop.addresses);
        self.hop_tail.store(hop.tail);
        self.ifindex.store(hop.ifindex);
    }

    /// A word of the client's address.
    #[inline(always)]
    #[must_use]
    pub fn client(&self, index: usize) -> u32 {
        self.client[index & 3].load()
    }

    /// A word of the VIP.
    #[inline(always)]
    #[must_use]
    pub fn vip(&self, index: usize) -> u32 {
        self.vip[index & 3].load()
    }

    /// The client's address as in memory.
    #[inline(always)]
    #[must_use]
    pub fn client_words(&self) -> [u32; 4] {
        [self.client(0), self.client(1), self.client(2), self.client(3)]
    }

    /// The VIP as in memory.
    #[inline(always)]
    #[must_use]
    pub fn vip_words(&self) -> [u32; 4] {
        [self.vip(0), self.vip(1), self.vip(2), self.vip(3)]
    }

    /// The client's port and the service's, as in the client's packets.
    #[inline(always)]
    #[must_use]
    pub fn ports(&self) -> u32 {
        self.ports.load()
    }

    /// Whether it is of this protocol.
    #[inline(always)]
    #[must_use]
    pub fn is(&self, protocol: Protocol) -> bool {
        (self.translation.load() & UDP != 0) == matches!(protocol, Protocol::Udp)
    }

    /// The source in packets to the backend: a place in the pool, and a port.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Option<(u32, u16)> {
        let word = self.translation.load();
        if word & FULL == 0 { None } else { Some((word >> 16 & (MAX_POOL - 1), word as u16)) }
    }

    /// Whether client and backend have sent FIN.
    #[inline(always)]
    #[must_use]
    pub fn finished(&self) -> (bool, bool) {
        let word = self.translation.load();
        (word & CLIENT_FINISHED != 0, word & BACKEND_FINISHED != 0)
    }

    /// Notes it. Two CPUs that do so at once may lose one of the two: the flow then ends by its time-out.
    #[inline(always)]
    pub fn set_finished(&self, client: bool, backend: bool) {
        let others = self.translation.load() & !(CLIENT_FINISHED | BACKEND_FINISHED);
        let client = if client { CLIENT_FINISHED } else { 0 };
        let backend = if backend { BACKEND_FINISHED } else { 0 };
        self.translation.store(others | client | backend);
    }

    /// Whether the backend has answered with more than SYN; kept where the option of [`crate::nat::toa`] is in use.
    #[inline(always)]
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.translation.load() & ANSWERED != 0
    }

    /// Notes it. What another CPU notes in the same word at that moment may be lost: that the other side has finished among it, and the flow
    /// ends by its time-out then.
    #[inline(always)]
    pub fn set_answered(&self) {
        let word = self.translation.load();
        if word & ANSWERED == 0 {
            self.translation.store(word | ANSWERED);
        }
    }

    /// Forgets what was noted of the connection: the next one has the same ends.
    #[inline(always)]
    pub fn reopen(&self) {
        self.translation.store(self.translation.load() & !(CLIENT_FINISHED | BACKEND_FINISHED | ANSWERED));
    }

    /// Destination and generation, as [`FlowWord::identity_of`] packs them.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> FlowWord {
        FlowWord::of_identity(self.destination.load())
    }
}

/// A source address of `full-nat`.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(32))]
pub struct PoolAddress {
    address: [Word32; 4],
    state: Word32,
    pad: [Word32; 3],
}

impl PoolAddress {
    /// A word of the address.
    #[inline(always)]
    #[must_use]
    pub fn address(&self, index: usize) -> u32 {
        self.address[index & 3].load()
    }

    /// The address as in memory.
    #[inline(always)]
    #[must_use]
    pub fn words(&self) -> [u32; 4] {
        [self.address(0), self.address(1), self.address(2), self.address(3)]
    }

    /// Whether new flows may have it.
    #[inline(always)]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.load() != 0
    }

    /// Writes it.
    pub fn set(&self, address: &[u32; 4], is_open: bool) {
        for (word, value) in self.address.iter().zip(address) {
            word.store(*value);
        }
        self.state.publish(u32::from(is_open));
    }
}

const _: () = {
    assert!(size_of::<NatBucket>() == 64);
    assert!(size_of::<NatRecord>() == 64);
    assert!(size_of::<NatSlots>() == 512);
    assert!(size_of::<PoolAddress>() == 32);
};
