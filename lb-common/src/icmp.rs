//! The way of ICMP packets: rare work, apart from the way of other packets.
//!
//! What is for no VIP is the host's, and so is what the node has no answer to: neighbour discovery, router and group messages
//! above all. Echo requests are answered by the node ([`crate::reply`]), since the VIP may be no address of the host's.

use crate::{
    account::Outcome,
    environment::Environment,
    features::Features,
    frame::{Frame, Window},
    packet,
    parse::{Family, Parsed, Place, parse_again},
    reply, service,
    verdict::{DropReason, PassReason, Stop, Verdict},
    wire::{icmp, ip::Fragment, ipv4, ipv6},
};

/// Decides over an ICMP packet and rewrites it. The caller books it ([`crate::account::book`]).
///
/// The packet is read again, so that little of it need be kept for this on the way of other packets.
#[inline(always)]
pub fn process<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, place: Place) -> Outcome<'a> {
    match decide(env, frame, place) {
        Ok(outcome) => outcome,
        Err(Stop::Drop(reason)) => Verdict::Drop(reason).into(),
        Err(_) => Verdict::Pass(PassReason::OtherProtocol).into(),
    }
}

#[inline(always)]
fn decide<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, place: Place) -> Result<Outcome<'a>, Stop> {
    let mut packet = Parsed::new();
    let is_read = parse_again(frame, place, &mut packet).is_ok();
    if !is_read || !service::is_vip(env, packet.family, &packet.destination, None) {
        return Err(PassReason::OtherProtocol.into());
    }
    let request = match packet.family {
        Family::V4 => icmp::ECHO_V4.0,
        Family::V6 => icmp::ECHO_V6.0,
    };
    if is_plain(&packet) && type_of(frame, &packet) == Some(request) && env.features().has(Features::ICMP_ECHO) {
        accept(env, &packet)?;
        reply::echo(env, frame, &packet)?;
        return Ok(Verdict::Transmit.into());
    }
    Err(PassReason::OtherProtocol.into())
}

/// Whether it is whole and the message follows the IP header at once. Options would have to be answered with options (RFC 1122,
/// section 3.2.2.6), which a host can do that has the address.
#[inline(always)]
fn is_plain(packet: &Parsed) -> bool {
    let header = match packet.family {
        Family::V4 => ipv4::HEADER,
        Family::V6 => ipv6::HEADER,
    };
    packet.transport == packet.network + header && matches!(packet.fragment, Fragment::Whole)
}

/// The message's type; `None` where its header does not fit into the packet.
#[inline(always)]
fn type_of<F: Frame>(frame: &F, packet: &Parsed) -> Option<u8> {
    if packet.transport + icmp::HEADER > packet.end {
        return None;
    }
    Some(frame.window::<{ icmp::HEADER }>(packet.transport)?.u8(0))
}

/// What is not answered: it must have one sender (RFC 1122, section 3.2.2.6), which is not a VIP.
#[inline(always)]
fn accept<E: Environment>(env: &E, packet: &Parsed) -> Result<(), DropReason> {
    packet::accept(packet)?;
    if packet::is_martian(env, packet) { Err(DropReason::Martian) } else { Ok(()) }
}
