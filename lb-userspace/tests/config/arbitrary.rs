//! Nothing panics, whatever the text.

use evenkeel::config;
use proptest::prelude::*;

/// Pieces that mutations put into good files: what YAML and the format give a meaning to.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\\PC\\n\\t]{0,6}",
        prop::sample::select(vec![
            "null",
            "~",
            "{}",
            "[]",
            "*a",
            "&a ",
            "!!int ",
            "!!binary ",
            "<<: ",
            "? ",
            "- ",
            "|\n",
            "---\n",
            "\"",
            "0",
            "-1",
            "1e999",
            ".nan",
            "99999999999999999999",
            "2001:db8::",
            "/0",
            "::/0",
            "any",
            "0-0",
            "1-65535",
            "none",
            ": ",
            "\u{0}",
            "\u{feff}",
            "#",
            "1ns",
            "9999y",
        ])
        .prop_map(str::to_owned),
    ]
}

fn mutated() -> impl Strategy<Value = String> {
    let examples = prop::sample::select(vec![
        include_str!("../../../configs/evenkeel.yaml"),
        include_str!("../../../configs/minimal.yaml"),
        include_str!("../../../configs/two-nics.yaml"),
    ]);
    (examples, prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, piece()), 1..4)).prop_map(
        |(text, changes)| {
            let mut letters: Vec<char> = text.chars().collect();
            for (start, length, piece) in changes {
                let start = start.index(letters.len() + 1);
                let end = (start + length).min(letters.len());
                letters.splice(start..end, piece.chars());
            }
            letters.into_iter().collect()
        },
    )
}

/// A text is either refused with reasons that stand in it, or good by all rules.
fn holds(text: &str) -> Result<(), TestCaseError> {
    match config::parse(text, "x.yaml") {
        Ok(config) => prop_assert_eq!(config::check_all(&config), Vec::<String>::new()),
        Err(error) => {
            prop_assert!(!error.problems.is_empty());
            let lines = text.lines().count() as u32 + 1;
            for problem in &error.problems {
                prop_assert!(problem.line <= lines, "{} of {} lines: {}", problem.line, lines, problem);
                prop_assert!(!problem.reason.is_empty());
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_does_not_panic(text in "(\\PC|[\\n\\t:{}\\[\\]&*!-]){0,200}") {
        holds(&text)?;
    }

    #[test]
    fn mutated_examples_do_not_panic(text in mutated()) {
        holds(&text)?;
    }
}
