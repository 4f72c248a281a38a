//! Room for a flow whose two buckets are full. Rare, so apart from the path of other packets.
//!
//! In this order: an entry that is dead on a closer look; the closing flow that is idle longest; a flow that can move to
//! its other bucket, where an entry is dead or closing, or can move on in turn; the flow idle longest, if for
//! [`EVICTABLE_IDLE_SECONDS`] at least. Otherwise nothing: a live flow is never pushed out for a new one, which goes by
//! its hash instead.

use super::{
    BUCKET_ENTRIES, FlowState, FlowWord, Placement,
    table::{is_expired, other_bucket},
};
use crate::environment::Environment;

/// A flow that was idle for less is never evicted.
pub const EVICTABLE_IDLE_SECONDS: u32 = 60;

/// Entries of each bucket whose flow may move although its other bucket is full, if a flow of that one can move on.
/// With three, 34 buckets must be full of live flows before a new one finds no room: with three quarters of the places
/// live, ten million inserts have not met that; with none, hundreds in a million do. The bound is for a flood that fills
/// the table, when every new flow searches in vain.
const SECOND_MOVES: usize = 3;

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
    let (in_a, in_b) = (Cheapest(env.cheapest(first)), Cheapest(env.cheapest(second)));
    let (bucket, cheapest) = if in_a.rank() >= in_b.rank() { (a, in_a) } else { (b, in_b) };
    let (worth, victim) = (cheapest.worth(), &bucket.entries[cheapest.index()]);
    if worth >= Worth::Closing {
        victim.store(tag, word);
        return if worth == Worth::Dead { Placement::Free } else { Placement::Evicted };
    }
    if env.displace(first, tag, word) || env.displace(second, tag, word) {
        return Placement::Displaced;
    }
    for (bucket, index) in [(a, first), (b, second)] {
        for entry in &bucket.entries[..SECOND_MOVES] {
            let (moved, moved_word) = entry.load();
            if env.displace(other_bucket(index, moved, env.flow_mask()), moved, moved_word) {
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

/// The entry of a bucket that is missed least, as a number: its place in two bits, then its idle time, then what it is worth.
#[derive(Clone, Copy)]
struct Cheapest(u64);

impl Cheapest {
    const AGE: u32 = 2;
    const WORTH: u32 = Self::AGE + 32;

    #[inline(always)]
    const fn of(worth: Worth, age: i32, index: usize) -> Self {
        // Ages compare as unsigned numbers then.
        let age = age as u32 ^ 1 << 31;
        Self((worth as u64) << Self::WORTH | (age as u64) << Self::AGE | index as u64)
    }

    /// What is compared: the greater, the less it is missed.
    #[inline(always)]
    const fn rank(self) -> u64 {
        self.0 >> Self::AGE
    }

    #[inline(always)]
    const fn index(self) -> usize {
        self.0 as usize & (BUCKET_ENTRIES - 1)
    }

    #[inline(always)]
    const fn worth(self) -> Worth {
        match self.0 >> Self::WORTH {
            0 => Worth::Live,
            1 => Worth::Idle,
            2 => Worth::Closing,
            _ => Worth::Dead,
        }
    }
}

/// The entry of a bucket that is missed least, for [`make`].
#[inline(always)]
pub fn cheapest<E: Environment>(env: &E, index: u32) -> u64 {
    let Some(bucket) = env.flow_bucket(index) else { return 0 };
    let now = env.now();
    let mut best = Cheapest(0);
    for (index, entry) in bucket.entries.iter().enumerate() {
        let word = entry.word();
        let candidate = Cheapest::of(worth(env, word, now), word.age(now), index);
        if candidate.rank() > best.rank() {
            best = candidate;
        }
    }
    best.0
}

/// Whether an entry is not used, or of a flow that has ended.
#[cfg(not(target_arch = "bpf"))]
pub(super) fn is_dead<E: Environment>(env: &E, word: FlowWord) -> bool {
    worth(env, word, env.now()) == Worth::Dead
}

/// Judges an entry by its own service's time-outs and by whether its destination still goes by it.
#[inline(always)]
fn worth<E: Environment>(env: &E, word: FlowWord, now: u32) -> Worth {
    let Some(state) = word.state() else { return Worth::Dead };
    let Some(destination) = env.destination(word.destination()) else { return Worth::Dead };
    let destination = destination.state();
    if destination.generation != word.generation() || !destination.holds_flows() {
        return Worth::Dead;
    }
    let Some(service) = env.service(destination.service) else { return Worth::Dead };
    if is_expired(word, now, service.timeout(state)) {
        return Worth::Dead;
    }
    if matches!(state, FlowState::Closing) {
        return Worth::Closing;
    }
    if is_expired(word, now, EVICTABLE_IDLE_SECONDS * env.ticks_per_second()) { Worth::Idle } else { Worth::Live }
}

/// Writes a flow into a bucket, in the place of a flow that moves to its other bucket. Until it is overwritten that flow
/// is in both, which readers do not mind. Returns whether there was one.
#[inline(always)]
pub fn displace<E: Environment>(env: &E, index: u32, tag: u64, word: FlowWord) -> bool {
    let Some(bucket) = env.flow_bucket(index) else { return false };
    // The other buckets are seldom in the cache. To touch all of them first lets the CPU fetch them at once.
    for entry in &bucket.entries {
        if let Some(target) = env.flow_bucket(other_bucket(index, entry.load().0, env.flow_mask())) {
            core::hint::black_box(target.entries[0].word());
        }
    }
    for entry in &bucket.entries {
        let (moved, moved_word) = entry.load();
        if settle(env, other_bucket(index, moved, env.flow_mask()), moved, moved_word) {
            entry.store(tag, word);
            return true;
        }
    }
    false
}

/// Writes a flow into a bucket, in the place of one that is dead or closing.
#[inline(always)]
fn settle<E: Environment>(env: &E, index: u32, tag: u64, word: FlowWord) -> bool {
    let Some(bucket) = env.flow_bucket(index) else { return false };
    for entry in &bucket.entries {
        if worth(env, entry.word(), env.now()) >= Worth::Closing {
            entry.store(tag, word);
            return true;
        }
    }
    false
}
