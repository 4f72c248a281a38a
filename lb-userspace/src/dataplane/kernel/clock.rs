//! The data path's clock: jiffies, shifted to ticks of about a sixteenth of a second.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getres};

/// How ticks and time relate on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Jiffies in a second (`CONFIG_HZ`).
    pub hz: u32,
    /// Jiffies are shifted by this to ticks.
    pub shift: u32,
}

impl Clock {
    /// This kernel's.
    ///
    /// # Errors
    ///
    /// If the resolution of the coarse clock, which is one jiffy, cannot be read.
    pub fn of_this_kernel() -> Result<Self> {
        let jiffy = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
            .context("the resolution of the kernel's coarse clock cannot be read")?;
        let nanoseconds = Duration::from(jiffy).as_nanos().max(1);
        Ok(Self::with_hz(((1_000_000_000 + nanoseconds / 2) / nanoseconds) as u32))
    }

    /// A kernel's with so many jiffies in a second. 24 bits of such ticks last for at least twelve days, and a
    /// flow's entry is written at most 16 times a second.
    #[must_use]
    pub const fn with_hz(hz: u32) -> Self {
        let mut shift = 0;
        while hz >> shift > 16 {
            shift += 1;
        }
        Self { hz, shift }
    }

    /// Whole ticks in a second, rounded down.
    #[must_use]
    pub const fn ticks_per_second(self) -> u32 {
        self.hz >> self.shift
    }

    /// Ticks after which a time has passed for certain: an event may fall anywhere in its tick.
    #[must_use]
    pub fn ticks(self, time: Duration) -> u32 {
        let jiffies = time.as_micros() * u128::from(self.hz) / 1_000_000;
        (jiffies >> self.shift) as u32 + 2
    }

    /// How long so many ticks are.
    #[must_use]
    pub fn time(self, ticks: u32) -> Duration {
        Duration::from_micros((u64::from(ticks) << self.shift) * 1_000_000 / u64::from(self.hz))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_about_a_sixteenth_of_a_second() {
        for (hz, shift) in [(100, 3), (250, 4), (300, 5), (1000, 6)] {
            assert_eq!(Clock::with_hz(hz), Clock { hz, shift });
        }
    }

    #[test]
    fn a_time_out_is_never_shorter_than_asked() {
        for hz in [100, 250, 300, 1000] {
            let clock = Clock::with_hz(hz);
            for seconds in [1, 10, 60, 900, 86_400] {
                let asked = Duration::from_secs(seconds);
                let got = clock.time(clock.ticks(asked) - 1);
                assert!(got >= asked && got < asked + Duration::from_millis(200), "{hz} Hz: {asked:?} became {got:?}");
            }
        }
    }

    #[test]
    fn this_kernel_has_a_usual_clock() {
        let clock = Clock::of_this_kernel().expect("readable");
        assert!([100, 250, 300, 1000].contains(&clock.hz), "{clock:?}");
    }
}
