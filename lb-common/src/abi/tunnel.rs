//! Outer headers of destinations that are reached through a tunnel.

use super::{Word32, Word64};
use crate::{
    parse::Family,
    wire::{checksum::Sum, ipv4, ipv6, udp},
};

/// How packets get to a destination: four bits of its state word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Only the MAC addresses change.
    #[default]
    DsrL2 = 0,
    /// In an IP packet of their own (RFC 2003, RFC 2473, RFC 4213).
    Ipip = 1,
    /// In UDP: Generic UDP Encapsulation, variant 0 (draft-ietf-intarea-gue).
    Gue = 2,
    /// Destination address and port are translated; the backend's replies pass the node.
    Nat = 3,
    /// Source address and port as well, from the node's own.
    FullNat = 4,
}

impl Mode {
    /// From the bits of the state word; unknown ones are [`Mode::DsrL2`]'s.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 0xf {
            1 => Self::Ipip,
            2 => Self::Gue,
            3 => Self::Nat,
            4 => Self::FullNat,
            _ => Self::DsrL2,
        }
    }

    /// Whether packets get another header.
    #[inline(always)]
    #[must_use]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Whether addresses and ports are translated.
    #[inline(always)]
    #[must_use]
    pub const fn is_nat(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }

    /// Bytes in front of the packet, with outer addresses of this family.
    #[inline(always)]
    #[must_use]
    pub const fn overhead(self, outer: Family) -> usize {
        let ip = match outer {
            Family::V4 => ipv4::HEADER,
            Family::V6 => ipv6::HEADER,
        };
        match self {
            Self::DsrL2 | Self::Nat | Self::FullNat => 0,
            Self::Ipip => ip,
            Self::Gue => ip + udp::HEADER + GUE_HEADER,
        }
    }
}

/// Length of a GUE header without optional fields.
pub const GUE_HEADER: usize = 4;

/// The outer header of one destination: a cache line. Fixed for a generation of the destination, and written before the state
/// that publishes it.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C, align(64))]
pub struct Tunnel {
    source: [Word32; 4],
    destination: [Word32; 4],
    /// Bits of the last word of the source that the flow chooses, as in memory.
    varying: Word32,
    /// Outer family in bit 0, [`Mode`] above it, then the UDP port from bit 16.
    kind: Word32,
    /// Sum over the words of an IPv4 header that are the same in each packet.
    sum: Word64,
    pad: [Word64; 2],
}

/// What a [`Tunnel`] is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelEnds {
    /// How packets are wrapped.
    pub mode: Mode,
    /// Family of the outer addresses.
    pub family: Family,
    /// Outer source address, as in memory; where it varies these bits are 0.
    pub source: [u32; 4],
    /// Bits of the last word of the source that the flow chooses, as in memory: of the first word for IPv4.
    pub varying: u32,
    /// Outer destination address, as in memory.
    pub destination: [u32; 4],
    /// UDP destination port of GUE; else 0.
    pub port: u16,
    /// Family of the packets inside.
    pub inner: Family,
}

impl Tunnel {
    /// Family of the outer addresses.
    #[inline(always)]
    #[must_use]
    pub fn family(&self) -> Family {
        if self.kind.load() & 1 == 0 { Family::V4 } else { Family::V6 }
    }

    /// How packets are wrapped.
    #[inline(always)]
    #[must_use]
    pub fn mode(&self) -> Mode {
        Mode::from_bits((self.kind.load() >> 1) as u64)
    }

    /// Whether its header has a checksum that depends on the packet's payload.
    #[inline(always)]
    #[must_use]
    pub fn is_summed(&self) -> bool {
        matches!((self.mode(), self.family()), (Mode::Gue, Family::V6))
    }

    /// UDP destination port of GUE.
    #[inline(always)]
    #[must_use]
    pub fn port(&self) -> u16 {
        (self.kind.load() >> 16) as u16
    }

    /// A word of the destination address.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self, word: usize) -> u32 {
        self.destination[word & 3].load()
    }

    /// A word of the source address, before the flow has chosen.
    #[inline(always)]
    #[must_use]
    pub fn source(&self, word: usize) -> u32 {
        self.source[word & 3].load()
    }

    /// Bits of the last word of the source that the flow chooses.
    #[inline(always)]
    #[must_use]
    pub fn varying(&self) -> u32 {
        self.varying.load()
    }

    /// Sum over what is the same in all IPv4 headers of this tunnel.
    #[inline(always)]
    #[must_use]
    pub fn sum(&self) -> Sum {
        Sum::of(self.sum.load())
    }

    /// Writes the record.
    pub fn set(&self, ends: &TunnelEnds) {
        for (word, value) in self.source.iter().zip(ends.source) {
            word.store(value);
        }
        for (word, value) in self.destination.iter().zip(ends.destination) {
            word.store(value);
        }
        self.varying.store(ends.varying);
        let sum = ipv4::constant_sum(ends.protocol(), ends.source[0], ends.destination[0]);
        self.sum.store(sum.value());
        self.kind.publish(ends.family as u32 | (ends.mode as u32) << 1 | u32::from(ends.port) << 16);
    }

    /// What the record was made from, for a destination of a service of this family.
    #[must_use]
    pub fn ends(&self, inner: Family) -> TunnelEnds {
        TunnelEnds {
            mode: self.mode(),
            family: self.family(),
            source: [0, 1, 2, 3].map(|word| self.source(word)),
            varying: self.varying(),
            destination: [0, 1, 2, 3].map(|word| self.destination(word)),
            port: self.port(),
            inner,
        }
    }
}

impl TunnelEnds {
    /// IP protocol number of what follows the outer header.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        match self.mode {
            Mode::Gue => 17,
            Mode::DsrL2 | Mode::Ipip | Mode::Nat | Mode::FullNat => inner_protocol(self.inner),
        }
    }
}

/// Where the outer header of a destination in this state is: each has two places, so that another header is written in full
/// before the state word switches to it.
#[must_use]
pub const fn tunnel_index(id: u32, state: super::DestinationState) -> usize {
    2 * id as usize + state.second_tunnel as usize
}

/// IP protocol number of a packet inside another.
#[inline(always)]
#[must_use]
pub const fn inner_protocol(inner: Family) -> u8 {
    match inner {
        Family::V4 => 4,
        Family::V6 => 41,
    }
}

const _: () = assert!(size_of::<Tunnel>() == 64);
