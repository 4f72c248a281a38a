//! Rare work as global functions: the verifier checks each once, for any argument, instead of once for every state that
//! a caller can be in. They take and return nothing but numbers and the context.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    flow::{FlowWord, room},
    icmp::{self, Target},
    packet,
    parse::Place,
    reply::Answer,
    service,
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

/// In what [`icmp`] returns: the packet is to be sent on.
pub(crate) const SEND: u64 = 1 << 31;

/// The first half of the way of an ICMP packet. Returns the XDP action, or [`SEND`] with the destination's id in the bits below and
/// the flow's choice in those above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp(context: *mut xdp_md, place: u32) -> u64 {
    let mut frame = Context::new(context);
    let bytes = frame.length();
    match icmp::begin(&MAPS, &mut frame, Place::from_bits(place)) {
        Ok(verdict) => u64::from(finish(&MAPS, verdict.into(), bytes)),
        Err(Target { id, choice }) => SEND | u64::from(id) | u64::from(choice) << 32,
    }
}

/// The second half: sends the packet on and returns the XDP action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_send(context: *mut xdp_md, place: u32, target: u64) -> u32 {
    let mut frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let target = Target { id: target as u32 & !(SEND as u32), choice: (target >> 32) as u32 };
    let outcome = icmp::error::send(&env, &mut frame, Place::from_bits(place), target);
    finish(&env, outcome, bytes)
}
