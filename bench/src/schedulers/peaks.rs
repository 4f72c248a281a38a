//! The most flows that one of equal backends has when none ends, beside what theory says of balls and bins.
//!
//! ```text
//! random             m/n + √(2 (m/n) ln n)       Raab and Steger, RANDOM '98
//! power-of-two       m/n + ln ln n / ln 2 + O(1)  Berenbrink, Czumaj, Steger and Vöcking, STOC 2000
//! least-connections  ⌈m/n⌉
//! ```

use anyhow::{Context, Result};
use evenkeel::config::model::SchedulerKind;

use super::{FLOWS, SECTION, SEED, case, node::Node, pool, traffic::Traffic};
use crate::{
    figure::{Figure, Name},
    section::{Run, Steps},
};

/// What cases are called, before the number of backends.
pub(super) const CASE: &str = "most-flows";
/// Numbers of backends; only the first where there is little time.
pub(super) const BACKENDS: [usize; 2] = [64, 200];
/// The schedulers that theory speaks of.
pub(super) const KINDS: [SchedulerKind; 3] =
    [SchedulerKind::Random, SchedulerKind::PowerOfTwo, SchedulerKind::LeastConnections];

/// Flows of the busiest above the average.
pub(super) const ABOVE: &str = "above-average";
/// What theory says of that.
pub(super) const THEORY: &str = "theory";
/// Flows of the busiest above the theory's, or below.
pub(super) const BEYOND: &str = "beyond-theory";
/// The one over the other.
pub(super) const OF_THEORY: &str = "of-theory";

pub(super) fn measure(run: &Run) -> Result<Vec<Figure>> {
    let numbers = if run.short { &BACKENDS[..1] } else { &BACKENDS };
    let mut steps = Steps::new(run, numbers.len() * KINDS.len());
    let mut figures = Vec::new();
    for number in numbers {
        for kind in KINDS {
            steps.next(&format!("{}, the most flows of one of {number} equal backends", kind.name()));
            let (above, theory) = (one(kind, *number).with_context(|| kind.name())?, theory(kind, *number));
            let case = case(CASE, *number);
            for (quantity, unit, value) in [
                (ABOVE, "flows", above),
                (THEORY, "flows", theory),
                (BEYOND, "flows", above - theory),
                (OF_THEORY, "", above / theory),
            ] {
                let name = Name { section: SECTION.name, case: &case, subject: kind.name(), quantity, flows: None };
                figures.push(Figure::of(name, unit, &[value]));
            }
        }
    }
    Ok(figures)
}

fn average(backends: usize) -> f64 {
    f64::from(FLOWS) / backends as f64
}

fn one(kind: SchedulerKind, number: usize) -> Result<f64> {
    let backends = pool::endless(number);
    let traffic = Traffic { backends: &backends, flows: FLOWS, seed: SEED };
    let outcome = traffic.run(&mut Node::start(kind, &backends)?)?;
    let most = outcome.live.into_iter().max().context("there are backends")?;
    Ok(f64::from(most) - average(number))
}

/// Flows of the busiest above the average.
fn theory(kind: SchedulerKind, backends: usize) -> f64 {
    let (average, logarithm) = (average(backends), (backends as f64).ln());
    match kind {
        SchedulerKind::Random => (2.0 * average * logarithm).sqrt(),
        SchedulerKind::LeastConnections if backends <= 64 => average.ceil() - average,
        _ => logarithm.ln() / 2.0_f64.ln(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn theory_says_what_the_formulas_say() {
        let rounded = |kind| (100.0 * theory(kind, 64)).round();
        assert_eq!(KINDS.map(rounded), [11_400.0, 206.0, 50.0]);
    }
}
