use super::{formula::*, *};
use crate::figure::Name;

const RAW: Term = Term { case: "hit", subject: "ours", quantity: "raw", flows: Some(1), statistic: Statistic::Minimum };

fn figure(subject: &str, flows: Option<u64>, samples: &[f64]) -> Figure {
    Figure::of(Name { section: "path", case: "hit", subject, quantity: "raw", flows }, "ns", samples)
}

fn bar(formula: Formula, bound: Bound) -> Bar {
    Bar { name: "a bar", section: "path", formula, bound, kept: None }
}

#[test]
fn a_ratio_is_of_the_statistic_that_the_terms_name() {
    let figures = [figure("ours", Some(1), &[3.0, 4.0, 9.0]), figure("theirs", Some(1), &[2.0, 8.0, 9.0])];
    for (statistic, expected) in [(Statistic::Minimum, 1.5), (Statistic::Median, 0.5), (Statistic::Maximum, 1.0)] {
        let term = Term { statistic, ..RAW };
        let bar = bar(Formula::Ratio(term, term.of("theirs")), Bound::AtMost(1.5));
        assert_eq!(bar.outcome(&figures), Outcome::Ok(expected));
    }
}

#[test]
fn what_is_added_is_compared_not_the_whole() {
    let figures = [figure("ours", None, &[110.0]), figure("theirs", None, &[300.0]), figure("direct", None, &[100.0])];
    let ours = Term { flows: None, ..RAW };
    let added = Formula::Added { subject: ours, other: ours.of("theirs"), direct: ours.of("direct") };
    assert_eq!(bar(added, Bound::AtMost(0.05)).outcome(&figures), Outcome::Ok(0.05));
    assert_eq!(bar(added, Bound::Below(0.05)).outcome(&figures), Outcome::Short(0.05));
    assert_eq!(bar(added, Bound::AtLeast(0.06)).outcome(&figures), Outcome::Short(0.05));
}

#[test]
fn a_figure_of_another_number_of_flows_does_not_count() {
    let bar = bar(Formula::Value(RAW), Bound::AtMost(16.0));
    assert_eq!(bar.outcome(&[figure("ours", Some(1024), &[1.0])]), Outcome::NotMeasured);
    assert_eq!(bar.outcome(&[figure("ours", Some(1024), &[1.0]), figure("ours", Some(1), &[2.0])]), Outcome::Ok(2.0));
}

#[test]
fn nothing_can_be_said_in_relation_to_nothing() {
    let figures = [figure("ours", Some(1), &[-1.0]), figure("theirs", Some(1), &[0.0])];
    let outcome = bar(Formula::Ratio(RAW, RAW.of("theirs")), Bound::AtMost(1.0)).outcome(&figures);
    assert!(matches!(outcome, Outcome::Short(value) if value.is_nan()), "{outcome:?}");
}

#[test]
fn a_check_complains_of_what_falls_short_and_of_what_a_section_left_out() {
    let bars = [bar(Formula::Value(RAW), Bound::AtMost(1.0))];
    let ran = ["path".to_owned()];
    assert_eq!(complaints(&bars, &[figure("ours", Some(1), &[1.0])], &ran), Vec::<String>::new());
    assert_eq!(complaints(&bars, &[figure("ours", Some(1), &[2.0])], &[]), ["a bar: 2.000, must be ≤ 1"]);
    assert_eq!(complaints(&bars, &[], &ran), ["a bar: section path ran but did not measure it"]);
    assert_eq!(complaints(&bars, &[], &["other".to_owned()]), Vec::<String>::new());
}

#[test]
fn a_bar_that_is_not_reached_yet_is_short_but_only_a_step_back_is_complained_of() {
    let bar = Bar { kept: Some(Bound::AtMost(3.0)), ..bar(Formula::Value(RAW), Bound::AtMost(1.0)) };
    let ran = ["path".to_owned()];
    for (value, complaint) in [(1.0, None), (2.0, None), (4.0, Some("a bar: 4.000, must be ≤ 3"))] {
        let figures = [figure("ours", Some(1), &[value])];
        assert_eq!(matches!(bar.outcome(&figures), Outcome::Short(_)), value > 1.0);
        assert_eq!(complaints(&[bar], &figures, &ran).first().map(String::as_str), complaint);
        assert_eq!(complaining(&[bar], &figures, &ran).len(), usize::from(complaint.is_some()));
    }
}

/// Section, case, subjects, quantity and flows.
type Named = (&'static str, &'static str, &'static [&'static str], &'static str, Option<u64>);

/// What each section has to deliver, name by name.
#[test]
fn every_bar_has_a_value_once_its_figures_are_there() {
    const M: Option<u64> = Some(1 << 20);
    let named: &[Named] = &[
        ("data-path", "tcp4-hit", &["evenkeel", "mac-swap"], "raw", Some(1)),
        ("data-path", "tcp6-hit", &["evenkeel", "mac-swap"], "raw", Some(1)),
        ("data-path", "udp4-hit", &["evenkeel", "mac-swap"], "raw", Some(1)),
        ("data-path", "not-served", &["evenkeel", "pass"], "raw", Some(1)),
        ("data-path", "tcp4-hit", &["evenkeel", "textbook"], "net", M),
        ("data-path", "syn-insert", &["evenkeel", "textbook"], "net", M),
        ("data-path", "syn-insert-least-connections", &["evenkeel"], "net", M),
        ("data-path", "tcp4-hit", &["evenkeel"], "net", Some(1)),
        ("data-path", "tcp4-hit-10000-services", &["evenkeel"], "net", Some(1)),
        ("data-path", "ipip-hit", &["evenkeel", "ipip-push"], "raw", Some(1)),
        ("data-path", "gue-hit", &["evenkeel"], "raw", Some(1)),
        ("data-path", "nat-hit", &["evenkeel"], "raw", Some(1)),
        ("data-path", "memory", &["evenkeel"], "flow", None),
        ("veth", "tcp4-hit", &["evenkeel", "mac-swap"], "rate", M),
        ("veth", "small-udp", &["direct", "evenkeel", "nftables-dnat"], "cost", None),
        ("vm", "packet", &["direct", "evenkeel", "ipvs-dr"], "instructions", None),
        ("services", "new-connections", &["direct", "evenkeel", "haproxy", "nginx"], "rate", None),
        ("services", "latency", &["direct", "evenkeel", "haproxy"], "p50", None),
        ("flood", "requests", &["syn-flood", "harmless"], "p99", None),
        ("control-plane", "one-down", &["evenkeel"], "time", None),
        ("control-plane", "one-down", &["evenkeel"], "foreign-writes", None),
        ("control-plane", "flow-scan", &["evenkeel"], "time", Some(1 << 24)),
        ("probes", "tcp", &["evenkeel"], "cpu", None),
        ("probes", "tcp-1000-silent", &["evenkeel"], "cpu", None),
        ("schedulers", "shares", &["all"], "of-allowed", None),
        ("schedulers", "most-flows-of-64", &["random"], "of-theory", None),
        ("schedulers", "most-flows-of-64", &["power-of-two", "least-connections"], "beyond-theory", None),
        ("schedulers", "most-flows-of-64", &["power-of-two", "random"], "above-average", None),
    ];
    let mut figures = Vec::new();
    for (section, case, subjects, quantity, flows) in named {
        for (i, subject) in subjects.iter().enumerate() {
            let name = Name { section, case, subject, quantity, flows: *flows };
            figures.push(Figure::of(name, "", &[1.0 + i as f64]));
        }
    }
    for bar in BARS {
        let value = bar.outcome(&figures).value();
        assert!(value.is_some_and(|value| !value.is_nan()), "{}: {value:?}", bar.name);
    }
    for missing in 0..figures.len() {
        let mut rest = figures.clone();
        let gone = rest.remove(missing);
        let unmeasured = BARS.iter().filter(|bar| bar.outcome(&rest) == Outcome::NotMeasured).count();
        assert!(unmeasured > 0, "no bar needs {gone:?}");
    }
}
