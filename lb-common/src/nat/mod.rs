//! Network address translation: `nat` and `full-nat`.
//!
//! ```text
//!               client → VIP                          client ← VIP
//! nat           client → backend                      client ← backend
//! full-nat      pool:port → backend                   pool:port ← backend
//! ```
//!
//! A packet for a service finds its destination as in any other mode, by the flow table. What a reply needs to be turned back
//! lies in a table of its own ([`table`]), so that no other mode pays for it; of `full-nat` it also holds the port that
//! the flow has. Replies go where the client's packets came from (known as auto last hop), so no route is looked up.
//!
//! Both directions see FIN here, so a flow closes when both sides have, and what one side does keeps it alive for the other:
//! what the table here says is copied to the flow's entry.
//!
//! Fragments, ICMP and new flows are rare enough to do everything anew for each packet; [`crate::steady`] has the short way
//! of `nat` for packets to the backend.

pub mod back;
pub mod candidate;
pub mod error;
pub mod error_back;
pub mod forth;
pub mod hairpin;
pub mod part;
pub mod part_back;
pub mod rewrite;
pub mod scratch;
pub mod steady;
pub mod table;
pub mod toa;

use crate::{
    environment::Environment,
    features::Features,
    frame::{Frame, Window},
    parse::{Parsed, Place, parse_again},
    verdict::DropReason,
    wire::{ip::Protocol, tcp, udp},
};

/// Whether packets to a destination are translated.
#[inline(always)]
pub fn is_translated<E: Environment>(env: &E, id: u32) -> bool {
    env.features().has(Features::NAT)
        && env.destination(id).is_some_and(|destination| destination.state().mode.is_nat())
}

/// A packet that is to be translated: where its transport header is, and its protocol; for whoever reads it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatPlace(u32);

impl NatPlace {
    const UDP: u32 = 1 << Place::BITS;
    const KNOWN: u32 = Self::UDP << 1;
    const RESET: u32 = Self::UDP << 2;

    /// Of a packet that was parsed.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Parsed) -> Self {
        let protocol = match packet.protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => Self::UDP,
        };
        Self(Place::of(packet).bits() | protocol)
    }

    /// The same of a packet whose flow the flow table knew.
    #[inline(always)]
    #[must_use]
    pub const fn known(self) -> Self {
        Self(self.0 | Self::KNOWN)
    }

    /// The same of a packet whose flow is reset in place of its being sent.
    #[inline(always)]
    #[must_use]
    pub const fn reset(self) -> Self {
        Self(self.0 | Self::RESET)
    }

    /// See [`Self::reset`].
    #[inline(always)]
    #[must_use]
    pub const fn is_reset(self) -> bool {
        self.0 & Self::RESET != 0
    }

    #[inline(always)]
    const fn is_known(self) -> bool {
        self.0 & Self::KNOWN != 0
    }

    /// As a number of 19 bits.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From [`Self::bits`].
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Where the transport header begins.
    #[inline(always)]
    pub(crate) const fn transport(self) -> usize {
        Place::from_bits(self.0).transport()
    }
}

/// Reads a packet again.
#[inline(always)]
pub(crate) fn read<F: Frame>(frame: &F, place: NatPlace, packet: &mut Parsed) -> Result<(), DropReason> {
    let transport = Place::from_bits(place.0 & (NatPlace::UDP - 1));
    parse_again(frame, transport, packet).map_err(|_| DropReason::Tables)?;
    if place.0 & NatPlace::UDP == 0 {
        let header = frame.window::<{ tcp::HEADER }>(packet.transport).ok_or(DropReason::Tables)?;
        packet.protocol = Protocol::Tcp;
        packet.ports = header.word(0);
        packet.tcp_flags = header.u8(13);
    } else {
        let header = frame.window::<{ udp::HEADER }>(packet.transport).ok_or(DropReason::Tables)?;
        packet.protocol = Protocol::Udp;
        packet.ports = header.word(0);
    }
    Ok(())
}

/// The first port of two as they lie in memory, in host byte order.
#[inline(always)]
const fn first_port(ports: u32) -> u16 {
    let [a, b, _, _] = ports.to_ne_bytes();
    u16::from_be_bytes([a, b])
}

/// The second one.
#[inline(always)]
const fn second_port(ports: u32) -> u16 {
    let [_, _, a, b] = ports.to_ne_bytes();
    u16::from_be_bytes([a, b])
}

/// Two ports as they lie in memory.
#[inline(always)]
const fn ports(first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_be_bytes(), second.to_be_bytes());
    u32::from_ne_bytes([a, b, c, d])
}
