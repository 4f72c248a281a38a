//! Score pick: the lower score of two slots at random (Mitzenmacher, 2001, "The power of two choices in randomized load balancing").

use super::{score, slot};
use crate::{abi::SlotRange, environment::Environment};

/// The destination with the lower score of two that are chosen at random, different ones if there are two.
#[inline(always)]
pub fn pick<E: Environment>(env: &E, slots: SlotRange) -> Option<u32> {
    let first = slot::scaled(slots, env.random());
    let others = SlotRange { offset: slots.offset, size: slots.size.wrapping_sub(1) };
    let second = slot::scaled(others, env.random());
    let second = if second >= first && others.size > 0 { second.wrapping_add(1) } else { second };
    match (score::of_slot(env, first), score::of_slot(env, second)) {
        (Some((_, one)), Some((id, other))) if other < one => Some(id),
        (Some((id, _)), _) | (None, Some((id, _))) => Some(id),
        (None, None) => None,
    }
}
