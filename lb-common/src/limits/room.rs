//! Destinations with room for one more flow.

use crate::{
    abi::{Pick, SlotRange},
    environment::Environment,
    hash::{FlowHash, finish},
    schedule::{pick::DROP, slot, source},
    verdict::DropReason,
};

use super::refuse;

/// Slots that are tried where the chosen destination is full: the first eight by the flow's hash, so that nodes of a cluster mostly agree,
/// the others at random.
pub const TRIES: u32 = 32;
const BY_HASH: u32 = 8;

/// Another destination for the new flow that was noted, since the chosen one is full: what
/// [`pick::pick`](crate::schedule::pick::pick) returns.
#[inline(always)]
pub fn find<E: Environment>(env: &E, service: u32) -> u32 {
    let (Some(scratch), Some(found)) = (env.scratch(), env.service(service)) else {
        return DropReason::Tables as u32 | DROP;
    };
    let (chooser, scheduling, slots) = (scratch.newcomer(), found.scheduling(), found.slots());
    let index = match scheduling.pick {
        Pick::SourceHash => source::index(env, chooser.source, scheduling.source_prefix),
        _ => chooser.index,
    };
    for turn in 1..=TRIES {
        let salt = if turn <= BY_HASH { turn } else { env.random() };
        if let Some(id) = with_room(env, slots, index, salt) {
            return id;
        }
    }
    refuse(env, service, DropReason::LimitConnections, |counters| counters.connections.add(1))
}

#[inline(always)]
fn with_room<E: Environment>(env: &E, slots: SlotRange, index: u64, salt: u32) -> Option<u32> {
    let index = finish(index ^ (salt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let id = env.slot(slot::index(slots, FlowHash { tag: 0, index }))?;
    (!env.score(id)?.is_full()).then_some(id)
}
