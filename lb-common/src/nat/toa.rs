//! The TCP option that tells a backend of `full-nat` who its client is, known as TOA (TCP option address).
//!
//! ```text
//! | kind 8 | length 8 | client's port 16 | client's address, 32 or 128 bits |
//! ```
//!
//! It goes directly behind the fixed header, in front of the client's own options, into the packets that may be the first that the
//! backend takes for an open connection: those with ACK, without SYN and RST, until the backend has answered with something else
//! than SYN. So a packet that is lost or sent again makes no difference, and options take no sequence numbers. Whether the backend has
//! answered is a bit of the flow's record ([`NatRecord::is_answered`]).
//!
//! An option of this kind that a client sends itself would be believed where there is none of ours. So it is hidden in every packet,
//! whatever the state of the flow: its kind becomes one that nobody knows, which receivers skip by its length (RFC 9293, section 3.1).
//!
//! All of it comes before the translation, while the packet still has the client's address.

use super::{NatPlace, first_port, forth::Opened, read};
use crate::{
    abi::NatRecord,
    environment::Environment,
    features::Features,
    forward::dsr_l2::Way,
    frame::{Frame, Window},
    opaque::opaque,
    parse::{Family, Parsed},
    verdict::{DropReason, Stop},
    wire::{
        checksum::Sum,
        ip::{Fragment, Protocol},
        ipv4, ipv6,
        tcp::{self, ACK, RST, SYN},
    },
};

/// The kind that IPVS with full NAT uses (RFC 4727: experiments).
pub const USUAL_KIND: u8 = 254;
/// What the kind of a client's own option becomes: reserved (IANA).
const HIDDEN_KIND: u8 = 255;
/// Options are a byte or more each.
const MOST_OPTIONS: usize = tcp::MOST - tcp::HEADER;
/// Headers are moved up to here: Ethernet with two tags, IPv4 with all options or IPv6 with 24 bytes of extension headers, TCP.
const MOST_HEADERS: usize = 2 + 4 * MOST_WORDS;
const MOST_WORDS: usize = 27;

/// Whether an option may be of this kind: IANA has given it to nobody, or to experiments.
#[must_use]
pub const fn is_free_kind(kind: u8) -> bool {
    !matches!(kind, 0..=30 | 34 | 69 | 172 | 174 | HIDDEN_KIND)
}

/// Length of the option in bytes.
const fn length(family: Family) -> usize {
    match family {
        Family::V4 => 8,
        Family::V6 => 20,
    }
}

/// Whether packets of the flow that was noted concern this module, and what becomes of one with `flags`; see [`Opened`].
#[inline(always)]
pub(super) fn mark<E: Environment>(env: &E, opened: Opened, flags: u8, is_answered: bool) -> Opened {
    if !env.features().has(Features::TOA) || env.scratch().is_none_or(|flow| flow.toa() == 0) {
        return opened;
    }
    opened.with_toa(flags & (SYN | ACK | RST) == ACK && !is_answered)
}

/// Notes that a backend has taken the connection: it sent something else than SYN.
#[inline(always)]
pub(super) fn see_reply<E: Environment>(env: &E, record: &NatRecord, protocol: Protocol, flags: u8) {
    let is_answer = matches!(protocol, Protocol::Tcp) && flags & (SYN | RST) == 0;
    if env.features().has(Features::TOA) && is_answer {
        record.set_answered();
    }
}

/// Hides a client's own options in the packet that was noted, and puts ours into it if it is due. A packet that has no room for it
/// goes without and is counted.
///
/// # Errors
///
/// [`DropReason::Tables`] if the headers are not where they were found: a defect.
#[inline(always)]
pub fn tell<E: Environment, F: Frame>(
    env: &E,
    frame: &mut F,
    place: NatPlace,
    id: u32,
    opened: Opened,
) -> Result<Opened, Stop> {
    let mut packet = Parsed::new();
    read(frame, place, &mut packet)?;
    env.hide_options(frame, packet.transport as u32);
    if !opened.tells() {
        return Ok(opened);
    }
    let destination = env.destination(id).ok_or(DropReason::Tables)?;
    let way = Way::to(env, destination)?;
    let grows = length(packet.family);
    if !has_room(frame, &packet, grows, way.mtu)? || !frame.move_head(-(grows as i32)) {
        if let Some(counters) = env.node_counters() {
            counters.toa_omitted.add(1);
        }
        return Ok(opened);
    }
    if !env.move_headers(frame, packet.transport as u32, grows as u32) {
        return Err(DropReason::Tables.into());
    }
    let kind = env.scratch().ok_or(DropReason::Tables)?.toa();
    put(frame, &packet, kind).ok_or(DropReason::Tables)?;
    Ok(opened.grown(grows))
}

/// Hides the options of a client's that would be taken for ours, of the TCP header at `transport`.
#[inline(always)]
pub fn hide_options<E: Environment, F: Frame>(env: &E, frame: &F, transport: u32) {
    let mut at = tcp::HEADER as u32;
    for _ in 0..MOST_OPTIONS {
        at = env.hide_option(frame, transport, at);
        if at == 0 {
            return;
        }
    }
}

/// Hides the option at `at` of the TCP header at `transport` if it is of the kind that was noted. Returns where the next one is, 0 if
/// there is none.
#[inline(always)]
pub fn hide_option<E: Environment, F: Frame>(env: &E, frame: &F, transport: u32, at: u32) -> u32 {
    hide_at(env, frame, transport as usize, at as usize & 0xff).unwrap_or(0)
}

#[inline(always)]
fn hide_at<E: Environment, F: Frame>(env: &E, frame: &F, transport: usize, at: usize) -> Option<u32> {
    let header = frame.window::<{ tcp::HEADER }>(transport)?;
    let end = tcp::length(header);
    if at < tcp::HEADER || at >= end {
        return None;
    }
    // With the byte before it: the verifier does not follow the bound of a single byte.
    let kind = frame.window::<2>(transport + at - 1)?.u8(1);
    match kind {
        tcp::END_OF_OPTIONS => return None,
        tcp::NO_OPERATION => return Some(at as u32 + 1),
        _ => {}
    }
    let option = frame.window::<2>(transport + at)?;
    let length = option.u8(1) as usize;
    // As receivers do with what does not hold together.
    if length < 2 || at + length > end {
        return None;
    }
    if kind == env.scratch()?.toa() {
        option.set_u8(0, HIDDEN_KIND);
        let place = |kind: u8| if at & 1 == 0 { (kind as u16) << 8 } else { kind as u16 };
        let checksum = Sum::updated(header.be16(tcp::CHECKSUM), place(kind), place(HIDDEN_KIND));
        header.set_be16(tcp::CHECKSUM, checksum);
    }
    Some((at + length) as u32)
}

/// Whether a packet may grow by so many bytes of options: it is whole (of a fragment others know the length), its TCP header and its
/// way have room, and its headers can be moved.
#[inline(always)]
fn has_room<F: Frame>(frame: &F, packet: &Parsed, grows: usize, mtu: u32) -> Result<bool, DropReason> {
    let header = frame.window::<{ tcp::HEADER }>(packet.transport).ok_or(DropReason::Tables)?;
    Ok(matches!(packet.fragment, Fragment::Whole)
        && tcp::length(header) + grows <= tcp::MOST
        && (packet.end - packet.network + grows) as u32 <= mtu
        && packet.transport + tcp::HEADER <= MOST_HEADERS)
}

/// Moves the headers up to the TCP options, whose header is at `transport`, to the front of a frame that has grown by so many bytes;
/// `false` if they are not there.
#[inline(always)]
pub fn move_headers<F: Frame>(frame: &F, transport: u32, by: u32) -> bool {
    try_move_headers(frame, (transport & 0xffff) as usize, (by & 0xff) as usize).is_some()
}

#[inline(always)]
fn try_move_headers<F: Frame>(frame: &F, transport: usize, by: usize) -> Option<()> {
    // All headers are of whole words, but for the first two bytes.
    let start = frame.window::<2>(by)?.be16(0);
    // That the front is there follows from what was read, but not to the verifier.
    frame.window::<2>(opaque(0) as usize)?.set_be16(0, start);
    for index in 0..MOST_WORDS {
        let at = 2 + 4 * index;
        if at >= transport + tcp::HEADER {
            break;
        }
        let word = frame.window::<4>(opaque((at + by) as u64) as usize)?.word(0);
        frame.window::<4>(opaque(at as u64) as usize)?.set_word(0, word);
    }
    Some(())
}

/// Writes the option into the gap, and the lengths and checksums that it changes.
#[inline(always)]
fn put<F: Frame>(frame: &F, packet: &Parsed, kind: u8) -> Option<()> {
    const V4: usize = tcp::HEADER + length(Family::V4);
    const V6: usize = tcp::HEADER + length(Family::V6);
    let grows = length(packet.family) as u16;
    let first = (kind as u32) << 24 | (grows as u32) << 16 | first_port(packet.ports) as u32;
    // Of the pseudo-header and of the data offset.
    let offset = (grows / 4) << 12;
    let change = Sum::default().add_host_word(first).add(grows).add(offset);
    match packet.family {
        Family::V4 => {
            let header = frame.window::<{ ipv4::HEADER }>(packet.network)?;
            header.set_be16(2, header.be16(2).wrapping_add(grows));
            header.set_be16(10, Sum::default().add(!header.be16(10)).add(grows).finish());
            let segment = frame.window::<V4>(packet.transport)?;
            segment.set_be32(tcp::HEADER, first);
            segment.set_word(tcp::HEADER + 4, packet.source[0]);
            lengthen(segment, offset, change.add_word(packet.source[0]));
        }
        Family::V6 => {
            let header = frame.window::<{ ipv6::HEADER }>(packet.network)?;
            header.set_be16(4, header.be16(4).wrapping_add(grows));
            let segment = frame.window::<V6>(packet.transport)?;
            segment.set_be32(tcp::HEADER, first);
            for word in 0..4 {
                segment.set_word(tcp::HEADER + 4 + 4 * word, packet.source[word]);
            }
            lengthen(segment, offset, change.add_address(&packet.source));
        }
    }
    Some(())
}

#[inline(always)]
fn lengthen(segment: impl Window, offset: u16, change: Sum) {
    segment.set_be16(tcp::OFFSET, segment.be16(tcp::OFFSET).wrapping_add(offset));
    segment.set_be16(tcp::CHECKSUM, change.add(!segment.be16(tcp::CHECKSUM)).finish());
}
