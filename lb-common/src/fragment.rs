//! What becomes of fragments: all parts of a datagram go where its first part went.
//!
//! The first part has the ports, so it goes the way of any packet; only its identification is noted with its destination
//! ([`note`]). A later part has no ports: it is looked up ([`follow`]) and then sent like others. One whose first part has not come
//! is dropped, since nobody can say whose it is, unless a service of its VIP asks for a choice by the addresses alone
//! ([`crate::abi::FRAGMENTS_HASH`]).
//!
//! Over IPv6 a later part whose fragment header names neither TCP nor UDP but another extension header is the host's: its protocol
//! is not known.
//!
//! The table is made of the flow table's entries ([`crate::flow::entry`]), so none can be read torn. Its tag is the keyed hash of
//! source, destination, protocol and identification (RFC 791, section 3.2; RFC 8200, section 4.5). A full bucket loses its oldest
//! entry: parts of a datagram come close together, so what is old is the least missed.

use crate::{
    abi::Entry,
    environment::Environment,
    features::Features,
    flow::{BUCKET_ENTRIES, FlowState, FlowWord, table::is_expired},
    forward::{self, target::Target},
    frame::Frame,
    hash::FlowHash,
    packet,
    parse::{Family, Parsed},
    schedule::{pick::Chooser, slot},
    service::{self, filter},
    verdict::{DropReason, PassReason, Stop, Verdict},
    wire::{
        ethernet,
        ip::{Fragment, Protocol},
        ipv4, ipv6,
    },
};

/// What is noted in the place of a destination for a datagram that is the host's.
pub const HOST: u32 = 0;

/// What a fragment says of its datagram.
struct Datagram {
    /// Names the datagram.
    key: FlowHash,
    /// What the two addresses and the protocol come to.
    addresses: FlowHash,
    /// Where the part lies, in units of eight bytes.
    offset: u16,
}

/// Whether a packet needs [`note`], as far as its first headers tell. It is asked of the packet, not of what was found in it: what is
/// known of a packet, the verifier would follow to its end.
#[inline(always)]
pub fn may_be_part<F: Frame>(frame: &F, packet: &Parsed) -> bool {
    match packet.family {
        Family::V4 => ipv4::is_part(frame, packet.network),
        Family::V6 => packet.transport != packet.network + ipv6::HEADER,
    }
}

/// Notes where the first part of a datagram goes: a destination's id, or [`HOST`]. Returns what is chosen of an outer header for
/// all its parts ([`forward::choice`]); `None` if the packet is whole.
#[inline(always)]
pub fn note<E: Environment, F: Frame>(env: &E, frame: &F, id: u32) -> Option<u32> {
    let mut packet = Parsed::new();
    let datagram = read(env, frame, &mut packet)?;
    if matches!(packet.fragment, Fragment::Whole) {
        return None;
    }
    // The host's own traffic would push out what matters.
    if id != HOST || env.may_be_vip(filter::place(packet.family, &packet.destination)) {
        remember(env, datagram.key, id);
    }
    Some(forward::choice(datagram.addresses))
}

/// Finds where a later part goes.
///
/// # Errors
///
/// The packet goes on to a destination: [`crate::forward::target::send`].
#[inline(always)]
pub fn follow<E: Environment, F: Frame>(env: &E, frame: &F) -> Result<Verdict, Target> {
    match decide(env, frame) {
        Ok(target) => Err(target),
        Err(Stop::Drop(reason)) => Ok(Verdict::Drop(reason)),
        Err(Stop::Pass(reason)) => Ok(Verdict::Pass(reason)),
        Err(_) => Ok(Verdict::Drop(DropReason::Fragment)),
    }
}

/// What the scheduler of a service with [`crate::abi::FRAGMENTS_HASH`] goes by ([`FlowHash::index`]): the addresses and the protocol.
#[inline(always)]
pub fn spread<E: Environment, F: Frame>(env: &E, frame: &F) -> u64 {
    let mut packet = Parsed::new();
    if read_addresses(frame, &mut packet).is_none() {
        return 0;
    }
    FlowHash::of(env, &packet).index
}

#[inline(always)]
fn decide<E: Environment, F: Frame>(env: &E, frame: &F) -> Result<Target, Stop> {
    let mut packet = Parsed::new();
    let datagram = read(env, frame, &mut packet).ok_or(PassReason::NotParsed)?;
    let noted = find(env, datagram.key);
    let mut service = Entry::NONE;
    match noted {
        Some(HOST) => return Err(PassReason::NotServed.into()),
        Some(_) => {}
        None => {
            service = service::owner_apart(env, packet.family, &packet.destination, Some(packet.protocol));
            if service == Entry::NONE {
                return Err(PassReason::NotParsed.into());
            }
        }
    }
    packet::accept(&packet)?;
    // It would overwrite flags of the header that the first part showed (RFC 3128).
    if datagram.offset == 1 && matches!(packet.protocol, Protocol::Tcp) {
        return Err(DropReason::Malformed.into());
    }
    let id = match noted {
        Some(id) => id,
        None => without_first(env, &packet, service, datagram.addresses)?,
    };
    Ok(Target { id, choice: forward::choice(datagram.addresses) })
}

/// Where a part goes whose first part has not come.
#[inline(always)]
fn without_first<E: Environment>(
    env: &E,
    packet: &Parsed,
    service: u32,
    addresses: FlowHash,
) -> Result<u32, DropReason> {
    if !env.features().has(Features::FRAGMENTS_BY_HASH) {
        return Err(DropReason::Fragment);
    }
    let (index, service) = (service, env.service(service).ok_or(DropReason::Tables)?);
    if !service.hashes_fragments() {
        return Err(DropReason::Fragment);
    }
    if packet::is_martian_by_itself(packet) || service::is_vip_apart(env, packet.family, &packet.source, None) {
        return Err(DropReason::Martian);
    }
    let picked = if env.features().has(Features::SCHEDULERS) {
        env.pick(index, Chooser::of(packet, addresses.index, false))
    } else {
        slot::pick(env, service, addresses)?
    };
    picked.ok_or(DropReason::NoBackend)
}

/// Reads a fragment; `None` if it is no IP packet. Leaves in the packet its addresses, protocol and what [`packet::accept`] asks for.
#[inline(always)]
fn read<E: Environment, F: Frame>(env: &E, frame: &F, packet: &mut Parsed) -> Option<Datagram> {
    let (identification, offset) = read_addresses(frame, packet)?;
    let addresses = FlowHash::of(env, packet);
    packet.ports = identification;
    Some(Datagram { key: FlowHash::of(env, packet), addresses, offset })
}

/// Reads the headers up to the transport header. Returns the identification and the offset, which mean nothing in a packet that
/// is no fragment.
#[inline(always)]
fn read_addresses<F: Frame>(frame: &F, packet: &mut Parsed) -> Option<(u32, u16)> {
    let ethernet = ethernet::parse(frame)?;
    packet.to_group = ethernet.to_group;
    let (protocol, identification, offset) = if ethernet.ethertype == ethernet::IPV4 {
        let ip = ipv4::parse(frame, ethernet.payload)?;
        packet.source[0] = ip.source;
        packet.destination[0] = ip.destination;
        packet.hop_limit = ip.ttl;
        packet.fragment = ip.fragment;
        let (identification, offset) = ipv4::part(frame, ethernet.payload)?;
        (ip.protocol, identification, offset)
    } else {
        let ip = ipv6::parse(frame, ethernet.payload)?;
        packet.family = Family::V6;
        packet.source = ip.source;
        packet.destination = ip.destination;
        packet.hop_limit = ip.hop_limit;
        let chain = ipv6::follow(frame, ip.next, ethernet.payload + ipv6::HEADER, ip.end).ok()?;
        packet.fragment = chain.fragment;
        (chain.protocol, chain.identification, chain.offset)
    };
    packet.protocol = if protocol == Protocol::Tcp as u8 { Protocol::Tcp } else { Protocol::Udp };
    Some((identification, offset))
}

#[inline(always)]
fn remember<E: Environment>(env: &E, key: FlowHash, id: u32) {
    let (Some(bucket), Some(destination)) = (env.fragment_bucket(place(env, key)), env.destination(id)) else { return };
    let now = env.now();
    // Of entries as old as each other any may go, and not always the same.
    let start = key.entry();
    let mut victim = &bucket.entries[start & (BUCKET_ENTRIES - 1)];
    let mut most = i32::MIN;
    for i in 0..BUCKET_ENTRIES {
        let entry = &bucket.entries[(start + i) & (BUCKET_ENTRIES - 1)];
        let (tag, word) = entry.load();
        let age = if tag == key.tag || word.state().is_none() { i32::MAX } else { word.age(now) };
        if age > most {
            most = age;
            victim = entry;
        }
    }
    // The state only says that the entry is used.
    victim.store(key.tag, FlowWord::new(id, destination.state().generation, FlowState::UdpSingle, now));
}

/// Where the first part went, if its destination is still the same.
#[inline(always)]
fn find<E: Environment>(env: &E, key: FlowHash) -> Option<u32> {
    let bucket = env.fragment_bucket(place(env, key))?;
    let mut found = FlowWord::EMPTY;
    for entry in &bucket.entries {
        let (tag, word) = entry.load();
        if tag == key.tag {
            found = word;
        }
    }
    if found.state().is_none() || is_expired(found, env.now(), env.fragment_timeout()) {
        return None;
    }
    let id = found.destination();
    if id == HOST {
        return Some(HOST);
    }
    let state = env.destination(id)?.state();
    (state.generation == found.generation() && state.keeps_flows).then_some(id)
}

#[inline(always)]
fn place<E: Environment>(env: &E, key: FlowHash) -> u32 {
    key.bucket() & env.fragment_mask()
}
