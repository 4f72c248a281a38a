//! Rare work as global functions: the verifier checks each once, for any argument, instead of once for every state that
//! a caller can be in. They take and return nothing but numbers and the context.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    flow::{FlowWord, room},
    icmp, packet,
    parse::Place,
    reply::Answer,
    service::{self, Key},
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
pub(crate) extern "C" fn find_by_shape(ab: u64, cd: u64, rest: u64) -> u32 {
    service::by_shape(&MAPS, &Key::unpack([ab, cd, rest]))
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

/// Decides over an ICMP packet and returns the XDP action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp(context: *mut xdp_md, place: u32) -> u32 {
    let mut frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let outcome = icmp::process(&env, &mut frame, Place::from_bits(place));
    finish(&env, outcome, bytes)
}
