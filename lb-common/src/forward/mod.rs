//! How packets get to a destination: one forwarding mode a file, and what they have in common.

pub mod dsr_l2;
pub mod target;
pub mod tunnel;

use dsr_l2::Way;

use crate::{
    abi::{Destination, tunnel_index},
    environment::Environment,
    features::Features,
    frame::{Frame, Window},
    hash::FlowHash,
    parse::{Family, Parsed},
    verdict::{DropReason, Stop, Verdict},
    wire::{checksum::Sum, icmp, ip::Protocol, ipv4, ipv6, udp},
};

/// What the flow chooses of an outer header.
#[inline(always)]
#[must_use]
pub const fn choice(hash: FlowHash) -> u32 {
    (hash.tag >> 32) as u32
}

/// What follows the IP header and its extensions.
#[derive(Clone, Copy)]
pub enum Content {
    /// A TCP segment or UDP datagram, or the first part of one.
    Transport,
    /// A whole ICMP message.
    Icmp,
    /// A later part of anything.
    Part,
}

/// Sends any packet. `choice` is [`choice()`] of the flow.
///
/// # Errors
///
/// Why it cannot go there: [`Stop::TooBig`] if the sender should be told to send less at a time.
#[inline(always)]
pub fn send<E: Environment, F: Frame>(
    env: &E,
    (id, destination): (u32, &Destination),
    packet: &Parsed,
    choice: u32,
    content: Content,
    frame: &mut F,
) -> Result<Verdict, Stop> {
    let way = Way::to(env, destination)?;
    let state = destination.state();
    let is_tunnelled = env.features().has(Features::TUNNEL) && state.mode.is_tunnel();
    let tunnel =
        if is_tunnelled { Some(env.tunnel(tunnel_index(id, state) as u32).ok_or(DropReason::Tables)?) } else { None };
    if env.features().checks_mtu() {
        let overhead = tunnel.map_or(0, |tunnel| state.mode.overhead(tunnel.family()));
        fits(packet, frame, way.mtu.saturating_sub(overhead as u32))?;
    }
    if let Some(tunnel) = tunnel {
        let is_summed = env.features().has(Features::GUE) && tunnel.is_summed();
        // Not kept since the packet was parsed: the stack has no room for it.
        let first = frame.window::<{ ipv4::HEADER }>(packet.network).ok_or(DropReason::Tables)?.word(0);
        let class = match packet.family {
            Family::V4 => (u32::from_be(first) >> 16) as u8,
            Family::V6 => (u32::from_be(first) >> 20) as u8,
        };
        let sum = if is_summed { sum(packet, content, first, frame) } else { None };
        let length = (packet.end - packet.network) as u16;
        let inner = tunnel::Inner { family: packet.family, class, length, sum };
        tunnel::push(env.features(), frame, tunnel, packet.network, inner, choice)?;
    }
    Ok(way.take(env, frame, packet.network)?)
}

/// Whether a packet is no larger than what fits. Who does not allow routers to cut it is told (RFC 1191, RFC 8201).
#[inline(always)]
pub(crate) fn fits<F: Frame>(packet: &Parsed, frame: &F, mtu: u32) -> Result<(), Stop> {
    if (packet.end - packet.network) as u32 <= mtu {
        Ok(())
    } else if matches!(packet.family, Family::V4) && ipv4::may_be_cut(frame, packet.network) {
        Err(DropReason::Mtu.into())
    } else {
        Err(Stop::TooBig(mtu))
    }
}

/// What a packet with right checksums adds up to, as far as its headers tell. (Without closures: a function of its own would
/// need the packet in memory, and the stack has no room for it.)
#[inline(always)]
fn sum<F: Frame>(packet: &Parsed, content: Content, first: u32, frame: &F) -> Option<Sum> {
    let is_v4 = matches!(packet.family, Family::V4);
    // Nor does the header of a part tell of the others; over IPv6 it has an extension header.
    if is_v4 && ipv4::is_part(frame, packet.network) {
        return None;
    }
    if matches!(content, Content::Icmp) && is_v4 {
        // The message adds up to zero, as its IP header does.
        return Some(Sum::default());
    }
    if !is_v4 {
        if packet.transport != packet.network + ipv6::HEADER {
            return None;
        }
        let next = match content {
            Content::Transport => packet.protocol as u8,
            Content::Icmp => icmp::PROTOCOL_V6,
            Content::Part => return None,
        };
        return Some(tunnel::sum_v6(first, next, packet.hop_limit));
    }
    // Without a checksum inside, nothing is known of the payload.
    if matches!(packet.protocol, Protocol::Udp) && frame.window::<{ udp::HEADER }>(packet.transport)?.be16(6) == 0 {
        return None;
    }
    let segment = (packet.end - packet.transport) as u16;
    Some(tunnel::sum_v4(packet.source[0], packet.destination[0], packet.protocol as u8, segment))
}
