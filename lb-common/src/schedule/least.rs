//! Score pick: the lowest score of all slots.

use super::score;
use crate::{abi::SlotRange, environment::Environment};

/// Slots that are looked at; with more of them the lower of two is taken ([`super::two_choices`]).
pub const MOST: u32 = 64;

/// The destination with the lowest score. The look begins at random, so that of several with the same score each has its turn.
#[inline(always)]
pub fn pick<E: Environment>(env: &E, slots: SlotRange) -> Option<u32> {
    let size = slots.size;
    let mut at = super::slot::scaled(slots, env.random()).wrapping_sub(slots.offset);
    let (mut least, mut lowest) = (None, u64::MAX);
    for turn in 0..MOST {
        if turn >= size {
            break;
        }
        if let Some((id, score)) = score::of_slot(env, slots.offset.wrapping_add(at))
            && score < lowest
        {
            (least, lowest) = (Some(id), score);
        }
        at += 1;
        if at >= size {
            at = 0;
        }
    }
    least
}
