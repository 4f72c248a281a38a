//! Room for a flow whose two buckets are full. Rare, so apart from the path of other packets.
//!
//! In this order: an entry that is dead on a closer look; the closing flow that is idle longest; a flow that can move
//! to its other bucket; the flow idle longest, if for [`EVICTABLE_IDLE_SECONDS`] at least. Otherwise nothing: a live flow
//! is never pushed out for a new one, which goes by its hash instead.

use super::{
    BUCKET_ENTRIES, FlowBucket, FlowEntry, FlowState, FlowWord, Placement,
    table::{Free, is_expired, other_bucket},
};
use crate::environment::Environment;

/// A flow that was idle for less is never evicted.
pub const EVICTABLE_IDLE_SECONDS: u32 = 60;

/// How much an entry can be done without.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    Live,
    Idle,
    Closing,
    Dead,
}

/// Finds a place and writes the flow.
#[inline(always)]
pub fn make<E: Environment>(env: &E, tag: u64, first: u32, second: u32, word: FlowWord) -> Placement {
    let (Some(a), Some(b)) = (env.flow_bucket(first), env.flow_bucket(second)) else {
        return Placement::Untracked;
    };
    let (worth_a, victim_a) = cheapest(env, a);
    let (worth_b, victim_b) = cheapest(env, b);
    let (worth, victim) = if worth_a >= worth_b { (worth_a.0, victim_a) } else { (worth_b.0, victim_b) };
    if worth >= Worth::Closing {
        victim.store(tag, word);
        return if worth == Worth::Dead { Placement::Free } else { Placement::Evicted };
    }
    for (bucket, index) in [(a, first), (b, second)] {
        for entry in &bucket.entries {
            if displace(env, entry, index) {
                entry.store(tag, word);
                return Placement::Displaced;
            }
        }
    }
    if worth == Worth::Idle {
        victim.store(tag, word);
        return Placement::Evicted;
    }
    Placement::Untracked
}

/// The entry of a bucket that is missed least, with its idle time to compare by.
#[inline(always)]
fn cheapest<'a, E: Environment>(env: &E, bucket: &'a FlowBucket) -> ((Worth, u32), &'a FlowEntry) {
    let now = env.now();
    let mut best = (Worth::Live, 0);
    let mut victim = &bucket.entries[0];
    for i in 0..BUCKET_ENTRIES {
        let word = bucket.entries[i].word();
        let candidate = (worth(env, word, now), word.idle(now));
        if candidate > best {
            best = candidate;
            victim = &bucket.entries[i];
        }
    }
    (best, victim)
}

/// Judges an entry by its own service's time-outs and its destination's generation.
#[inline(always)]
fn worth<E: Environment>(env: &E, word: FlowWord, now: u32) -> Worth {
    let Some(state) = word.state() else { return Worth::Dead };
    let Some(destination) = env.destination(word.destination()) else { return Worth::Dead };
    let destination = destination.state();
    if destination.generation != word.generation() {
        return Worth::Dead;
    }
    let Some(service) = env.service(destination.service) else { return Worth::Dead };
    if is_expired(word, now, service.timeout(state)) {
        return Worth::Dead;
    }
    if matches!(state, FlowState::Closing) {
        return Worth::Closing;
    }
    if word.idle(now) >= EVICTABLE_IDLE_SECONDS * env.ticks_per_second() { Worth::Idle } else { Worth::Live }
}

/// Copies an entry to its other bucket, if that has room. Until the caller overwrites the original the flow is in
/// both, which readers do not mind.
#[inline(always)]
fn displace<E: Environment>(env: &E, entry: &FlowEntry, bucket: u32) -> bool {
    let (tag, word) = entry.load();
    let Some(target) = env.flow_bucket(other_bucket(bucket, tag, env.flow_mask())) else { return false };
    Free::of(env, target).take(target, tag, word)
}
