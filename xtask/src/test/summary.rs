//! Adds up what `cargo test` reports.

use std::{fmt, ops::AddAssign};

/// How many tests came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Reads a test program's closing line: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_, figures) = line.trim_end().strip_prefix("test result: ")?.split_once(". ")?;
        let figure = |name: &str| {
            figures.split("; ").find_map(|figure| figure.strip_suffix(name)?.strip_suffix(' ')?.parse().ok())
        };
        Some(Self { passed: figure("passed")?, failed: figure("failed")?, skipped: figure("ignored")? })
    }

    /// Counts a run that failed without a failed test, such as one that does not compile or that crashed, as a failure.
    #[must_use]
    pub(crate) fn with_status(self, success: bool) -> Self {
        if success || self.failed > 0 { self } else { Self { failed: 1, ..self } }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_read_and_other_lines_are_not() {
        let counts = |passed, failed, skipped| Some(Counts { passed, failed, skipped });
        for (line, expected) in [
            (
                "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 40 filtered out; finished in 0.02s",
                counts(12, 0, 3),
            ),
            (
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s\r",
                counts(1, 2, 0),
            ),
            ("test drain::moves ... ok", None),
            ("test result: ok", None),
            ("running 3 tests", None),
            ("the test result: ok. 1 passed; 0 failed; 0 ignored", None),
        ] {
            assert_eq!(Counts::of_line(line), expected, "{line:?}");
        }
    }

    #[test]
    fn the_sum_is_one_plain_line() {
        let mut total = Counts { passed: 1, failed: 2, skipped: 3 };
        total += Counts { passed: 10, failed: 20, skipped: 30 };
        assert_eq!(total.to_string(), "11 passed, 22 failed, 33 skipped");
    }

    #[test]
    fn a_failed_run_is_never_counted_as_clean() {
        let counts = Counts { passed: 5, failed: 0, skipped: 0 };
        assert_eq!(counts.with_status(true).failed, 0);
        assert_eq!(counts.with_status(false).failed, 1, "it crashed or did not compile");
        assert_eq!(Counts { failed: 2, ..counts }.with_status(false).failed, 2, "not counted twice");
    }
}
