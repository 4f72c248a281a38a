//! ICMP errors about what a backend sent for the VIP: to that backend.
//!
//! ```text
//! | IP: router → VIP | ICMP | IP: VIP → client | TCP or UDP, 8 bytes or more |
//!                           `------------------ quoted ---------------------'
//! ```
//!
//! The quoted packet, turned round, is one of the flow: its entry names the backend, or else its hash. An error leaves no
//! trace in the flow table: anybody can send one.

use super::Target;
use crate::{
    account::Outcome,
    environment::Environment,
    flow::{self, table::is_expired},
    forward,
    frame::{Frame, Window},
    hash::FlowHash,
    nat::{self, forth::Opened},
    parse::{Family, Parsed, Place, parse_again},
    schedule::slot,
    service,
    verdict::{DropReason, PassReason, Stop, Verdict},
    wire::{
        icmp,
        ip::{Fragment, Protocol},
        ipv4, ipv6,
    },
};

/// Where an error goes. Leaves of the packet what is known of its flow.
///
/// # Errors
///
/// [`DropReason::IcmpSpoof`] if the VIP did not send what is quoted, [`DropReason::Malformed`] if too little is quoted.
#[inline(always)]
pub(super) fn target<E: Environment, F: Frame>(env: &E, frame: &F, packet: &mut Parsed) -> Result<Target, Stop> {
    turn_to_quoted(frame, packet)?;
    let (index, service) = service::find_apart(env, packet).ok_or(PassReason::NotServed)?;
    let hash = FlowHash::of(env, packet);
    let id = match holder(env, index, service, hash) {
        Some(id) => id,
        None => slot::pick(env, service, hash)?.ok_or(DropReason::NoBackend)?,
    };
    Ok(Target { id, choice: forward::choice(hash) })
}

/// Sends an error to its target.
#[inline(always)]
pub fn send<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, place: Place, target: Target) -> Outcome<'a> {
    settle(try_send(env, frame, place, target))
}

/// The first step of sending an error to a destination whose mode is `nat` or `full-nat`.
///
/// # Errors
///
/// What becomes of it instead.
#[inline(always)]
pub fn begin_translation<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &F,
    place: Place,
    id: u32,
) -> Result<(), Outcome<'a>> {
    nat::error::begin(env, frame, place, id).map_err(|stop| settle(Err(stop)))
}

/// The next step: finds the flow.
///
/// # Errors
///
/// What becomes of the packet instead.
#[inline(always)]
pub fn find_translation<E: Environment>(env: &E) -> Result<Opened, Outcome<'_>> {
    nat::error::find(env).map_err(|stop| settle(Err(stop)))
}

/// The last step.
#[inline(always)]
pub fn translate<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    place: Place,
    id: u32,
    opened: Opened,
) -> Outcome<'a> {
    settle(nat::error::send(env, frame, place, id, opened))
}

#[inline(always)]
fn settle(sent: Result<Outcome<'_>, Stop>) -> Outcome<'_> {
    match sent {
        Ok(outcome) => outcome,
        Err(Stop::Drop(reason)) => Verdict::Drop(reason).into(),
        // No error is answered with an error (RFC 1122, section 3.2.2; RFC 4443, section 2.4 (e)).
        Err(_) => Verdict::Drop(DropReason::Mtu).into(),
    }
}

#[inline(always)]
fn try_send<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    place: Place,
    target: Target,
) -> Result<Outcome<'a>, Stop> {
    let mut packet = Parsed::new();
    parse_again(frame, place, &mut packet).map_err(|_| DropReason::Tables)?;
    let destination = env.destination(target.id).ok_or(DropReason::Tables)?;
    let verdict = forward::send(env, (target.id, destination), &packet, target.choice, forward::Content::Icmp, frame)?;
    let counters = env.destination_counters(target.id).ok_or(DropReason::Tables)?;
    Ok(Outcome { verdict, destination: Some(counters) })
}

/// Puts the quoted packet in the place of the message that quotes it, turned round: as the client would send one of its flow.
#[inline(always)]
fn turn_to_quoted<F: Frame>(frame: &F, packet: &mut Parsed) -> Result<(), Stop> {
    turn_round(frame, packet).map(|_| ())
}

/// The same. Returns where the quoted transport header begins.
#[inline(always)]
pub(crate) fn turn_round<F: Frame>(frame: &F, packet: &mut Parsed) -> Result<usize, Stop> {
    let at = packet.transport + icmp::HEADER;
    let (protocol, transport, fragment) = match packet.family {
        Family::V4 => {
            starts_with_version(frame, at, 4, at + ipv4::HEADER <= packet.end)?;
            let ip = ipv4::parse(frame, at).ok_or(DropReason::Malformed)?;
            if ip.payload < at + ipv4::HEADER {
                return Err(DropReason::Malformed.into());
            }
            if ip.source != packet.destination[0] {
                return Err(DropReason::IcmpSpoof.into());
            }
            packet.source[0] = ip.destination;
            (ip.protocol, ip.payload, ip.fragment)
        }
        Family::V6 => {
            starts_with_version(frame, at, 6, at + ipv6::HEADER <= packet.end)?;
            let ip = ipv6::parse(frame, at).ok_or(DropReason::Malformed)?;
            if ip.source != packet.destination {
                return Err(DropReason::IcmpSpoof.into());
            }
            packet.source = ip.destination;
            let chain =
                ipv6::follow(frame, ip.next, at + ipv6::HEADER, packet.end).map_err(|_| DropReason::Malformed)?;
            (chain.protocol, chain.payload, chain.fragment)
        }
    };
    packet.protocol = match protocol {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return Err(PassReason::OtherProtocol.into()),
    };
    if matches!(fragment, Fragment::Later) || transport + icmp::QUOTED_TRANSPORT > packet.end {
        return Err(DropReason::Malformed.into());
    }
    let header = frame.window::<{ icmp::QUOTED_TRANSPORT }>(transport).ok_or(DropReason::Malformed)?;
    packet.ports = header.word(0).rotate_left(16);
    packet.destination_port = header.be16(0);
    Ok(transport)
}

/// Whether the quote is of the message's own family, and its header fits.
#[inline(always)]
fn starts_with_version<F: Frame>(frame: &F, at: usize, version: u16, fits: bool) -> Result<(), DropReason> {
    let first = frame.window::<2>(at).ok_or(DropReason::Malformed)?.be16(0);
    if fits && first >> 12 == version { Ok(()) } else { Err(DropReason::Malformed) }
}

/// The destination that holds a flow.
#[inline(always)]
fn holder<E: Environment>(env: &E, index: u32, service: &crate::abi::Service, hash: FlowHash) -> Option<u32> {
    let (_, word) = flow::find(env, hash)?;
    let timeout = service.timeout(word.state()?);
    let at = env.destination(word.destination())?.state();
    let is_current = at.generation == word.generation() && at.service == index && at.keeps_flows;
    (is_current && !is_expired(word, env.now(), timeout)).then_some(word.destination())
}
