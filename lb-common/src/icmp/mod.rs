//! The way of ICMP packets: rare work, apart from the way of other packets.
//!
//! What is for no VIP is the host's, and so is what the node has no answer to: neighbour discovery, router and group messages
//! above all. Errors about what was sent to a backend go back to the client ([`nat::error_back`]). Echo requests are answered by the node ([`crate::reply`]), since the VIP may be no address of the host's. Errors
//! about what a backend sent go to that backend ([`error`]).

pub mod error;

use crate::{
    environment::Environment,
    features::Features,
    forward::target::Target,
    frame::{Frame, Window},
    nat, packet,
    parse::{Family, Parsed, Place, parse_again},
    reply, service,
    verdict::{DropReason, PassReason, Stop, Verdict},
    wire::{icmp, ip::Fragment, ipv4, ipv6},
};

/// Decides over an ICMP packet, as far as it needs no destination, and rewrites it if it is answered.
///
/// The packet is read again, so that little of it need be kept for this on the way of other packets.
///
/// # Errors
///
/// The packet goes on to a destination: [`crate::forward::target::send`].
#[inline(always)]
pub fn begin<E: Environment, F: Frame>(env: &E, frame: &mut F, place: Place) -> Result<Verdict, Target> {
    match decide(env, frame, place) {
        Ok(Some(target)) => Err(target),
        Ok(None) => Ok(Verdict::Transmit),
        Err(Stop::Drop(reason)) => Ok(Verdict::Drop(reason)),
        Err(Stop::Pass(reason)) => Ok(Verdict::Pass(reason)),
        Err(_) => Ok(Verdict::Pass(PassReason::OtherProtocol)),
    }
}

/// Where the packet goes; `None`: back, as an answer.
#[inline(always)]
fn decide<E: Environment, F: Frame>(env: &E, frame: &mut F, place: Place) -> Result<Option<Target>, Stop> {
    let mut packet = Parsed::new();
    let is_read = parse_again(frame, place, &mut packet).is_ok();
    if !is_read || !matches!(packet.fragment, Fragment::Whole) {
        return Err(PassReason::OtherProtocol.into());
    }
    let is_for_vip = service::is_vip_apart(env, packet.family, &packet.destination, None);
    if !is_for_vip && !env.features().has(Features::NAT) {
        return Err(PassReason::OtherProtocol.into());
    }
    let Some(kind) = type_of(frame, &packet) else {
        return Err(if is_for_vip { DropReason::Malformed.into() } else { PassReason::OtherProtocol.into() });
    };
    let (request, is_error) = match packet.family {
        Family::V4 => (icmp::ECHO_V4.0, icmp::ERRORS_V4.contains(&kind)),
        Family::V6 => (icmp::ECHO_V6.0, icmp::ERRORS_V6.contains(&kind)),
    };
    if !is_for_vip {
        let has_sender = !packet.to_group && !packet::is_martian_by_itself(&packet);
        let is_back = is_error && has_sender && nat::error_back::may_be(env, frame, &packet);
        return if is_back { Ok(Some(Target::back(0))) } else { Err(PassReason::OtherProtocol.into()) };
    }
    if is_error {
        accept(env, &packet)?;
        return error::target(env, frame, &mut packet).map(Some);
    }
    if kind == request && is_plain(&packet) && env.features().has(Features::ICMP_ECHO) {
        accept(env, &packet)?;
        reply::echo(env, frame, &packet)?;
        return Ok(None);
    }
    Err(PassReason::OtherProtocol.into())
}

/// Whether the message follows the IP header at once. Options would have to be answered with options (RFC 1122,
/// section 3.2.2.6), which a host can do that has the address.
#[inline(always)]
fn is_plain(packet: &Parsed) -> bool {
    let header = match packet.family {
        Family::V4 => ipv4::HEADER,
        Family::V6 => ipv6::HEADER,
    };
    packet.transport == packet.network + header
}

/// The message's type; `None` where its header does not fit into the packet.
#[inline(always)]
fn type_of<F: Frame>(frame: &F, packet: &Parsed) -> Option<u8> {
    if packet.transport + icmp::HEADER > packet.end {
        return None;
    }
    Some(frame.window::<{ icmp::HEADER }>(packet.transport)?.u8(0))
}

/// It must have one sender (RFC 1122, section 3.2.2.6), which is not a VIP.
#[inline(always)]
fn accept<E: Environment>(env: &E, packet: &Parsed) -> Result<(), DropReason> {
    packet::accept(packet)?;
    let is_martian =
        packet::is_martian_by_itself(packet) || service::is_vip_apart(env, packet.family, &packet.source, None);
    if is_martian { Err(DropReason::Martian) } else { Ok(()) }
}
