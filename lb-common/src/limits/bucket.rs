//! Token buckets that all CPUs share: one word each, and no division.
//!
//! ```text
//! | taken 40 | tick 24 |
//! ```
//!
//! What was taken flows off at the rate, in units of a tick's share: a token is as many units as a second has ticks, and each
//! tick brings as many back as the rate says. Zero is a full bucket, so an array of them needs no preparation.
//!
//! The clock's ticks are a sixteenth of a second, so a bucket is filled up in steps of a sixteenth of the rate.

use crate::{
    abi::{Rate, Word64},
    environment::Environment,
    flow::{SKEW_TICKS, TICK_MASK},
};

const TICK_BITS: u32 = 24;
/// Attempts where other CPUs take of the same bucket at the same time. After them the flow is let through: nobody is refused for want
/// of luck, and it takes an improbable race for each of them.
const ATTEMPTS: u32 = 4;

/// Takes a token; `false`: there is none. Of no limit there always is one.
#[inline(always)]
pub fn take<E: Environment>(env: &E, bucket: &Word64, rate: Rate) -> bool {
    if rate.per_second == 0 {
        return true;
    }
    let token = env.ticks_per_second() as u64;
    let most = rate.burst as u64 * token;
    for _ in 0..ATTEMPTS {
        let word = bucket.load();
        let taken = left(word, env.now(), rate.per_second) + token;
        if taken > most {
            return false;
        }
        if bucket.exchange(word, pack(taken, env.now())) {
            break;
        }
    }
    true
}

/// A bucket of which one token was taken at this tick.
#[inline(always)]
#[must_use]
pub fn begun<E: Environment>(env: &E) -> u64 {
    pack(env.ticks_per_second() as u64, env.now())
}

/// Ticks since the last token was taken; none where another CPU's clock is ahead.
#[inline(always)]
#[must_use]
pub const fn idle(word: u64, now: u32) -> u32 {
    let since = now.wrapping_sub(word as u32) & TICK_MASK;
    if since > TICK_MASK - SKEW_TICKS { 0 } else { since }
}

/// What of the taken is not back yet.
#[inline(always)]
const fn left(word: u64, now: u32, per_second: u32) -> u64 {
    (word >> TICK_BITS).saturating_sub(idle(word, now) as u64 * per_second as u64)
}

#[inline(always)]
const fn pack(taken: u64, now: u32) -> u64 {
    taken << TICK_BITS | (now & TICK_MASK) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rested_for_days_is_not_taken_for_new() {
        for rested in [0, 1, TICK_MASK / 2, TICK_MASK / 2 + 1, TICK_MASK - SKEW_TICKS] {
            assert_eq!(idle(pack(1000, 5), rested + 5), rested);
        }
        // Another CPU's clock is ahead.
        assert_eq!(idle(pack(1000, 5 + SKEW_TICKS - 1), 5), 0);
        assert_eq!(left(pack(1000, 5), TICK_MASK / 2 + 6, 1), 0);
    }
}
