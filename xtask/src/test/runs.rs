//! Which `cargo test` runs a selection calls for.

use std::fmt;

use cargo_metadata::{Metadata, TargetKind};

/// The package of the packet and end-to-end tests.
pub(super) const TESTS: &str = "evenkeel-tests";
/// An end-to-end test starts several namespaces and programs: more at once only slow each other down.
const END_TO_END_THREADS: &str = "--test-threads=2";

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those of the crates themselves.
    Unit,
    /// The packet catalogue, through the program in the kernel.
    Packets,
    /// The daemon in network namespaces.
    EndToEnd,
    /// What needs another kernel than this one, in QEMU.
    Kernels,
}

impl Kind {
    /// All, the fastest first.
    const ALL: [Self; 4] = [Self::Unit, Self::Packets, Self::EndToEnd, Self::Kernels];

    /// The word that selects it; targets of the tests' package belong to it by this prefix.
    const fn word(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Packets => "packets",
            Self::EndToEnd => "e2e",
            Self::Kernels => "kernels",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One `cargo test`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The part it is.
    pub(crate) kind: Kind,
    /// What cargo is given.
    pub(crate) arguments: Vec<String>,
}

/// Splits the words of the command line: a part as the first word, then filters. Filters alone are for this machine's kernel.
pub(crate) fn selection(words: &[String]) -> (Vec<Kind>, Vec<String>) {
    let part = words.first().and_then(|word| Kind::ALL.into_iter().find(|kind| kind.word() == word));
    match part {
        Some(kind) => (vec![kind], words[1..].to_vec()),
        None if words.is_empty() => (Kind::ALL.to_vec(), Vec::new()),
        None => (Kind::ALL.into_iter().filter(|kind| *kind != Kind::Kernels).collect(), words.to_vec()),
    }
}

/// The test targets of the tests' package.
pub(crate) fn targets(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.packages.iter().filter(|package| package.name.as_str() == TESTS);
    let targets = packages.flat_map(|package| &package.targets);
    targets.filter(|target| target.kind.contains(&TargetKind::Test)).map(|target| target.name.clone()).collect()
}

/// The run of a part; `None` when it has no target, or is no run of cargo's (see [`super::kernels`]).
pub(crate) fn run_of(kind: Kind, filters: &[String], targets: &[String]) -> Option<Run> {
    let mut arguments = vec!["test", "--no-fail-fast"];
    match kind {
        Kind::Unit => ["lb-common", "evenkeel", "lb-ebpf", "xtask", "evenkeel-bench"].iter().for_each(|package| {
            arguments.extend(["--package", package]);
        }),
        Kind::Kernels => return None,
        Kind::Packets | Kind::EndToEnd => {
            arguments.extend(["--package", TESTS]);
            let own: Vec<_> = targets.iter().filter(|name| name.starts_with(kind.word())).collect();
            if own.is_empty() {
                return None;
            }
            if kind == Kind::EndToEnd {
                // The harness's own unit tests, and those of the demo.
                arguments.extend(["--lib", "--bins"]);
            }
            own.iter().for_each(|name| arguments.extend(["--test", name]));
        }
    }
    arguments.extend(["--", "--nocapture"]);
    if kind == Kind::EndToEnd {
        arguments.push(END_TO_END_THREADS);
    }
    let filters = filters.iter().map(String::as_str);
    Some(Run { kind, arguments: arguments.into_iter().chain(filters).map(String::from).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn the_first_word_may_name_a_part_and_the_others_filter() {
        for (given, kinds, filters) in [
            ("", Kind::ALL.to_vec(), ""),
            ("unit", vec![Kind::Unit], ""),
            ("e2e drain reload", vec![Kind::EndToEnd], "drain reload"),
            ("packets unit", vec![Kind::Packets], "unit"),
            ("kernels vlan", vec![Kind::Kernels], "vlan"),
            ("drain", vec![Kind::Unit, Kind::Packets, Kind::EndToEnd], "drain"),
        ] {
            assert_eq!(selection(&words(given)), (kinds, words(filters)), "{given:?}");
        }
    }

    #[test]
    fn targets_belong_to_a_part_by_their_prefix() {
        let targets = words("packets packets_ipv6 e2e_basic e2e_drain other");
        let arguments = |kind, filters| run_of(kind, &words(filters), &targets).expect("it has targets").arguments;
        let tests = "test --no-fail-fast --package evenkeel-tests";
        let packets = format!("{tests} --test packets --test packets_ipv6 -- --nocapture");
        assert_eq!(arguments(Kind::Packets, ""), words(&packets));
        let end_to_end =
            format!("{tests} --lib --bins --test e2e_basic --test e2e_drain -- --nocapture --test-threads=2 drain");
        assert_eq!(arguments(Kind::EndToEnd, "drain"), words(&end_to_end));
    }

    #[test]
    fn unit_tests_are_those_of_the_crates() {
        let run = run_of(Kind::Unit, &[], &[]).expect("they need no target");
        let packages = "--package lb-common --package evenkeel --package lb-ebpf --package xtask \
                        --package evenkeel-bench";
        assert_eq!(run.arguments, words(&format!("test --no-fail-fast {packages} -- --nocapture")));
    }

    #[test]
    fn a_part_without_targets_is_not_run() {
        assert_eq!(run_of(Kind::EndToEnd, &[], &words("packets")), None);
    }
}
