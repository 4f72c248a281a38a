//! The choice of a destination, by the service's scheduler.

use super::{least, slot, source, turn, two_choices};
use crate::{
    abi::{Pick, Service, SlotRange},
    environment::Environment,
    hash::FlowHash,
    parse::Parsed,
    quic,
};

/// What a choice goes by: numbers only, so that it can be made apart from everything else.
#[derive(Clone, Copy, Debug)]
pub struct Chooser {
    /// The flow's [`FlowHash::index`].
    pub index: u64,
    /// The client's address as in memory: its first two words, and the others.
    pub source: [u64; 2],
    /// Whether a flow begins here. If not, the flow is not known (any more), and its packets have to find one place without
    /// being remembered: by the flow's hash, whatever the scheduler.
    pub is_new: bool,
}

impl Chooser {
    /// Of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Parsed, index: u64, is_new: bool) -> Self {
        let [a, b, c, d] = packet.source;
        Self { index, source: [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32], is_new }
    }
}

/// The destination for a flow of the service with this index: the one that its packet names, else by the scheduler.
#[inline(always)]
pub fn pick<E: Environment>(env: &E, service: u32, chooser: Chooser) -> Option<u32> {
    let found = env.service(service)?;
    if found.quic() != 0
        && let Some(id) = quic::route::named(env)
    {
        return Some(id);
    }
    let slots = found.slots();
    if slots.size == 0 {
        return None;
    }
    // A slot that is not there leads to a destination that is not there, and that is counted.
    Some(choose(env, service, found, slots, chooser).unwrap_or(u32::MAX - 1))
}

/// The slot, counted over the whole array, that a hash chooses for a packet; `None` if the service has none.
pub fn slot_of_hash<E: Environment>(env: &E, service: &Service, packet: &Parsed) -> Option<u32> {
    let (slots, scheduling) = (service.slots(), service.scheduling());
    let hash = FlowHash::of(env, packet);
    let index = match scheduling.pick {
        Pick::SourceHash => source::index(env, Chooser::of(packet, 0, true).source, scheduling.source_prefix),
        _ => hash.index,
    };
    (slots.size > 0).then(|| slot::index(slots, FlowHash { tag: 0, index }))
}

#[inline(always)]
fn choose<E: Environment>(env: &E, service: u32, found: &Service, slots: SlotRange, chooser: Chooser) -> Option<u32> {
    let scheduling = found.scheduling();
    let by_hash = |index| env.slot(slot::index(slots, FlowHash { tag: 0, index }));
    match scheduling.pick {
        Pick::SourceHash => by_hash(source::index(env, chooser.source, scheduling.source_prefix)),
        Pick::Turn if chooser.is_new => env.slot(turn::index(env, service, slots)),
        Pick::Random if chooser.is_new => env.slot(slot::scaled(slots, env.random())),
        Pick::Least if chooser.is_new && slots.size <= least::MOST => least::pick(env, slots),
        Pick::Least | Pick::TwoChoices if chooser.is_new => two_choices::pick(env, slots),
        _ => by_hash(chooser.index),
    }
}
