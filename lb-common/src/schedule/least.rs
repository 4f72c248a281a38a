//! Score pick: the lowest score of all slots.

use super::{score, slot};
use crate::{abi::SlotRange, environment::Environment, opaque::opaque};

/// Slots that are looked at; with more of them the lower of two is taken ([`super::two_choices`]).
pub const MOST: u32 = 64;

/// The destination with the lowest score. The look begins at random, so that of several with the same score each has its turn.
#[inline(always)]
pub fn pick<E: Environment>(env: &E, slots: SlotRange) -> Option<u32> {
    let size = slots.size;
    let mut at = slot::scaled(slots, env.random()).wrapping_sub(slots.offset);
    let (mut least, mut lowest) = score::of_slot(env, slots.offset.wrapping_add(at))?;
    for turn in 1..MOST {
        if turn >= size {
            break;
        }
        at = next(at, size);
        let (id, score) = score::of_slot(env, slots.offset.wrapping_add(at))?;
        // All ones if it is lower. Without a branch, for the same reason as in `next`: scores are below 2^63.
        let is_lower = (opaque(score.wrapping_sub(lowest)) as i64 >> 63) as u64;
        lowest ^= (lowest ^ score) & is_lower;
        least ^= (least ^ id) & is_lower as u32;
    }
    Some(least)
}

/// The place after this one, round a list of `size`. Without a branch, after which the verifier would know the place and follow each
/// by itself.
#[inline(always)]
fn next(at: u32, size: u32) -> u32 {
    let after = at as u64 + 1;
    // All ones below the end.
    let is_inside = (opaque(after.wrapping_sub(size as u64)) as i64 >> 63) as u64;
    (after & is_inside) as u32
}
