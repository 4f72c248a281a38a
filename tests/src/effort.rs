//! How much the random tests do, and from which seed: `cargo xtask test --long --seed N` sets both.

use std::{env, time::SystemTime};

/// The variable that names the seed; without it the clock gives one. It is always printed.
const SEED: &str = "EVENKEEL_TEST_SEED";
/// The variable that asks for a long test, whatever its value.
const LONG_TEST: &str = "EVENKEEL_TEST_LONG";
/// A long test does so many times the work.
const LONG: usize = 50;

/// The seed.
///
/// # Panics
/// When the variable holds no number.
pub fn seed() -> u64 {
    match env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED}={text}: not a number from 0 to 2^64-1")),
        Err(_) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            // Microseconds keep it short enough to be typed.
            now.as_micros() as u64
        }
    }
}

/// What is usual, or fifty times as much for a long test.
pub fn times(usual: usize) -> usize {
    either(usual, usual * LONG)
}

/// What is usual, or what a long test does where fifty times as much would take hours.
pub fn either(usual: usize, long: usize) -> usize {
    if env::var_os(LONG_TEST).is_some() { long } else { usual }
}
