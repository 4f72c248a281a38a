//! What becomes of fragments: all parts of a datagram go where its first part went.
//!
//! The first part has the ports, so it goes the way of any packet; only its identification is noted with its destination
//! ([`note`]). A later part has no ports: it is looked up ([`follow`]) and then sent like others. One whose first part has not come
//! is dropped, since nobody can say whose it is, unless a service of its VIP asks for a choice by the addresses alone
//! ([`crate::abi::FRAGMENTS_HASH`]).
//!
//! Replies of `nat` and `full-nat` likewise: of their first part the slot of its flow is noted. Without its first part a later one for an
//! address of the pool is dropped, since the pool is for nothing else; another one is the host's, to which packets of backends may be as well.
//!
//! Over IPv6 a later part whose fragment header names neither TCP nor UDP but another extension header is the host's: its protocol
//! is not known.
//!
//! The table is made of the flow table's entries ([`crate::flow::entry`]), so none can be read torn. Its tag is the keyed hash of
//! source, destination, protocol and identification (RFC 791, section 3.2; RFC 8200, section 4.5). A full bucket loses its oldest
//! entry: parts of a datagram come close together, so what is old is the least missed.

use crate::{
    abi::{Destination, Entry},
    environment::Environment,
    features::Features,
    flow::{self, BUCKET_ENTRIES, FlowState, FlowWord},
    forward::{self, target::Target},
    frame::Frame,
    hash::FlowHash,
    nat::table,
    packet,
    parse::{Family, Parsed},
    schedule::{
        pick::{self, Chooser},
        slot,
    },
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

/// In what is noted in the place of a destination: the rest is the slot of a translated flow, for a reply.
pub const REPLY: u32 = 1 << 31;

/// Where the first part of a datagram went.
enum Noted {
    Host,
    Destination(u32),
    /// To the client of this slot.
    Slot(u32),
}

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

/// Notes where the first part of a datagram goes: a destination's id, [`HOST`], or with [`REPLY`] a slot. Returns what is chosen of an outer header for
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
        Some(Noted::Host) => return Err(PassReason::NotServed.into()),
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
        Some(Noted::Slot(slot)) => return Ok(Target::back(slot)),
        Some(Noted::Destination(id)) => id,
        _ => without_first(env, &packet, service, datagram.addresses)?,
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
    let picked = if env.features().chooses_otherwise() {
        env.pick(index, pick::note_unknown(env, Chooser::of(packet, addresses.index)))
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
    let now = env.now();
    let note = FlowWord::from_bits(env.fragment_word(id));
    let Some(bucket) = env.fragment_bucket(place(env, key)) else { return };
    if note == FlowWord::EMPTY {
        return;
    }
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
    victim.store(key.tag, note);
}

/// The bits of the [`FlowWord`] that is kept of where a first part goes, as [`note`] takes it; 0 if nothing can be. The state only says
/// what it is.
#[inline(always)]
pub fn word<E: Environment>(env: &E, id: u32) -> u64 {
    let word = if env.features().has(Features::NAT) && id & REPLY != 0 {
        table::note_of(env, id & !REPLY).map(|note| note.refreshed(SLOT, env.now()))
    } else {
        let generation = |destination: &Destination| destination.state().generation;
        env.destination(id).map(|destination| FlowWord::new(id, generation(destination), DESTINATION, env.now()))
    };
    word.map_or(0, FlowWord::to_bits)
}

/// State of an entry whose identity is a destination's.
const DESTINATION: FlowState = FlowState::UdpSingle;
/// State of an entry whose identity is that of a slot ([`table::note_of`]).
const SLOT: FlowState = FlowState::Udp;

/// Where the first part went, if its destination is still the same.
#[inline(always)]
fn find<E: Environment>(env: &E, key: FlowHash) -> Option<Noted> {
    let bucket = env.fragment_bucket(place(env, key))?;
    let mut found = FlowWord::EMPTY;
    for entry in &bucket.entries {
        let (tag, word) = entry.load();
        if tag == key.tag {
            found = word;
        }
    }
    if found.state().is_none() || flow::table::is_expired(found, env.now(), env.fragment_timeout()) {
        return None;
    }
    if env.features().has(Features::NAT) && matches!(found.state(), Some(SLOT)) {
        return table::noted(env, found).map(Noted::Slot);
    }
    let id = found.destination();
    if id == HOST {
        return Some(Noted::Host);
    }
    let state = env.destination(id)?.state();
    (state.generation == found.generation() && state.keeps_flows).then_some(Noted::Destination(id))
}

#[inline(always)]
fn place<E: Environment>(env: &E, key: FlowHash) -> u32 {
    key.bucket() & env.fragment_mask()
}
