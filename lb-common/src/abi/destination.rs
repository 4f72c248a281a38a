//! Destinations: backends as the data path knows them, and the interfaces that lead to them.

use super::{Word32, Word64};
use crate::flow::FlowWord;

use super::Mode;

/// Bits of a generation: what fits beside the id in a flow entry.
pub const GENERATION_BITS: u32 = 12;

/// One destination: a cache line. Its address is fixed for a generation; state and next hop change by one aligned store.
///
/// The last words are [`Steady`]: what packets of its flows need, gathered from other tables. A change of state or next hop
/// makes them void first. A program that is interrupted between reading two of them while both change can send one frame with
/// the old interface and the new addresses; the next hop's own address is in one word.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct Destination {
    state: Word64,
    next_hop: Word64,
    address: [Word32; 4],
    port_and_mtu: Word32,
    way: Word32,
    identity: Word64,
    addresses: Word64,
    source_tail: Word32,
    timeout: Word32,
}

/// What a packet of a flow in its steady state needs of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// MAC address of the next hop, the first byte lowest.
    pub destination_mac: u64,
    /// MAC address of the interface that leads there, likewise.
    pub source_mac: u64,
    /// Destination address and port are translated.
    pub is_nat: bool,
    /// The kernel's index of that interface, below 2^29.
    pub ifindex: u32,
    /// Packets go through a tunnel: with the first or the second of its outer headers.
    pub tunnel: Option<bool>,
    /// Most bytes of an IP packet that may go there, up to 65 535; a tunnel's own header comes on top.
    pub mtu: u16,
    /// Ticks after which a flow in its steady state is forgotten.
    pub timeout: u32,
}

/// The state word of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestinationState {
    /// Changes each time the id is given to another backend; 0: never used.
    pub generation: u16,
    /// Known flows go here.
    pub keeps_flows: bool,
    /// Known TCP flows are reset by their next packet; those of UDP go elsewhere. Means something only if it does
    /// not keep them.
    pub resets_flows: bool,
    /// New flows may come here.
    pub takes_flows: bool,
    /// How packets get there; fixed for a generation.
    pub mode: Mode,
    /// Which of its two outer headers is in force.
    pub second_tunnel: bool,
    /// Of `full-nat`: the kind of the TCP option that tells the backend its client ([`crate::nat::toa`]); 0: none.
    pub toa: u8,
    /// The service it belongs to.
    pub service: u32,
}

impl DestinationState {
    const KEEPS: u64 = 1 << 16;
    const TAKES: u64 = 1 << 17;
    const MODE_SHIFT: u32 = 18;
    const SECOND_TUNNEL: u64 = 1 << 22;
    const TOA_SHIFT: u32 = 23;
    const RESETS: u64 = 1 << 31;

    /// As a word.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.generation as u64
            | if self.keeps_flows { Self::KEEPS } else { 0 }
            | if self.takes_flows { Self::TAKES } else { 0 }
            | (self.mode as u64) << Self::MODE_SHIFT
            | if self.second_tunnel { Self::SECOND_TUNNEL } else { 0 }
            | (self.toa as u64) << Self::TOA_SHIFT
            | if self.resets_flows { Self::RESETS } else { 0 }
            | (self.service as u64) << 32
    }

    /// From a word.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self {
            generation: word as u16,
            keeps_flows: word & Self::KEEPS != 0,
            resets_flows: word & Self::RESETS != 0,
            takes_flows: word & Self::TAKES != 0,
            mode: Mode::from_bits(word >> Self::MODE_SHIFT),
            second_tunnel: word & Self::SECOND_TUNNEL != 0,
            toa: (word >> Self::TOA_SHIFT) as u8,
            service: (word >> 32) as u32,
        }
    }

    /// Whether entries of its flows mean something: packets go by them, here or nowhere.
    #[inline(always)]
    #[must_use]
    pub const fn holds_flows(self) -> bool {
        self.keeps_flows | self.resets_flows
    }

    /// [`Self::toa`] where the mode has it, else 0.
    #[inline(always)]
    #[must_use]
    pub const fn toa(self) -> u8 {
        if matches!(self.mode, Mode::FullNat) { self.toa } else { 0 }
    }
}

/// The next hop of a destination: a MAC address and an egress index in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    /// MAC address, the first byte lowest.
    pub mac: u64,
    /// Index into the egress interfaces; 0: not resolved.
    pub egress: u32,
}

impl NextHop {
    /// A MAC address as a word, the first byte lowest.
    #[must_use]
    pub const fn mac_word(mac: [u8; 6]) -> u64 {
        u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0])
    }
}

impl Destination {
    /// In [`Self::steady_way`]: packets go through a tunnel.
    pub const TUNNEL: u32 = 1 << 31;
    /// In [`Self::steady_way`]: where it says which outer header is in force.
    pub const SECOND_TUNNEL_SHIFT: u32 = 30;
    /// In [`Self::steady_way`]: the interface.
    pub const IFINDEX: u32 = (1 << 29) - 1;
    /// In [`Self::steady_way`]: destination address and port are translated.
    pub const NAT: u32 = 1 << 29;

    /// The state word.
    #[inline(always)]
    #[must_use]
    pub fn state(&self) -> DestinationState {
        DestinationState::unpack(self.state.load())
    }

    /// Publishes a state.
    pub fn set_state(&self, state: DestinationState) {
        self.void_steady();
        self.state.publish(state.pack());
    }

    /// The next hop.
    #[inline(always)]
    #[must_use]
    pub fn next_hop(&self) -> NextHop {
        let word = self.next_hop.load();
        NextHop { mac: word & 0xffff_ffff_ffff, egress: (word >> 48) as u32 }
    }

    /// Changes the next hop.
    pub fn set_next_hop(&self, next_hop: NextHop) {
        self.void_steady();
        self.next_hop.publish(next_hop.mac | u64::from(next_hop.egress) << 48);
    }

    /// The backend's own address (IPv4 as an IPv4-mapped one) and port, for whoever reads the table.
    #[must_use]
    pub fn address(&self) -> ([u32; 4], u16) {
        let mut address = [0; 4];
        for (value, word) in address.iter_mut().zip(&self.address) {
            *value = word.load();
        }
        (address, self.port_and_mtu.load() as u16)
    }

    /// A word of the address of [`Self::address`].
    #[inline(always)]
    #[must_use]
    pub fn address_word(&self, index: usize) -> u32 {
        self.address[index & 3].load()
    }

    /// The port of [`Self::address`].
    #[inline(always)]
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port_and_mtu.load() as u16
    }

    /// Whether packets of a flow with this word may go by the steady words.
    #[inline(always)]
    #[must_use]
    pub fn is_steady(&self, word: FlowWord) -> bool {
        self.identity.load() == word.identity_bits()
    }

    /// Ticks after which a flow in its steady state is forgotten.
    #[inline(always)]
    #[must_use]
    pub fn steady_timeout(&self) -> u32 {
        self.timeout.load()
    }

    /// The kernel's index of the interface that leads here; with [`Self::TUNNEL`] if packets go through one, [`Self::NAT`] if they are translated.
    #[inline(always)]
    #[must_use]
    pub fn steady_way(&self) -> u32 {
        self.way.load()
    }

    /// Most bytes of an IP packet that may go here.
    #[inline(always)]
    #[must_use]
    pub fn steady_mtu(&self) -> u32 {
        self.port_and_mtu.load() >> 16
    }

    /// Both MAC addresses as a frame begins with them: the first eight bytes, and four more.
    #[inline(always)]
    #[must_use]
    pub fn steady_addresses(&self) -> (u64, u32) {
        (self.addresses.load(), self.source_tail.load())
    }

    /// Makes the steady words void: packets take the long way, with the same result.
    pub fn void_steady(&self) {
        self.identity.publish(0);
    }

    /// Publishes steady words for the flows of this id and generation.
    pub fn set_steady(&self, id: u32, generation: u16, steady: &Steady) {
        self.void_steady();
        self.addresses.publish((steady.destination_mac | steady.source_mac << 48).to_le());
        self.source_tail.publish(((steady.source_mac >> 16) as u32).to_le());
        let tunnel = match steady.tunnel {
            None => 0,
            Some(second) => Self::TUNNEL | u32::from(second) << Self::SECOND_TUNNEL_SHIFT,
        };
        let nat = if steady.is_nat { Self::NAT } else { 0 };
        self.way.publish(steady.ifindex | tunnel | nat);
        self.port_and_mtu.publish(self.port_and_mtu.load() & 0xffff | u32::from(steady.mtu) << 16);
        self.timeout.publish(steady.timeout);
        self.identity.publish(FlowWord::identity_of(id, generation));
    }

    /// The steady words; `None` if they are void.
    #[must_use]
    pub fn steady(&self) -> Option<(u64, Steady)> {
        let identity = self.identity.load();
        let (addresses, tail) = self.steady_addresses();
        let (addresses, tail) = (u64::from_le(addresses), u32::from_le(tail));
        let steady = Steady {
            destination_mac: addresses & 0xffff_ffff_ffff,
            source_mac: addresses >> 48 | u64::from(tail) << 16,
            is_nat: self.way.load() & Self::NAT != 0,
            ifindex: self.way.load() & Self::IFINDEX,
            tunnel: (self.way.load() & Self::TUNNEL != 0)
                .then(|| self.way.load() >> Self::SECOND_TUNNEL_SHIFT & 1 != 0),
            mtu: self.steady_mtu() as u16,
            timeout: self.timeout.load(),
        };
        (identity != 0).then_some((identity, steady))
    }

    /// Writes address and port; before the state that publishes them.
    pub fn set_address(&self, address: &[u32; 4], port: u16) {
        for (word, value) in self.address.iter().zip(address) {
            word.store(*value);
        }
        self.port_and_mtu.store(u32::from(port));
    }
}

/// An interface that leads to backends.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(16))]
pub struct Egress {
    /// With the VLAN in the two bytes that a MAC address leaves.
    source_mac: Word64,
    ifindex: Word32,
    mtu: Word32,
}

impl Egress {
    const MAC: u64 = 0xffff_ffff_ffff;

    /// Its MAC address, the first byte lowest.
    #[inline(always)]
    #[must_use]
    pub fn source_mac(&self) -> u64 {
        self.source_mac.load() & Self::MAC
    }

    /// The VLAN (IEEE 802.1Q) that frames have to be in; 0: they leave with the tags that they came with, if any.
    #[inline(always)]
    #[must_use]
    pub fn vlan(&self) -> u16 {
        (self.source_mac.load() >> 48) as u16
    }

    /// The kernel's index of the interface.
    #[inline(always)]
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex.load()
    }

    /// Its MTU in bytes, without the Ethernet header.
    #[inline(always)]
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu.load()
    }

    /// Writes the record of an interface without a VLAN.
    pub fn set(&self, source_mac: [u8; 6], ifindex: u32, mtu: u32) {
        self.set_in_vlan(source_mac, 0, ifindex, mtu);
    }

    /// Writes the record.
    pub fn set_in_vlan(&self, source_mac: [u8; 6], vlan: u16, ifindex: u32, mtu: u32) {
        self.source_mac.store(NextHop::mac_word(source_mac) | u64::from(vlan) << 48);
        self.mtu.store(mtu);
        self.ifindex.publish(ifindex);
    }
}

const _: () = {
    assert!(size_of::<Destination>() == 64);
    assert!(size_of::<Egress>() == 16);
};
