//! Find and insert.

use super::{BUCKET_ENTRIES, FlowBucket, FlowEntry, FlowWord};
use crate::{environment::Environment, hash::FlowHash};

/// What an insert came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Placement {
    /// In a free place.
    Free,
    /// In the place of a flow that moved to its other bucket.
    Displaced,
    /// In the place of a flow that was closing or had been idle for long.
    Evicted,
    /// Nowhere: every candidate is live.
    Untracked,
}

impl Placement {
    /// From the number of a variant.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Free,
            1 => Self::Displaced,
            2 => Self::Evicted,
            _ => Self::Untracked,
        }
    }
}

/// The first candidate bucket of a flow.
#[inline(always)]
#[must_use]
pub const fn first_bucket(hash: FlowHash, mask: u32) -> u32 {
    hash.bucket() & mask
}

/// The other candidate bucket. It follows from one bucket and the tag alone, so that an entry can move without the
/// flow's addresses (partial-key cuckoo hashing; Fan et al., CoNEXT 2014, section 3.1).
#[inline(always)]
#[must_use]
pub const fn other_bucket(bucket: u32, tag: u64, mask: u32) -> u32 {
    // Odd, so never the same bucket. The multiplication is for the low entropy of NH's single bits.
    (bucket ^ ((tag.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) as u32 | 1)) & mask
}

/// The entry of a flow, and its word.
#[inline(always)]
pub fn find<E: Environment>(env: &E, hash: FlowHash) -> Option<(&FlowEntry, FlowWord)> {
    // In one order everywhere: for a moment a flow may have two entries, and all its packets must mean the same one.
    find_tag(env, hash).filter(|(_, word)| word.state().is_some())
}

/// The entry whose tag is the flow's, and its word, which may say that the entry is not used: for whoever compares the
/// state anyway.
#[inline(always)]
pub fn find_tag<E: Environment>(env: &E, hash: FlowHash) -> Option<(&FlowEntry, FlowWord)> {
    let mask = env.flow_mask();
    let first = first_bucket(hash, mask);
    let bucket = env.flow_bucket(first)?;
    // Most flows are where they want to be. To look there first costs least, and above all the CPU learns that it is so: a
    // branch that it predicts does not wait for the memory behind it.
    let preferred = &bucket.entries[hash.entry() & (BUCKET_ENTRIES - 1)];
    let (tag, word) = preferred.load();
    if tag == hash.tag {
        return Some((preferred, word));
    }
    find_tag_in(bucket, hash.tag)
        .or_else(|| find_tag_in(env.flow_bucket(other_bucket(first, hash.tag, mask))?, hash.tag))
}

#[inline(always)]
fn find_tag_in(bucket: &FlowBucket, tag: u64) -> Option<(&FlowEntry, FlowWord)> {
    for entry in &bucket.entries {
        let (found, word) = entry.load();
        if found == tag {
            return Some((entry, word));
        }
    }
    None
}

/// Writes an entry for a flow that has none: into its first bucket if there is room, else into its other one. With three
/// quarters of all places taken nine flows in ten are found in their first bucket, where filling the emptier one would
/// leave half of them in the other.
#[inline(always)]
pub fn insert<E: Environment>(env: &E, hash: FlowHash, word: FlowWord) -> Placement {
    let mask = env.flow_mask();
    let first = first_bucket(hash, mask);
    let second = other_bucket(first, hash.tag, mask);
    let (Some(a), Some(b)) = (env.flow_bucket(first), env.flow_bucket(second)) else {
        return Placement::Untracked;
    };
    let (free_a, free_b) = (Free::of(env, a), Free::of(env, b));
    let (bucket, free) = if free_a.count() > 0 { (a, free_a) } else { (b, free_b) };
    if free.take(bucket, hash, word) { Placement::Free } else { env.make_room(hash.tag, first, second, word) }
}

/// The place of the lowest bit of each number below 16, two bits each: trailing zeros without an instruction for them.
const STEPS: u32 = {
    let (mut steps, mut number) = (0, 1_u32);
    while number < 16 {
        steps |= number.trailing_zeros() << (2 * number);
        number += 1;
    }
    steps
};

/// Which entries of a bucket are free: not used, or idle for longer than any service allows. Each is 0 or 1, computed without
/// a branch: the verifier would follow every combination.
#[derive(Clone, Copy)]
struct Free([u32; BUCKET_ENTRIES]);

impl Free {
    #[inline(always)]
    fn of<E: Environment>(env: &E, bucket: &FlowBucket) -> Self {
        let mut free = [0; BUCKET_ENTRIES];
        let Some(control) = env.control() else { return Self(free) };
        let now = env.now();
        for (free, entry) in free.iter_mut().zip(&bucket.entries) {
            let word = entry.word();
            // Both are far below 2^31, so the difference is negative if and only if the entry is within its time.
            let left = (word.age(now) as u32).wrapping_sub(control.longest_timeout(word.state_index()));
            // Just before the clock wraps an unused entry has a negative age: then it is found on the closer look.
            *free = left >> 31 ^ 1;
        }
        Self(free)
    }

    #[inline(always)]
    fn count(self) -> u32 {
        self.0[0] + self.0[1] + self.0[2] + self.0[3]
    }

    /// Writes a flow into the entry that it prefers, or into the next free one.
    #[inline(always)]
    fn take(self, bucket: &FlowBucket, hash: FlowHash, word: FlowWord) -> bool {
        let free = self.0[0] | self.0[1] << 1 | self.0[2] << 2 | self.0[3] << 3;
        if free == 0 {
            return false;
        }
        let preferred = hash.entry() as u32;
        // The bits again behind themselves: the lowest one from the preferred entry on is the next free one.
        let from = (free | free << BUCKET_ENTRIES) >> preferred;
        let steps = STEPS >> (2 * (from & 15)) & 3;
        let index = (preferred + steps) as usize & (BUCKET_ENTRIES - 1);
        bucket.entries[index].store(hash.tag, word);
        true
    }
}

/// Whether a flow has been idle for as long as its service allows.
#[inline(always)]
#[must_use]
pub const fn is_expired(word: FlowWord, now: u32, timeout: u32) -> bool {
    word.age(now) >= timeout as i32
}
