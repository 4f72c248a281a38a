//! How many packets the node makes itself.

use crate::{environment::Environment, flow::TICK_MASK};

/// Replies that each CPU sends in a second at most, and in one burst (RFC 4443, section 2.4 (f), asks for a token bucket).
pub const REPLIES_PER_SECOND: u32 = 1000;

/// Takes a token, if there is one.
#[inline(always)]
pub(super) fn take<E: Environment>(env: &E) -> bool {
    let Some(budget) = env.reply_budget() else { return false };
    let now = env.now();
    let full = u64::from(REPLIES_PER_SECOND);
    // Each tick brings its share; a second or more without a reply fills the bucket.
    let elapsed = u64::from(now.wrapping_sub(budget.refilled.get() as u32) & TICK_MASK).min(u64::from(u16::MAX));
    let share = full.div_ceil(u64::from(env.ticks_per_second().max(1)));
    let tokens = (budget.tokens.get() + elapsed * share).min(full);
    if tokens == 0 {
        return false;
    }
    budget.set(tokens - 1, u64::from(now));
    true
}
