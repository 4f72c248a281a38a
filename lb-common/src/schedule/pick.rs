//! The choice of a destination, by the service's scheduler.

use super::{least, slot, source, turn, two_choices};
use crate::{
    abi::{Pick, Scheduling, Service, SlotRange},
    environment::Environment,
    features::Features,
    flow::{FlowState, Placement},
    hash::FlowHash,
    parse::Parsed,
    passive, quic,
    wire::tcp::{ACK, RST, SYN},
};

/// What a choice goes by: numbers only, so that it can be made apart from everything else.
#[derive(Clone, Copy, Debug)]
pub struct Chooser {
    /// The flow's [`FlowHash::index`].
    pub index: u64,
    /// The client's address as in memory: its first two words, and the others.
    pub source: [u64; 2],
    /// The flags of a TCP segment; above them 1 for a datagram.
    pub kind: u32,
}

/// In the place of a destination: the packet is refused.
pub const RESET: u32 = u32::MAX - 2;
/// In the place of a destination: the packet is dropped, with the reason in the bits below.
pub const DROP: u32 = 1 << 30;
/// Beside a destination: the flow is not remembered.
pub const FORGET: u32 = 1 << 29;
/// In the place of a destination: one that is not there, and that is counted.
const NOWHERE: u32 = u32::MAX - 1;

const DATAGRAM: u32 = 1 << 8;

impl Chooser {
    /// Of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Parsed, index: u64) -> Self {
        let [a, b, c, d] = packet.source;
        // The lowest bit tells the two protocols apart.
        let kind = packet.tcp_flags as u32 | (packet.protocol as u32 & 1) << 8;
        Self { index, source: [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32], kind }
    }

    /// The same of a flow that nobody knows (any more): its packets have to find one place without being remembered, by the
    /// flow's hash, whatever the scheduler.
    #[inline(always)]
    #[must_use]
    pub const fn unknown(self) -> Self {
        Self { kind: 0, ..self }
    }

    /// Whether a flow begins here.
    #[inline(always)]
    #[must_use]
    pub const fn is_new(self) -> bool {
        self.kind & DATAGRAM != 0 || self.kind as u8 & (SYN | ACK | RST) == SYN
    }

    /// Whether this would be answered with a reset: not another reset.
    #[inline(always)]
    pub const fn may_be_reset(self) -> bool {
        self.kind as u8 & (ACK | RST) == ACK
    }
}

/// Notes a flow that nobody knows and whose packet tells nothing of a connection id.
#[inline(always)]
pub fn note_unknown<E: Environment>(env: &E, chooser: Chooser) -> Chooser {
    if env.features().has(Features::QUIC)
        && let Some(scratch) = env.scratch()
    {
        scratch.set_named(quic::route::NONE);
    }
    chooser.unknown()
}

/// Notes a flow for [`pick`] and [`begun`].
#[inline(always)]
pub fn note<E: Environment>(env: &E, chooser: Chooser) {
    if let Some(scratch) = env.scratch() {
        scratch.set_newcomer(chooser);
    }
}

/// The destination for the noted flow of the service with this index: the one that its packet names, else by the scheduler.
#[inline(always)]
pub fn pick<E: Environment>(env: &E, service: u32) -> Option<u32> {
    if env.service(service)?.quic() != 0
        && let Some(id) = quic::route::named(env)
    {
        return Some(id);
    }
    if env.features().has(Features::AFFINITY)
        && let Some(id) = env.affinity(service)
    {
        return Some(id);
    }
    let chooser = env.scratch()?.newcomer();
    let found = env.service(service)?;
    let slots = found.slots();
    if slots.size == 0 {
        return None;
    }
    let scheduling = found.scheduling();
    if scheduling.resets_unknown && chooser.may_be_reset() {
        return Some(RESET);
    }
    Some(choose(env, service, scheduling, slots, chooser).unwrap_or(NOWHERE))
}

/// What is due when a flow in this state was given a destination. Returns the destination that it has: of one that found no room in the flow
/// table nobody will remember any other than the one by its hash.
#[inline(always)]
pub fn begun<E: Environment>(env: &E, service: u32, id: u32, placement: Placement, state: FlowState) -> u32 {
    let scheduling = env.service(service).map(Service::scheduling).unwrap_or_default();
    if env.features().has(Features::AFFINITY) {
        env.note_affinity(service, id);
    }
    if matches!(placement, Placement::Untracked) {
        // A full destination had to give way: nobody will remember that.
        if scheduling.is_stateless() && !env.features().has(Features::LIMITS) {
            return id;
        }
        let Some(scratch) = env.scratch() else { return id };
        scratch.set_newcomer(scratch.newcomer().unknown());
        return pick(env, service).unwrap_or(NOWHERE);
    }
    if env.features().counts_live_flows()
        && let Some(score) = env.score(id)
    {
        score.begin();
    }
    if env.features().has(Features::PASSIVE_HEALTH) {
        passive::began(env, id, state);
    }
    id
}

/// A flow of a destination has ended.
#[inline(always)]
pub fn closed<E: Environment>(env: &E, id: u32) {
    if let Some(counters) = env.destination_counters(id) {
        counters.flows_closed.add(1);
    }
    if env.features().counts_live_flows()
        && let Some(score) = env.score(id)
    {
        score.end();
    }
}

/// The slot, counted over the whole array, that a hash chooses for a packet; `None` if the service has none.
pub fn slot_of_hash<E: Environment>(env: &E, service: &Service, packet: &Parsed) -> Option<u32> {
    let (slots, scheduling) = (service.slots(), service.scheduling());
    let hash = FlowHash::of(env, packet);
    let index = match scheduling.pick {
        Pick::SourceHash => source::index(env, Chooser::of(packet, 0).source, scheduling.source_prefix),
        _ => hash.index,
    };
    (slots.size > 0).then(|| slot::index(slots, FlowHash { tag: 0, index }))
}

#[inline(always)]
fn choose<E: Environment>(
    env: &E,
    service: u32,
    scheduling: Scheduling,
    slots: SlotRange,
    chooser: Chooser,
) -> Option<u32> {
    let by_hash = |index| env.slot(slot::index(slots, FlowHash { tag: 0, index }));
    match scheduling.pick {
        Pick::SourceHash => by_hash(source::index(env, chooser.source, scheduling.source_prefix)),
        Pick::Turn if chooser.is_new() => env.slot(turn::index(env, service, slots)),
        Pick::Random if chooser.is_new() => env.slot(slot::scaled(slots, env.random())),
        Pick::Least if chooser.is_new() && slots.size <= least::MOST => env.least(slots),
        Pick::Least | Pick::TwoChoices if chooser.is_new() => two_choices::pick(env, slots),
        _ => by_hash(chooser.index),
    }
}
