//! Moving flows into another table, larger or smaller, while packets go on. Done by user space.
//!
//! An entry does not tell its flow's whole hash: its bucket's number has the lower bits, and a larger table asks for more.
//! So an entry is copied to every bucket with these lower bits, which fills the new table no further than the old one was,
//! and each flow finds the copy that lies where it looks. Both candidate buckets follow from each other by an exclusive-or,
//! so what holds for one bucket holds for the pair. A copy is marked until its first packet. When one of a flow's copies has
//! lost its mark, [`settle`] removes the others; the copies of a flow that never has a packet again end by its time-out.

use core::ops::Range;

use super::{BUCKET_ENTRIES, FlowBucket, FlowEntry, FlowWord, room::is_dead, table::other_bucket};
use crate::environment::Environment;

/// What a copy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Live flows that were found.
    pub flows: u64,
    /// Those that found no room in the new table, which a smaller one may lack.
    pub without_room: u64,
}

/// Copies every live flow of a table into that of `env`. What packets have written there since stays; what an earlier call
/// copied is brought up to date. `convert` reads an entry of the other table as tag and word; `None`: it is not used.
///
/// Both sizes are powers of two.
pub fn copy<E: Environment>(
    env: &E,
    from: &[FlowBucket],
    convert: impl Fn(&FlowEntry) -> Option<(u64, FlowWord)>,
) -> Copied {
    let buckets = env.flow_mask() as usize + 1;
    let copies = (buckets / from.len()).max(1);
    let mut copied = Copied::default();
    for (index, bucket) in from.iter().enumerate() {
        for (place, entry) in bucket.entries.iter().enumerate() {
            let Some((tag, word)) = convert(entry).filter(|(_, word)| !is_dead(env, *word)) else { continue };
            copied.flows += 1;
            let has_room = (0..copies).fold(true, |all, copy| {
                let target = (index + copy * from.len()) as u32 & env.flow_mask();
                put(env, target, place, tag, word.as_copy()) && all
            });
            copied.without_room += u64::from(!has_room);
        }
    }
    copied
}

/// Removes from some of the buckets the copies of flows that have had a packet since, after the table had grown from `before`
/// buckets. Returns how many copies are left there.
pub fn settle<E: Environment>(env: &E, before: usize, which: Range<usize>) -> u64 {
    let buckets = env.flow_mask() as usize + 1;
    let mut left = 0;
    for index in which {
        let Some(bucket) = env.flow_bucket(index as u32) else { continue };
        for entry in &bucket.entries {
            let (tag, word) = entry.load();
            if !word.is_copy() || is_dead(env, word) {
                continue;
            }
            // The copy may lie in either of its two buckets, and so may the one that was used.
            let places = [index as u32, other_bucket(index as u32, tag, env.flow_mask())];
            let mut twins = places.iter().flat_map(|place| {
                (0..buckets / before).map(move |copy| ((*place as usize & (before - 1)) + copy * before) as u32)
            });
            let is_used = |(found, word): (u64, FlowWord)| found == tag && !word.is_copy();
            let has_moved_on = twins.any(|twin| {
                env.flow_bucket(twin).is_some_and(|bucket| bucket.entries.iter().any(|entry| is_used(entry.load())))
            });
            if !has_moved_on || !entry.advance(word, FlowWord::EMPTY) {
                left += 1;
            }
        }
    }
    left
}

/// Writes a copy into one of a flow's two buckets, if nothing newer is there. `false`: there is no room.
fn put<E: Environment>(env: &E, first: u32, place: usize, tag: u64, word: FlowWord) -> bool {
    let second = other_bucket(first, tag, env.flow_mask());
    let (Some(a), Some(b)) = (env.flow_bucket(first), env.flow_bucket(second)) else { return false };
    if let Some((entry, present)) =
        a.entries.iter().chain(&b.entries).map(|entry| (entry, entry.load().1)).find(|(entry, _)| entry.load().0 == tag)
    {
        // Of several tables the one that saw the flow last is right.
        if present.is_copy() && word.idle(env.now()) <= present.idle(env.now()) {
            if present.identity_bits() == word.identity_bits() {
                // If a packet was faster, its word is the newer one.
                entry.advance(present, word);
            } else {
                entry.store(tag, word);
            }
        }
        return true;
    }
    // In the same place as before if it is free: it is the one that the flow's packets look at first.
    let same = (place..BUCKET_ENTRIES).chain(0..place).map(|place| &a.entries[place]);
    if let Some(free) = same.chain(&b.entries).find(|entry| is_dead(env, entry.word())) {
        free.store(tag, word);
        return true;
    }
    !matches!(env.make_room(tag, first, second, word), super::Placement::Untracked)
}
