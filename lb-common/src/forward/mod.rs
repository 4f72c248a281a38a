//! How packets get to a destination: one forwarding mode a file, and what they have in common.

pub mod link;
pub mod tunnel;

use link::Way;

use crate::{
    abi::{Destination, Mode},
    environment::Environment,
    features::Features,
    frame::{Frame, Window},
    hash::FlowHash,
    parse::{Family, Parsed},
    verdict::{DropReason, Stop, Verdict},
    wire::{checksum::Sum, ip::Protocol, ipv6, udp},
};

/// What the flow chooses of an outer header.
#[inline(always)]
#[must_use]
pub const fn choice(hash: FlowHash) -> u32 {
    (hash.tag >> 32) as u32
}

/// Sends a packet to a destination in the destination's mode.
///
/// # Errors
///
/// Why it cannot go there: [`Stop::TooBig`] if the sender should be told to send less at a time.
#[inline(always)]
pub fn forward<E: Environment, F: Frame>(
    env: &E,
    (id, destination): (u32, &Destination),
    packet: &Parsed,
    hash: FlowHash,
    frame: &mut F,
) -> Result<Verdict, Stop> {
    let way = Way::to(env, destination)?;
    let tunnels = env.features().has(Features::TUNNEL);
    let mode = if tunnels { destination.state().mode } else { Mode::DsrL2 };
    let tunnel = if mode.is_tunnel() { Some(env.tunnel(id).ok_or(DropReason::Tables)?) } else { None };
    if env.features().checks_mtu() {
        let overhead = tunnel.map_or(0, |tunnel| mode.overhead(tunnel.family()));
        fits(packet, way.mtu.saturating_sub(overhead as u32))?;
    }
    if let Some(tunnel) = tunnel {
        tunnel::push(frame, tunnel, packet.network, inner(packet, frame), choice(hash))?;
    }
    Ok(way.take(env, frame)?)
}

/// The same for rare packets, which are no whole TCP or UDP packets: their own function, so that what the balancer keeps on its
/// stack stays small. `choice` is [`choice()`] of the flow, `sum` what the packet adds up to ([`tunnel::Inner::sum`]).
///
/// # Errors
///
/// As [`forward`].
#[inline(always)]
pub fn send<E: Environment, F: Frame>(
    env: &E,
    (id, destination): (u32, &Destination),
    packet: &Parsed,
    choice: u32,
    sum: Option<Sum>,
    frame: &mut F,
) -> Result<Verdict, Stop> {
    let way = Way::to(env, destination)?;
    let mode = destination.state().mode;
    let is_tunnelled = env.features().has(Features::TUNNEL) && mode.is_tunnel();
    let tunnel = if is_tunnelled { Some(env.tunnel(id).ok_or(DropReason::Tables)?) } else { None };
    if env.features().checks_mtu() {
        let overhead = tunnel.map_or(0, |tunnel| mode.overhead(tunnel.family()));
        fits(packet, way.mtu.saturating_sub(overhead as u32))?;
    }
    if let Some(tunnel) = tunnel {
        let length = (packet.end - packet.network) as u16;
        let inner = tunnel::Inner { family: packet.family, class: packet.class, length, sum };
        tunnel::push(frame, tunnel, packet.network, inner, choice)?;
    }
    Ok(way.take(env, frame)?)
}

/// Whether a packet is no larger than what fits. Who does not allow routers to cut it is told (RFC 1191, RFC 8201).
#[inline(always)]
fn fits(packet: &Parsed, mtu: u32) -> Result<(), Stop> {
    if (packet.end - packet.network) as u32 <= mtu {
        Ok(())
    } else if packet.may_be_cut {
        Err(DropReason::Mtu.into())
    } else {
        Err(Stop::TooBig(mtu))
    }
}

#[inline(always)]
fn inner<F: Frame>(packet: &Parsed, frame: &F) -> tunnel::Inner {
    let sum = match packet.family {
        Family::V4 => {
            // Without a checksum inside, nothing is known of the payload.
            let is_summed = match packet.protocol {
                Protocol::Tcp => true,
                Protocol::Udp => {
                    frame.window::<{ udp::HEADER }>(packet.transport).is_some_and(|header| header.be16(6) != 0)
                }
            };
            let segment = (packet.end - packet.transport) as u16;
            is_summed.then(|| tunnel::sum_v4(packet.source[0], packet.destination[0], packet.protocol as u8, segment))
        }
        Family::V6 => (packet.transport == packet.network + ipv6::HEADER)
            .then(|| tunnel::sum_v6(packet.first_word, packet.protocol as u8, packet.hop_limit)),
    };
    tunnel::Inner { family: packet.family, class: packet.class, length: (packet.end - packet.network) as u16, sum }
}
