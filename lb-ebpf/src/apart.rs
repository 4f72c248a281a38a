//! Rare work as global functions: the verifier checks each once, for any argument, instead of once for every state that
//! a caller can be in. They take and return nothing but numbers and the context.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    flow::{FlowWord, room},
    forward::target::{self, Target},
    fragment, icmp, packet,
    parse::Place,
    reply::Answer,
    service,
    verdict::Verdict,
};

use crate::{
    context::{Context, Maps},
    finish::finish,
};

/// Where packets do not matter.
const MAPS: Maps = Maps::without_packet();

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn make_room(tag: u64, first: u32, second: u32, word: u64) -> u32 {
    room::make(&MAPS, tag, first, second, FlowWord::from_bits(word)) as u32
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn displace(index: u32, tag: u64, word: u64) -> u32 {
    room::displace(&MAPS, index, tag, FlowWord::from_bits(word)).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_by_key(ab: u64, cd: u64, rest: u64) -> u32 {
    service::by_key(&MAPS, [ab, cd, rest])
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_by_shape(ab: u64, cd: u64, rest: u64) -> u32 {
    service::by_shape(&MAPS, [ab, cd, rest])
}

/// Answers a packet and returns the XDP action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn answer(context: *mut xdp_md, answer: u32) -> u32 {
    let mut frame = Context::new(context);
    let bytes = frame.length();
    let verdict = packet::answer(&MAPS, &mut frame, Answer::from_bits(answer));
    finish(&MAPS, verdict.into(), bytes)
}

/// In what [`note_fragment`] returns: there was something to note.
pub(crate) const NOTED: u64 = 1 << 32;

/// Notes where the first part of a datagram goes; see [`fragment::note`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn note_fragment(context: *mut xdp_md, id: u32) -> u64 {
    fragment::note(&MAPS, &Context::new(context), id).map_or(0, |choice| NOTED | u64::from(choice))
}

/// See [`fragment::spread`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn spread_by_addresses(context: *mut xdp_md) -> u64 {
    fragment::spread(&MAPS, &Context::new(context))
}

/// In what a beginning returns: the packet goes on to a destination, whose id is in the bits below and the choice of its flow in
/// those above.
pub(crate) const SEND: u64 = 1 << 31;

/// The beginning of an ICMP packet's way. Returns the XDP action, or [`SEND`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp(context: *mut xdp_md, place: u32) -> u64 {
    let mut frame = Context::new(context);
    let bytes = frame.length();
    let begun = icmp::begin(&MAPS, &mut frame, Place::from_bits(place));
    end_or_send(begun, bytes)
}

/// The beginning of a later fragment's way. Returns the XDP action, or [`SEND`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn follow_fragment(context: *mut xdp_md) -> u64 {
    let frame = Context::new(context);
    let bytes = frame.length();
    let begun = fragment::follow(&MAPS, &frame);
    end_or_send(begun, bytes)
}

#[inline(always)]
fn end_or_send(begun: Result<Verdict, Target>, bytes: u64) -> u64 {
    match begun {
        Ok(verdict) => u64::from(finish(&MAPS, verdict.into(), bytes)),
        Err(Target { id, choice }) => SEND | u64::from(id) | u64::from(choice) << 32,
    }
}

/// In what [`send`] returns: the packet is to be answered, with the answer's bits below.
pub(crate) const ANSWER: u32 = 1 << 31;

/// Sends a packet on to where its beginning said. Returns the XDP action, or [`ANSWER`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn send(context: *mut xdp_md, place: u32, target: u64) -> u32 {
    let mut frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let target = Target { id: target as u32 & !(SEND as u32), choice: (target >> 32) as u32 };
    match target::send(&env, &mut frame, Place::from_bits(place), target) {
        Ok(outcome) => finish(&env, outcome, bytes),
        Err(answer) => ANSWER | answer.bits(),
    }
}
