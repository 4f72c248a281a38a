//! The way of a packet: parse → service → flow (hit) or schedule (miss) → destination → rewrite → verdict.
//!
//! Most packets take a short cut through [`steady`].

use crate::{
    abi::{Destination, ON_NO_BACKEND_REJECT, Service, ServiceLimits},
    account::Outcome,
    environment::Environment,
    features::Features,
    flow::{self, FlowEntry, FlowState, FlowWord, Placement, table::is_expired},
    forward::{
        self, Content,
        target::{self, Target},
    },
    fragment,
    frame::Frame,
    hash::FlowHash,
    icmp,
    nat::{self, NatPlace, table::Round},
    parse::{Family, Fault, Parsed, Place, parse},
    passive::Sight,
    quic,
    reply::{self, Answer, Sender},
    schedule::{
        pick::{self, Chooser},
        slot,
    },
    service, steady,
    verdict::{DropReason, PassReason, Stop, Verdict},
    wire::{
        ip::{Protocol, is_martian_v4, is_martian_v6},
        tcp::{ACK, FIN, RST, SYN},
    },
};

/// Decides over a packet and rewrites it. The caller books it ([`crate::account::book`]).
#[inline(always)]
pub fn process<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F) -> Outcome<'a> {
    if let Some(outcome) = steady::forward(env, frame, |outcome| outcome) {
        return outcome;
    }
    let rare = match process_long(env, frame) {
        Ok(outcome) => return outcome,
        Err(rare) => rare,
    };
    let sender = if matches!(rare, Rare::Back(_)) { Sender::Noted } else { Sender::Receiver };
    let settled = match rare {
        Rare::Nat(place, id) => settle(translate(env, frame, place, id)),
        Rare::Back(place) => settle(translate_back(env, frame, place)),
        Rare::Icmp(place) => {
            let begun = icmp::begin(env, frame, place);
            onward(env, frame, place, begun)
        }
        Rare::Part(place) => {
            let begun = fragment::follow(env, frame);
            onward(env, frame, place, begun)
        }
        Rare::Answer(_) => Err(rare),
    };
    match settled {
        Ok(outcome) => outcome,
        Err(Rare::Answer(wanted)) => answer(env, frame, wanted, sender).into(),
        Err(_) => Verdict::Drop(DropReason::Tables).into(),
    }
}

/// What comes after the beginning of a rare packet's way.
#[inline(always)]
fn onward<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    place: Place,
    begun: Result<Verdict, Target>,
) -> Result<Outcome<'a>, Rare> {
    match begun {
        Ok(verdict) => Ok(verdict.into()),
        Err(target) if target.is_back() && place.is_part() => Ok(nat::part_back::send(env, frame, target.choice)),
        Err(target) if target.is_back() => Ok(nat::error_back::process(env, frame, place)),
        Err(target) if nat::is_translated(env, target.id) && place.is_part() => {
            Ok(nat::part::send(env, frame, target.id))
        }
        Err(target) if nat::is_translated(env, target.id) => Ok(nat::error::process(env, frame, place, target.id)),
        Err(target) => target::send(env, frame, place, target).map_err(Rare::Answer),
    }
}

#[inline(always)]
fn translate<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    place: NatPlace,
    id: u32,
) -> Result<Outcome<'a>, Stop> {
    nat::forth::begin(env, frame, place, id)?;
    let mut opened = None;
    for round in Round::ALL {
        if opened.is_none() && !(place.is_reset() && round == Round::CLAIM) {
            opened = nat::forth::open(env, round)?;
        }
    }
    if place.is_reset() {
        return Err(Stop::Reject);
    }
    let opened = opened.ok_or(DropReason::Tables)?;
    if opened.is_closing() {
        nat::forth::follow(env, FlowState::Closing);
    }
    let opened = if opened.has_toa() { nat::toa::tell(env, frame, place, id, opened)? } else { opened };
    nat::forth::send(env, frame, place, id, opened)
}

#[inline(always)]
fn translate_back<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    place: NatPlace,
) -> Result<Outcome<'a>, Stop> {
    nat::back::begin(env, frame, place)?;
    let slot = nat::back::find(env)?;
    if let Some(state) = slot.due() {
        nat::forth::follow(env, state);
    }
    if let Some(note) = slot.first_part() {
        env.note_fragment(frame, note);
    }
    nat::back::send(env, frame, place, slot)
}

/// Work that is rare enough to stand apart from the way of other packets.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
pub enum Rare {
    /// The packet is to be answered with one of the node's own: [`answer`].
    Answer(Answer),
    /// It is translated on its way to this destination: [`nat::forth`].
    Nat(NatPlace, u32),
    /// It may be a reply to translate back: [`nat::back`].
    Back(NatPlace),
    /// It is ICMP: [`icmp::begin`].
    Icmp(Place),
    /// It is a later part of a datagram: [`fragment::follow`].
    Part(Place),
}

/// The long way.
///
/// # Errors
///
/// What the packet needs is [`Rare`].
#[inline(always)]
pub fn process_long<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F) -> Result<Outcome<'a>, Rare> {
    settle(decide(env, frame))
}

/// What the end of a packet's way comes to.
///
/// # Errors
///
/// What the packet needs is [`Rare`].
#[inline(always)]
pub fn settle(outcome: Result<Outcome<'_>, Stop>) -> Result<Outcome<'_>, Rare> {
    match outcome {
        Ok(outcome) => Ok(outcome),
        Err(Stop::Pass(reason)) => Ok(Verdict::Pass(reason).into()),
        Err(Stop::Drop(reason)) => Ok(Verdict::Drop(reason).into()),
        Err(Stop::Reject) => Err(Rare::Answer(Answer::Refusal)),
        Err(Stop::TooBig(mtu)) => Err(Rare::Answer(Answer::TooBig(mtu))),
        Err(Stop::Expired) => Err(Rare::Answer(Answer::Expired)),
        Err(Stop::Nat(place, id)) => Err(Rare::Nat(place, id)),
        Err(Stop::Back(place)) => Err(Rare::Back(place)),
        Err(Stop::Icmp(place)) => Err(Rare::Icmp(place)),
        Err(Stop::Part(place)) => Err(Rare::Part(place)),
    }
}

/// Turns a packet into its answer, and says what becomes of it.
#[inline(always)]
pub fn answer<E: Environment, F: Frame>(env: &E, frame: &mut F, answer: Answer, sender: Sender) -> Verdict {
    match reply::make(env, frame, answer, sender) {
        Ok(()) => Verdict::Transmit,
        Err(reason) => Verdict::Drop(reason),
    }
}

#[inline(always)]
fn decide<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F) -> Result<Outcome<'a>, Stop> {
    let mut packet = Parsed::new();
    parse(env.features(), frame, &mut packet).map_err(|fault| judge(env, fault, &packet))?;
    let Some((index, service)) = service::find(env, &packet) else {
        if fragment::may_be_part(frame, &packet) {
            env.note_fragment(frame, fragment::HOST);
        }
        return Err(not_served(env, &packet));
    };
    accept(&packet)?;
    if env.features().has(Features::PREFIX_LISTS) && env.limits(index).is_some_and(ServiceLimits::has_list) {
        pick::note(env, Chooser::of(&packet, 0));
        if env.is_denied(index) {
            return Err(DropReason::Denied.into());
        }
    }
    if has_quic(env, service) {
        let configuration = env.read_quic(frame, NatPlace::of(&packet), index);
        if configuration != quic::route::NONE {
            env.decode_quic(configuration, index);
            env.follow_quic(frame, NatPlace::of(&packet));
        }
    }
    let hash = FlowHash::of(env, &packet);
    let mut nat_place = NatPlace::of(&packet);
    let chosen = match known(env, index, service, &packet, hash) {
        Known::Flow(id, destination) => {
            nat_place = nat_place.known();
            Some((id, destination))
        }
        // The slot of a translated flow closes with it.
        Known::Reset(id, true) => return Err(Stop::Nat(nat_place.known().reset(), id)),
        Known::Reset(_, false) => return Err(Stop::Reject),
        Known::Not(stale) => admit(env, frame, (index, service), &packet, hash, stale)?,
    };
    let Some((id, destination)) = chosen else {
        return Err(no_backend(service));
    };
    if env.features().has(Features::NAT) && destination.state().mode.is_nat() {
        if fragment::may_be_part(frame, &packet) {
            env.note_fragment(frame, id);
        }
        return Err(Stop::Nat(nat_place, id));
    }
    let noted = if fragment::may_be_part(frame, &packet) { env.note_fragment(frame, id) } else { None };
    let choice = noted.unwrap_or(forward::choice(hash));
    let verdict = forward::send(env, (id, destination), &packet, choice, Content::Transport, frame)?;
    let counters = env.destination_counters(id).ok_or(DropReason::Tables)?;
    Ok(Outcome { verdict, destination: Some(counters) })
}

/// Whether connection ids say where packets of a service go.
#[inline(always)]
fn has_quic<E: Environment>(env: &E, service: &Service) -> bool {
    env.features().has(Features::QUIC) && service.quic() != 0
}

/// What is for no service may be the reply of a backend.
#[inline(always)]
fn not_served<E: Environment>(env: &E, packet: &Parsed) -> Stop {
    let may_be_reply =
        env.features().has(Features::NAT) && env.may_be_backend(service::filter::place(packet.family, &packet.source));
    if may_be_reply && !packet.to_group { Stop::Back(NatPlace::of(packet)) } else { PassReason::NotServed.into() }
}

/// What cannot be balanced is the host's, unless it is for a VIP.
#[inline(always)]
fn judge<E: Environment>(env: &E, fault: Fault, packet: &Parsed) -> Stop {
    match fault {
        Fault::Pass(reason) => reason.into(),
        Fault::Icmp => Stop::Icmp(Place::of(packet)),
        Fault::Part => Stop::Part(Place::of(packet)),
        Fault::ForVip(reason) => {
            if service::is_vip_apart(env, packet.family, &packet.destination, None) {
                reason.into()
            } else {
                PassReason::NotParsed.into()
            }
        }
    }
}

/// What no packet for a service may be, whether its flow is known or not.
#[inline(always)]
pub(crate) fn accept(packet: &Parsed) -> Result<(), DropReason> {
    if packet.hop_limit == 0 {
        return Err(DropReason::Ttl);
    }
    if packet.to_group { Err(DropReason::Martian) } else { Ok(()) }
}

/// What the flow table says.
enum Known<'a> {
    /// The flow goes on to this destination.
    Flow(u32, &'a Destination),
    /// The flow is reset, and was going to this destination, translated or not.
    Reset(u32, bool),
    /// It is new, and this entry (of its own that no longer counts) is its to overwrite.
    Not(Option<&'a FlowEntry>),
}

/// Looks the flow up and refreshes its entry.
#[inline(always)]
fn known<'a, E: Environment>(
    env: &'a E,
    service_index: u32,
    service: &Service,
    packet: &Parsed,
    hash: FlowHash,
) -> Known<'a> {
    let Some((entry, word)) = flow::find(env, hash) else { return Known::Not(None) };
    let stale = Known::Not(Some(entry));
    let (Some(state), Some(destination)) = (word.state(), env.destination(word.destination())) else {
        return stale;
    };
    let at = destination.state();
    let now = env.now();
    // The service is compared as well: two flows with one tag are possible, if only once in 2^64.
    if at.generation != word.generation() || at.service != service_index {
        return stale;
    }
    let resets = !at.keeps_flows && at.resets_flows && matches!(packet.protocol, Protocol::Tcp);
    if !at.keeps_flows && !resets {
        return stale;
    }
    if is_expired(word, now, service.timeout(state)) {
        return stale;
    }
    if is_opening(packet) && !trusts(state, at.takes_flows) {
        return stale;
    }
    // Where both sides are seen, one FIN is not the end: `nat` says when the flow is over.
    let both_seen = env.features().has(Features::NAT) && at.mode.is_nat();
    let flags = if both_seen { packet.tcp_flags & !FIN } else { packet.tcp_flags };
    // The entry of a flow that is reset stays until it times out as a closing one, so that packets which were under way, and
    // what a client asks that takes no reset unless its number is exact (RFC 5961, section 3.2), meet the same answer.
    let next = state.after(if resets { RST } else { flags });
    let refreshed = word.refreshed(next, now);
    // At most one store for each tick keeps the line clean in other CPUs' caches.
    if refreshed != word {
        entry.refresh(refreshed);
        if env.features().has(Features::PASSIVE_HEALTH) {
            env.saw(word.destination(), Sight::of(state, next, packet.tcp_flags));
        } else if state.is_active() && !next.is_active() {
            env.closed(word.destination());
        }
    }
    // The client's own reset goes on: the backend may not know yet.
    if resets && packet.tcp_flags & RST == 0 {
        return Known::Reset(word.destination(), both_seen);
    }
    Known::Flow(word.destination(), destination)
}

/// A client opens a connection with this packet.
#[inline(always)]
const fn is_opening(packet: &Parsed) -> bool {
    packet.tcp_flags & (SYN | ACK | RST) == SYN
}

/// Whether a SYN may follow an entry. A repeated SYN of a flow in setup does. In an established flow it is an old
/// duplicate, a forgery or a client that lost its state; the backend tells which (RFC 5961, section 4). After FIN or RST
/// it is a new connection. It never follows to a destination that takes no new flows: with direct server return nobody
/// tells us that a backend refused a connection, so the entry in setup may be of an earlier one with the same ports, and
/// a client whose first SYN was not answered loses nothing by another backend.
#[inline(always)]
const fn trusts(state: FlowState, takes_flows: bool) -> bool {
    takes_flows && !matches!(state, FlowState::Closing)
}

/// Gives a new flow its destination, the one that its connection id named or one by its hash, and an entry; `None` if the service has
/// no backend.
#[inline(always)]
fn admit<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &F,
    (service_index, service): (u32, &Service),
    packet: &Parsed,
    hash: FlowHash,
    stale: Option<&FlowEntry>,
) -> Result<Option<(u32, &'a Destination)>, Stop> {
    if is_martian(env, packet) {
        return Err(DropReason::Martian.into());
    }
    let by_addresses = env.features().has(Features::FRAGMENTS_BY_HASH) && service.hashes_fragments();
    let index = if by_addresses { env.spread_by_addresses(frame) } else { hash.index };
    let picked = if env.features().picks_apart() {
        // Apart for all services: the verifier follows one way here and not several.
        match env.place(service_index, Chooser::of(packet, index)) {
            Some(pick::RESET) => return Err(Stop::Reject),
            Some(id) if id >> 30 == 1 => return Err(DropReason::from_number(id & !pick::DROP).into()),
            picked => picked,
        }
    } else {
        slot::pick(env, service, FlowHash { index, ..hash })?
    };
    let Some(mut id) = picked else { return Ok(None) };
    let forgets = env.features().has(Features::LIMITS) && id >> 29 == 1;
    if forgets {
        id &= !pick::FORGET;
    }
    if !forgets && let Some(state) = FlowState::of_first(packet.protocol, packet.tcp_flags) {
        let generation = env.destination(id).ok_or(DropReason::Tables)?.state().generation;
        let word = FlowWord::new(id, generation, state, env.now());
        let placement = remember(env, hash, stale, word);
        if env.features().tells_beginnings() {
            id = env.begun(service_index, id, placement, state);
        }
        let counters = env.destination_counters(id).ok_or(DropReason::Tables)?;
        counters.flows_new.add(1);
    }
    let destination = env.destination(id).ok_or(DropReason::Tables)?;
    Ok(Some((id, destination)))
}

#[inline(always)]
fn remember<E: Environment>(env: &E, hash: FlowHash, stale: Option<&FlowEntry>, word: FlowWord) -> Placement {
    let placement = match stale {
        Some(entry) => {
            entry.store(hash.tag, word);
            Placement::Free
        }
        None => flow::insert(env, hash, word),
    };
    let Some(counters) = env.node_counters() else { return placement };
    match placement {
        Placement::Free => {}
        Placement::Displaced => counters.flows_displaced.add(1),
        Placement::Evicted => counters.flows_evicted.add(1),
        Placement::Untracked => {
            counters.flows_untracked.add(1);
            return placement;
        }
    }
    counters.flows_created.add(1);
    placement
}

/// Sources that must not be, and our own VIPs. Asked for new flows only: the entry of a known flow proves
/// that it was asked before.
#[inline(always)]
fn is_martian<E: Environment>(env: &E, packet: &Parsed) -> bool {
    is_martian_by_itself(packet) || service::is_vip(env, packet.family, &packet.source, None)
}

/// Sources that nobody has (RFC 1812, section 5.3.7).
#[inline(always)]
pub(crate) fn is_martian_by_itself(packet: &Parsed) -> bool {
    match packet.family {
        Family::V4 => is_martian_v4(packet.source[0]),
        Family::V6 => is_martian_v6(&packet.source),
    }
}

/// What the service says about new flows that nobody can take.
#[inline(always)]
fn no_backend(service: &Service) -> Stop {
    match service.on_no_backend() {
        ON_NO_BACKEND_REJECT => Stop::Reject,
        _ => DropReason::NoBackend.into(),
    }
}
