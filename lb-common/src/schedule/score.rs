//! Scores of slots.

use crate::environment::Environment;

/// The destination in a slot, counted over the whole array, and its score with one more flow.
#[inline(always)]
pub fn of_slot<E: Environment>(env: &E, slot: u32) -> Option<(u32, u64)> {
    let id = env.slot(slot)?;
    Some((id, env.score(id)?.with_one_more()))
}
