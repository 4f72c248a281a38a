//! Random numbers that a seed repeats, and how many of them: `cargo xtask test --long --seed N` sets both.

use std::{env, time::UNIX_EPOCH};

/// A long test does so many times the work.
const LONG: u64 = 50;

/// What is usual, or so many times as much for a long test.
pub(crate) fn times(usual: u64) -> u64 {
    if env::var_os("EVENKEEL_TEST_LONG").is_some() { usual * LONG } else { usual }
}

/// A sequence of random numbers (SplitMix64; Steele et al., OOPSLA 2014).
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of the seed that was asked for, or of one from the clock; it is printed.
    pub(crate) fn from_environment(name: &str) -> Self {
        let seed = match env::var("EVENKEEL_TEST_SEED") {
            Ok(text) => text.parse().expect("EVENKEEL_TEST_SEED is a number"),
            Err(_) => UNIX_EPOCH.elapsed().map_or(1, |time| time.as_micros() as u64),
        };
        println!("{name}: EVENKEEL_TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}
