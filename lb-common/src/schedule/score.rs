//! Scores of slots.

use crate::{environment::Environment, features::Features};

/// Above all scores of destinations with room.
const FULL_SHIFT: u32 = 62;

/// The destination in a slot, counted over the whole array, and its score with one more flow. One that is full comes after all others.
#[inline(always)]
pub fn of_slot<E: Environment>(env: &E, slot: u32) -> Option<(u32, u64)> {
    let id = env.slot(slot)?;
    let score = env.score(id)?;
    let full = if env.features().has(Features::LIMITS) { score.fullness() << FULL_SHIFT } else { 0 };
    Some((id, score.with_one_more() | full))
}
