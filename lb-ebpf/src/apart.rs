//! Rare work as global functions: the verifier checks each once, for any argument, instead of once for every state that
//! a caller can be in. They take and return nothing but numbers and the context.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    abi::SlotRange,
    flow::{FlowState, FlowWord, Placement, room},
    forward::target::{self, Target},
    fragment, icmp, limits,
    nat::{self, NatPlace, back::FoundSlot, forth::Opened, table::Round},
    packet::{self, Rare},
    parse::Place,
    passive::{self, Sight},
    quic,
    reply::{Answer, Sender},
    schedule::{affinity, least, pick},
    service,
    verdict::{DropReason, Stop, Verdict},
    wire::ethernet,
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

/// See [`ethernet::set_tag`]. 1 if there was room.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn set_tag(context: *mut xdp_md, payload: u32, vlan: u32) -> u32 {
    u32::from(ethernet::set_tag(&mut Context::<true>::new(context), payload as usize, vlan as u16))
}

/// See [`room::cheapest`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn cheapest(index: u32) -> u64 {
    room::cheapest(&MAPS, index)
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

/// Answers a packet, `of_reply` one of a backend to translate back. Returns the XDP action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn answer(context: *mut xdp_md, answer: u32, of_reply: u32) -> u32 {
    let mut frame = Context::<true>::new(context);
    let bytes = frame.length();
    let sender = if of_reply == 0 { Sender::Receiver } else { Sender::Noted };
    let verdict = packet::answer(&MAPS, &mut frame, Answer::from_bits(answer), sender);
    finish(&MAPS, verdict.into(), bytes)
}

/// In what [`nat_begin`] returns in place of an action: the packet is answered, with what the low half says.
pub(crate) const NAT_ANSWER: u64 = 1 << 33;

/// In what steps of translation return: the next step is due.
pub(crate) const OPENED: u64 = 1 << 36;

/// Notes a packet that is translated. Returns the XDP action, [`NAT_ANSWER`] or [`OPENED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_begin(context: *mut xdp_md, place: u32, id: u32) -> u64 {
    let frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::forth::begin(&env, &frame, NatPlace::from_bits(place), id) {
        Ok(()) => OPENED,
        Err(stop) => end(&env, stop, bytes),
    }
}

/// In what [`nat_open`] returns: the next round may.
pub(crate) const NEXT: u64 = 1 << 38;

/// Sees to it that the flow of the packet that was noted has its slot. Returns the XDP action, [`OPENED`] with what it has in the low
/// half, or [`NEXT`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_open(context: *mut xdp_md, round: u32) -> u64 {
    let frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::forth::open(&env, Round::from_bits(round)) {
        Ok(Some(opened)) => OPENED | u64::from(opened.bits()),
        Ok(None) => NEXT,
        Err(stop) => end(&env, stop, bytes),
    }
}

/// What a step returns where the packet goes no further.
#[inline(always)]
fn end(env: &Maps, stop: Stop, bytes: u64) -> u64 {
    match packet::settle(Err(stop)) {
        Err(Rare::Answer(answer)) => NAT_ANSWER | u64::from(answer.bits()),
        Ok(outcome) => u64::from(finish(env, outcome, bytes)),
        Err(_) => u64::from(finish(env, Verdict::Drop(DropReason::Tables).into(), bytes)),
    }
}

/// Tells the backend its client, in the packet that was noted. Returns the XDP action, or [`OPENED`] with what became of the packet in the
/// low half.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_tell(context: *mut xdp_md, place: u32, id: u32, opened: u32) -> u64 {
    let mut frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::toa::tell(&env, &mut frame, NatPlace::from_bits(place), id, Opened::from_bits(opened)) {
        Ok(opened) => OPENED | u64::from(opened.bits()),
        Err(stop) => end(&env, stop, bytes),
    }
}

/// See [`nat::toa::hide_options`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn hide_options(context: *mut xdp_md, transport: u32) -> u32 {
    let frame = Context::<true>::new(context);
    nat::toa::hide_options(&Maps::of(&frame), &frame, transport);
    0
}

/// See [`nat::toa::move_headers`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn move_headers(context: *mut xdp_md, transport: u32, by: u32) -> u32 {
    nat::toa::move_headers(&Context::<true>::new(context), transport, by).into()
}

/// See [`nat::toa::hide_option`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn hide_option(context: *mut xdp_md, transport: u32, at: u32) -> u32 {
    nat::toa::hide_option(&MAPS, &Context::<true>::new(context), transport, at)
}

/// Translates the packet and sends it to its destination. Returns the XDP action, or [`NAT_ANSWER`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_forth(context: *mut xdp_md, place: u32, id: u32, opened: u32) -> u64 {
    let mut frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let opened = Opened::from_bits(opened);
    let bytes = frame.length() - u64::from(opened.growth());
    let sent = nat::forth::send(&env, &mut frame, NatPlace::from_bits(place), id, opened);
    match packet::settle(sent) {
        Ok(outcome) => u64::from(finish(&env, outcome, bytes)),
        Err(Rare::Answer(answer)) => NAT_ANSWER | u64::from(answer.bits()),
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
pub(crate) extern "C" fn is_backend(service: u32) -> u32 {
    u32::from(nat::hairpin::is_backend(&MAPS, service))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_is_reply(slot: u32) -> u32 {
    u32::from(nat::table::is_reply(&MAPS, slot))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_judge(slot: u32) -> u32 {
    nat::table::judge(&MAPS, slot)
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
pub(crate) extern "C" fn nat_turn(turn: u32, claims: u32) -> u64 {
    nat::table::turn(&MAPS, turn, claims != 0)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_candidate(turn: u32) -> u64 {
    nat::candidate::candidate(&MAPS, turn)
}

/// Notes a packet that may be a backend's reply. Returns the XDP action, or [`OPENED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_back_begin(context: *mut xdp_md, place: u32) -> u64 {
    let frame = Context::<true>::new(context);
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
    let frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::back::find(&env) {
        Ok(slot) => OPENED | u64::from(slot.bits()),
        Err(stop) => end(&env, stop, bytes),
    }
}

/// Translates the reply back. Returns the XDP action, or [`NAT_ANSWER`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_back(context: *mut xdp_md, place: u32, slot: u32) -> u64 {
    let mut frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::back::send(&env, &mut frame, NatPlace::from_bits(place), FoundSlot::from_bits(slot)) {
        Ok(outcome) => u64::from(finish(&env, outcome, bytes)),
        Err(stop) => end(&env, stop, bytes),
    }
}

/// In what [`note_fragment`] returns: there was something to note.
pub(crate) const NOTED: u64 = 1 << 32;

/// Notes where the first part of a datagram goes; see [`fragment::note`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn note_fragment(context: *mut xdp_md, id: u32) -> u64 {
    fragment::note(&MAPS, &Context::<true>::new(context), id).map_or(0, |choice| NOTED | u64::from(choice))
}

/// See [`fragment::word`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fragment_word(id: u32) -> u64 {
    fragment::word(&MAPS, id)
}

/// See [`fragment::spread`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn spread_by_addresses(context: *mut xdp_md) -> u64 {
    fragment::spread(&MAPS, &Context::<true>::new(context))
}

/// See [`quic::route::read`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn read_quic(context: *mut xdp_md, place: u32, service: u32) -> u32 {
    quic::route::read(&MAPS, &Context::<true>::new(context), NatPlace::from_bits(place), service)
}

/// See [`quic::route::decode`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn decode_quic(configuration: u32, service: u32) -> u32 {
    quic::route::decode(&MAPS, configuration, service);
    0
}

/// See [`pick::pick`]; all ones: none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pick(service: u32) -> u32 {
    pick::pick(&MAPS, service).unwrap_or(u32::MAX)
}

/// See [`least::pick`]; all ones: none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn least(offset: u32, size: u32) -> u32 {
    least::pick(&MAPS, SlotRange { offset, size }).unwrap_or(u32::MAX)
}

/// See [`affinity::find`]; all ones: none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_affinity(service: u32) -> u32 {
    affinity::find(&MAPS, service).unwrap_or(u32::MAX)
}

/// See [`affinity::note`]. 1 if something was noted.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn note_affinity(service: u32, id: u32) -> u32 {
    u32::from(affinity::note(&MAPS, service, id).is_some())
}

/// See [`limits::place`]; all ones: none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn place(service: u32) -> u32 {
    limits::place(&MAPS, service).unwrap_or(u32::MAX)
}

/// See [`limits::list::is_denied`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn is_denied(service: u32) -> u32 {
    u32::from(limits::list::is_denied(&MAPS, service))
}

/// See [`limits::decide`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn limit(service: u32) -> u32 {
    limits::decide(&MAPS, service)
}

/// See [`limits::room::find`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_room(service: u32) -> u32 {
    limits::room::find(&MAPS, service)
}

/// See [`pick::begun`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn begun(service: u32, id: u32, placement: u32, state: u32) -> u32 {
    let state = FlowState::from_bits(u64::from(state)).unwrap_or(FlowState::Closing);
    pick::begun(&MAPS, service, id, Placement::from_bits(placement), state)
}

/// See [`pick::closed`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn closed(id: u32) -> u32 {
    pick::closed(&MAPS, id);
    0
}

/// See [`passive::saw`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn saw(id: u32, sight: u32) -> u32 {
    passive::saw(&MAPS, id, Sight::from_bits(sight));
    0
}

/// See [`quic::route::follow`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn follow_quic(context: *mut xdp_md, place: u32) -> u32 {
    quic::route::follow(&MAPS, &Context::<true>::new(context), NatPlace::from_bits(place));
    0
}

/// In what a beginning returns: the packet goes on to a destination, whose id is in the bits below and the choice of its flow in
/// those above.
pub(crate) const SEND: u64 = 1 << 31;

/// The beginning of an ICMP packet's way. Returns the XDP action, or [`SEND`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp(context: *mut xdp_md, place: u32) -> u64 {
    let mut frame = Context::<false>::new(context);
    let bytes = frame.length();
    let begun = icmp::begin(&MAPS, &mut frame, Place::from_bits(place));
    end_or_send(begun, bytes)
}

/// The beginning of a later fragment's way. Returns the XDP action, or [`SEND`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn follow_fragment(context: *mut xdp_md) -> u64 {
    let frame = Context::<false>::new(context);
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
    let mut frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match target::send(&env, &mut frame, Place::from_bits(place), target_of(target)) {
        Ok(outcome) => finish(&env, outcome, bytes),
        Err(answer) => ANSWER | answer.bits(),
    }
}

/// Whether packets to a target are translated: 1, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn is_translated(target: u64) -> u32 {
    u32::from(nat::is_translated(&MAPS, target_of(target).id))
}

/// Notes the packet that an ICMP error for a translated flow is about. Returns the XDP action, or [`OPENED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_quote(context: *mut xdp_md, place: u32, is_back: u32) -> u64 {
    let frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let mut quoted = nat::error::quote(&env, &frame, Place::from_bits(place));
    if is_back != 0 {
        quoted = nat::error_back::of_host(quoted);
    }
    match quoted {
        Ok(()) => OPENED,
        Err(stop) => u64::from(finish(&env, nat::error::settle(Err(stop)), bytes)),
    }
}

/// Notes where the flow has its slot. Returns the XDP action, or [`OPENED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_translate_begin(context: *mut xdp_md, target: u64) -> u64 {
    let frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::error::begin(&env, target_of(target).id) {
        Ok(()) => OPENED,
        Err(stop) => u64::from(finish(&env, nat::error::settle(Err(stop)), bytes)),
    }
}

/// Finds the flow of the packet that was noted. Returns the XDP action, or [`OPENED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_translate_find(context: *mut xdp_md) -> u64 {
    let frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::error::find(&env) {
        Ok(()) => OPENED,
        Err(stop) => u64::from(finish(&env, nat::error::settle(Err(stop)), bytes)),
    }
}

/// Whether a packet goes back to the client of a translated flow.
#[inline(always)]
pub(crate) const fn is_back(target: u64) -> bool {
    target_of(target).is_back()
}

/// Notes where the flow of an ICMP error for a client has its slot.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_back_begin() -> u32 {
    nat::error_back::begin(&MAPS);
    0
}

/// Finds the flow of the packet that was noted. Returns the XDP action, or [`OPENED`] with its slot in the low half.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_back_find(context: *mut xdp_md) -> u64 {
    let frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::error_back::find(&env) {
        Ok(slot) => OPENED | u64::from(slot.bits()),
        Err(stop) => u64::from(finish(&env, nat::error::settle(Err(stop)), bytes)),
    }
}

/// Sends an ICMP error to the client. Returns the XDP action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_back(context: *mut xdp_md, place: u32, slot: u32) -> u32 {
    let frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let sent = nat::error_back::send(&env, &frame, Place::from_bits(place), FoundSlot::from_bits(slot));
    finish(&env, nat::error::settle(sent), bytes)
}

/// Sends a later fragment of a reply on. Returns the XDP action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_part_back(context: *mut xdp_md, target: u64) -> u32 {
    let mut frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let outcome = nat::part_back::send(&env, &mut frame, target_of(target).choice);
    finish(&env, outcome, bytes)
}

/// Sends a later fragment of a translated flow on. Returns the XDP action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_part(context: *mut xdp_md, target: u64) -> u32 {
    let mut frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let outcome = nat::part::send(&env, &mut frame, target_of(target).id);
    finish(&env, outcome, bytes)
}

/// Translates an ICMP error as was noted. Returns the XDP action, or [`OPENED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_rewrite(context: *mut xdp_md, place: u32) -> u64 {
    let frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    match nat::error::rewrite(&env, &frame, Place::from_bits(place)) {
        Ok(()) => OPENED,
        Err(stop) => u64::from(finish(&env, nat::error::settle(Err(stop)), bytes)),
    }
}

/// Sends an ICMP error to the backend. Returns the XDP action.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn icmp_translate(context: *mut xdp_md, target: u64) -> u32 {
    let mut frame = Context::<true>::new(context);
    let env = Maps::of(&frame);
    let bytes = frame.length();
    let sent = nat::error::send(&env, &mut frame, target_of(target).id);
    finish(&env, nat::error::settle(sent), bytes)
}

#[inline(always)]
const fn target_of(bits: u64) -> Target {
    Target { id: bits as u32 & !(SEND as u32), choice: (bits >> 32) as u32 }
}
