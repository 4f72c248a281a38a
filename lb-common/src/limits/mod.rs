//! Limits of new flows: which clients are served, how many flows begin in a second, and what becomes of a flood.
//!
//! All of it is asked of a packet whose flow is not known, and nothing of the packets of known flows. Only prefix lists are asked
//! for known flows as well, so that a client that is denied from now on is cut off: at the first packet in a tick, since the others
//! take the short way ([`crate::steady`]).
//!
//! ```text
//! deny / allow           denied             list      packets of the client are dropped
//! per prefix of clients  limit-client       client    } what opens a flow is dropped or rejected
//! per service            limit-service      bucket    }
//! flood                  limit-flood        bucket    flows go by their hash and are not remembered; translated ones are dropped
//! per backend            limit-connections  room      a full backend is left out; dropped or rejected where all are full,
//!                                                     and none is full while the daemon is away
//! ```

pub mod bucket;
pub mod client;
pub mod list;
pub mod room;

use crate::{
    abi::{LimitCounters, Rate, Score},
    environment::Environment,
    features::Features,
    quic,
    schedule::pick::{self, Chooser},
    verdict::DropReason,
};

/// The new flow is given a destination, and remembered.
pub const TAKE: u32 = 0;
/// It is given one by its hash, and not remembered.
pub const FORGET: u32 = 1;

/// Seconds for which counts of live flows are taken for true.
pub const COUNTS_HOLD: u32 = 30;

/// Decides over the new flow that was noted ([`crate::schedule::pick::note`]), as far as rates go: [`TAKE`], [`FORGET`], or what `refuse`
/// returns.
#[inline(always)]
pub fn decide<E: Environment>(env: &E, service: u32) -> u32 {
    let (Some(scratch), Some(limits)) = (env.scratch(), env.limits(service)) else { return TAKE };
    let chooser: Chooser = scratch.newcomer();
    if chooser.is_new() {
        if !client::take(env, service, limits, chooser.source) {
            return refuse(env, service, DropReason::LimitClient, |counters| counters.client.add(1));
        }
        if !bucket::take(env, &limits.taken, limits.rate()) {
            return refuse(env, service, DropReason::LimitService, |counters| counters.service.add(1));
        }
    }
    // Spoofed packets that open flows leave those a share that follow an answer, and the other way round.
    let taken = if chooser.is_new() { &limits.opened } else { &limits.continued };
    let flood = limits.flood();
    if bucket::take(env, taken, Rate { per_second: flood, burst: flood }) { TAKE } else { FORGET }
}

/// Gives the new flow that was noted a destination: what [`pick::pick`] returns.
#[inline(always)]
pub fn place<E: Environment>(env: &E, service: u32) -> Option<u32> {
    if !env.features().has(Features::LIMITS) {
        return env.pick_noted(service);
    }
    // What a connection id leads to is no new connection, whatever address it comes from now.
    if env.features().has(Features::QUIC)
        && env.service(service).is_some_and(|found| found.quic() != 0)
        && quic::route::named(env).is_some()
    {
        return env.pick_noted(service);
    }
    let decision = env.limit(service);
    let scratch = env.scratch()?;
    match decision {
        TAKE => {}
        FORGET => scratch.set_newcomer(scratch.newcomer().unknown()),
        refused => return Some(refused),
    }
    let id = env.pick_noted(service)?;
    if decision == FORGET {
        return Some(forget(env, service, id));
    }
    let is_full = scratch.newcomer().is_new() && env.score(id).is_some_and(Score::is_full) && is_counted(env);
    Some(if is_full { env.find_room(service) } else { id })
}

/// Whether live flows were counted of late. Flows that end in silence only the daemon finds: when it is away, counts grow and grow.
#[inline(always)]
fn is_counted<E: Environment>(env: &E) -> bool {
    let Some(control) = env.control() else { return false };
    let Some(tick) = control.counted() else { return false };
    if bucket::idle(tick as u64, env.now()) <= COUNTS_HOLD * env.ticks_per_second() {
        return true;
    }
    // Ticks come round again.
    control.set_counted(None);
    false
}

/// Counts what is refused, and says how: what [`pick::pick`] returns.
#[inline(always)]
fn refuse<E: Environment>(env: &E, service: u32, reason: DropReason, count: impl FnOnce(&LimitCounters)) -> u32 {
    if let Some(counters) = env.limit_counters(service) {
        count(counters);
    }
    let rejects = env.limits(service).is_some_and(|limits| limits.rejects());
    if rejects { pick::RESET } else { pick::DROP | reason as u32 }
}

/// Counts a flow that is not remembered, and says what becomes of it: what [`pick::pick`] returns. One that is translated cannot
/// do without being remembered.
#[inline(always)]
fn forget<E: Environment>(env: &E, service: u32, id: u32) -> u32 {
    // What is no destination is for the caller.
    if id >= pick::FORGET {
        return id;
    }
    let is_translated = env.destination(id).is_some_and(|destination| destination.state().mode.is_nat());
    if let Some(counters) = env.limit_counters(service) {
        if is_translated { counters.flood.add(1) } else { counters.forgotten.add(1) }
    }
    if is_translated {
        return pick::DROP | DropReason::LimitFlood as u32;
    }
    if let Some(counters) = env.node_counters() {
        counters.flows_forgotten.add(1);
    }
    if let Some(counters) = env.destination_counters(id) {
        counters.flows_new.add(1);
    }
    id | pick::FORGET
}
