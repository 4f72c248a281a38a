//! Reads the version that a tool prints of itself.

/// A release: major, minor, patch. A suffix such as `-nightly` is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The oldest compiler that the workspace's `rust-version` admits.
    #[must_use]
    pub fn oldest_compiler() -> Self {
        Self::parse(env!("CARGO_PKG_RUST_VERSION")).expect("the workspace states its rust-version")
    }

    /// Parses `1.96` or `1.96.0-nightly`; a part that is not stated is zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let release = text.split(['-', '+']).next()?;
        let mut numbers = release.split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
        Some(Self(major, next()?, next()?))
    }

    /// The version in what `tool --version` prints: `NAME VERSION …`.
    #[must_use]
    pub fn of_tool(printed: &str) -> Option<Self> {
        Self::parse(printed.split_whitespace().nth(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_print_is_read() {
        for (printed, expected) in [
            ("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)", Some(Version(1, 96, 0))),
            ("rustc 1.98.0-nightly (0123456789 2026-06-01)", Some(Version(1, 98, 0))),
            ("bpf-linker 0.13.0", Some(Version(0, 13, 0))),
            ("rustc 1.96", Some(Version(1, 96, 0))),
            ("rustc", None),
            ("rustc unknown", None),
            ("", None),
        ] {
            assert_eq!(Version::of_tool(printed), expected, "{printed:?}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number_and_not_by_text() {
        assert!(Version(1, 100, 0) > Version(1, 95, 2));
        assert!(Version(1, 95, 0) >= Version::oldest_compiler());
        assert!(Version(1, 94, 1) < Version::oldest_compiler());
    }
}
