//! Rare work as global functions: the verifier checks each once, for any argument, instead of once for every state that
//! a caller can be in. They take and return nothing but numbers and the context.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    flow::{FlowState, FlowWord, room},
    icmp::{self, Target},
    nat::{self, NatPlace, back::FoundSlot, forth::Opened},
    packet::{self, Rare},
    parse::Place,
    reply::Answer,
    service,
    verdict::{DropReason, Stop, Verdict},
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

/// In what [`nat_begin`] returns in place of an action: the packet is answered, with what the low half says.
pub(crate) const ANSWER: u64 = 1 << 33;

/// In what steps of translation return: the next step is due.
pub(crate) const OPENED: u64 = 1 << 36;

/// Notes a packet that is translated. Returns the XDP action, [`ANSWER`] or [`OPENED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_begin(context: *mut xdp_md, place: u32, id: u32) -> u64 {
    let frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::forth::begin(&env, &frame, NatPlace::from_bits(place), id) {
        Ok(()) => OPENED,
        Err(stop) => end(&env, stop, bytes),
    }
}

/// Sees to it that the flow of the packet that was noted has its slot. Returns the XDP action, or [`OPENED`] with what it has in the low half.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_open(context: *mut xdp_md) -> u64 {
    let frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::forth::open(&env) {
        Ok(opened) => OPENED | u64::from(opened.bits()),
        Err(stop) => end(&env, stop, bytes),
    }
}

/// What a step returns where the packet goes no further.
#[inline(always)]
fn end(env: &Maps, stop: Stop, bytes: u64) -> u64 {
    match packet::settle(Err(stop)) {
        Err(Rare::Answer(answer)) => ANSWER | u64::from(answer.bits()),
        Ok(outcome) => u64::from(finish(env, outcome, bytes)),
        Err(_) => u64::from(finish(env, Verdict::Drop(DropReason::Tables).into(), bytes)),
    }
}

/// Translates the packet and sends it to its destination. Returns the XDP action, or [`ANSWER`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_forth(context: *mut xdp_md, place: u32, id: u32, opened: u32) -> u64 {
    let mut frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let sent = nat::forth::send(&env, &mut frame, NatPlace::from_bits(place), id, Opened::from_bits(opened));
    match packet::settle(sent) {
        Ok(outcome) => u64::from(finish(&env, outcome, bytes)),
        Err(Rare::Answer(answer)) => ANSWER | u64::from(answer.bits()),
        Err(_) => u64::from(finish(&env, Verdict::Drop(DropReason::Tables).into(), bytes)),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_survey(bucket: u32, tag: u64) -> u32 {
    nat::table::survey(&MAPS, bucket, tag)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_is_reply(slot: u32) -> u32 {
    u32::from(nat::table::is_reply(&MAPS, slot))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_follow(state: u32) -> u32 {
    if let Some(state) = FlowState::from_bits(u64::from(state)) {
        nat::forth::follow(&MAPS, state);
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_base(id: u32, place: u32, kind: u32) -> u32 {
    nat::table::base_of(&MAPS, id, place, kind)
}

/// Notes a packet that may be a backend's reply. Returns the XDP action, or [`OPENED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_back_begin(context: *mut xdp_md, place: u32) -> u64 {
    let frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::back::begin(&env, &frame, NatPlace::from_bits(place)) {
        Ok(()) => OPENED,
        Err(stop) => end(&env, stop, bytes),
    }
}

/// Finds the slot of the reply that was noted. Returns the XDP action, or [`OPENED`] with the slot in the low half.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_back_find(context: *mut xdp_md) -> u64 {
    let frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::back::find(&env) {
        Ok(slot) => OPENED | u64::from(slot.bits()),
        Err(stop) => end(&env, stop, bytes),
    }
}

/// Translates the reply back and returns the XDP action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_back(context: *mut xdp_md, place: u32, slot: u32) -> u32 {
    let mut frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let sent =
        packet::settle(nat::back::send(&env, &mut frame, NatPlace::from_bits(place), FoundSlot::from_bits(slot)));
    finish(&env, sent.unwrap_or(Verdict::Drop(DropReason::Tables).into()), bytes)
}

/// In what [`icmp`] returns: the packet is to be sent on.
pub(crate) const SEND: u64 = 1 << 31;

/// The first half of the way of an ICMP packet. Returns the XDP action, or [`SEND`] with the destination's id in the bits below and
/// the flow's choice in those above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp(context: *mut xdp_md, place: u32) -> u64 {
    let mut frame = Context::new(context);
    match icmp::begin(&MAPS, &mut frame, Place::from_bits(place)) {
        // No answer is longer or shorter than its request, so the length is that of the packet that arrived.
        Ok(verdict) => u64::from(finish(&MAPS, verdict.into(), frame.length())),
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
    let target = target_of(target);
    let outcome = icmp::error::send(&env, &mut frame, Place::from_bits(place), target);
    finish(&env, outcome, bytes)
}

/// Whether it is due to be translated: 1, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_is_translated(target: u64) -> u32 {
    u32::from(icmp::is_translated(&MAPS, target_of(target)))
}

/// The same for a destination behind address translation: notes the packet. Returns the XDP action, or [`OPENED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_translate_begin(context: *mut xdp_md, place: u32, target: u64) -> u64 {
    let frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match icmp::error::begin_translation(&env, &frame, Place::from_bits(place), target_of(target).id) {
        Ok(()) => OPENED,
        Err(outcome) => u64::from(finish(&env, outcome, bytes)),
    }
}

/// Finds the flow of the packet that was noted. Returns the XDP action, or [`OPENED`] with the flow's source in the low half.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_translate_find(context: *mut xdp_md) -> u64 {
    let frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match icmp::error::find_translation(&env) {
        Ok(opened) => OPENED | u64::from(opened.bits()),
        Err(outcome) => u64::from(finish(&env, outcome, bytes)),
    }
}

/// Translates the packet and sends it on.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_translate(context: *mut xdp_md, place: u32, target: u64, opened: u32) -> u32 {
    let mut frame = Context::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let opened = Opened::from_bits(opened);
    let outcome = icmp::error::translate(&env, &mut frame, Place::from_bits(place), target_of(target).id, opened);
    finish(&env, outcome, bytes)
}

#[inline(always)]
const fn target_of(bits: u64) -> Target {
    Target { id: bits as u32 & !(SEND as u32), choice: (bits >> 32) as u32 }
}
