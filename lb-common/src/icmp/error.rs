//! ICMP errors about what a backend sent for the VIP: to that backend.
//!
//! ```text
//! | IP: router → VIP | ICMP | IP: VIP → client | TCP or UDP, 8 bytes or more |
//!                           `------------------ quoted ---------------------'
//! ```
//!
//! The quoted packet, turned round, is one of the flow: its entry names the backend, or else its hash. An error leaves no
//! trace in the flow table: anybody can send one.

use crate::{
    abi::Service,
    environment::Environment,
    features::Features,
    flow::{self, table::is_expired},
    forward::{self, target::Target},
    frame::{Frame, Window},
    hash::FlowHash,
    parse::{Family, Parsed},
    schedule::{
        pick::{self, Chooser},
        slot,
    },
    service,
    verdict::{DropReason, PassReason, Stop},
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
        None => by_scheduler(env, (index, service), packet, hash)?.ok_or(DropReason::NoBackend)?,
    };
    Ok(Target { id, choice: forward::choice(hash) })
}

/// The destination of a flow that nobody remembers.
#[inline(always)]
fn by_scheduler<E: Environment>(
    env: &E,
    (index, service): (u32, &Service),
    packet: &mut Parsed,
    hash: FlowHash,
) -> Result<Option<u32>, DropReason> {
    let hash = spread(env, service, packet, hash);
    if env.features().chooses_otherwise() {
        return Ok(env.pick(index, pick::note_unknown(env, Chooser::of(packet, hash.index))));
    }
    slot::pick(env, service, hash)
}

/// What the service's scheduler goes by.
#[inline(always)]
fn spread<E: Environment>(env: &E, service: &Service, packet: &mut Parsed, hash: FlowHash) -> FlowHash {
    if env.features().has(Features::FRAGMENTS_BY_HASH) && service.hashes_fragments() {
        packet.ports = 0;
        return FlowHash::of(env, packet);
    }
    hash
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
fn holder<E: Environment>(env: &E, index: u32, service: &Service, hash: FlowHash) -> Option<u32> {
    let (_, word) = flow::find(env, hash)?;
    let timeout = service.timeout(word.state()?);
    let at = env.destination(word.destination())?.state();
    let is_current = at.generation == word.generation() && at.service == index && at.keeps_flows;
    (is_current && !is_expired(word, env.now(), timeout)).then_some(word.destination())
}
