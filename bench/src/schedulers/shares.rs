//! Each backend's share of flows beside the model's.

use anyhow::{Context, Result};
use evenkeel::config::model::SchedulerKind;

use super::{
    FLOWS, SECTION, SEED, case,
    ideal::Model,
    node::Node,
    pool,
    traffic::{Outcome, Traffic},
};
use crate::{
    figure::{Figure, Name},
    section::{Run, Steps},
};

/// What cases are called, before the number of backends.
pub(super) const CASE: &str = "shares";
/// Numbers of backends; only the first where there is little time. With more than 64 the choice by score is of two.
pub(super) const BACKENDS: [usize; 3] = [8, 64, 200];
/// A share may be off by this part of itself.
const ALLOWED: f64 = 0.03;
/// Or by so many standard deviations, where chance alone moves it further.
const SIGMAS: f64 = 4.5;

/// How far the share of the backend that is furthest off is from the model's, in percent of the model's.
pub(super) const OFF: &str = "furthest-off";
/// How far that backend's may be.
pub(super) const MAY_BE: &str = "may-be-off";
/// The same as a part of what is allowed, for the backend where that is greatest.
pub(super) const OF_ALLOWED: &str = "of-allowed";

pub(super) fn measure(run: &Run) -> Result<Vec<Figure>> {
    let pools = if run.short { &BACKENDS[..1] } else { &BACKENDS };
    let mut steps = Steps::new(run, pools.len() * SchedulerKind::all().count());
    let (mut figures, mut worst) = (Vec::new(), 0.0_f64);
    for number in pools {
        for kind in SchedulerKind::all() {
            steps.next(&format!("{}, {number} backends with unequal weights and times", kind.name()));
            let judged = one(kind, *number).with_context(|| kind.name())?;
            worst = worst.max(judged.of_allowed);
            let case = case(CASE, *number);
            for (quantity, unit, value) in [
                (OFF, "%", 100.0 * judged.off),
                (MAY_BE, "%", 100.0 * judged.may_be),
                (OF_ALLOWED, "", judged.of_allowed),
            ] {
                let name = Name { section: SECTION.name, case: &case, subject: kind.name(), quantity, flows: None };
                figures.push(Figure::of(name, unit, &[value]));
            }
        }
    }
    let name = Name { section: SECTION.name, case: CASE, subject: "all", quantity: OF_ALLOWED, flows: None };
    figures.push(Figure::of(name, "", &[worst]));
    Ok(figures)
}

fn one(kind: SchedulerKind, number: usize) -> Result<Judged> {
    let backends = pool::unequal(number);
    let traffic = Traffic { backends: &backends, flows: FLOWS, seed: SEED };
    let outcome = traffic.run(&mut Node::start(kind, &backends)?)?;
    Ok(Judged::of(&outcome, &Model::of(kind, &traffic)?))
}

/// The backend that does worst.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Judged {
    /// How far its share is off, as a part of the model's.
    off: f64,
    /// How far it may be.
    may_be: f64,
    /// The one of the other.
    of_allowed: f64,
}

impl Judged {
    fn of(outcome: &Outcome, model: &Model) -> Self {
        let mut worst = Self::default();
        for ((share, expected), deviation) in outcome.shares.iter().zip(&model.shares).zip(&model.deviations) {
            let (off, may_be) = ((share - expected).abs() / expected, ALLOWED.max(SIGMAS * deviation / expected));
            if off / may_be >= worst.of_allowed {
                worst = Self { off, may_be, of_allowed: off / may_be };
            }
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_one_that_is_furthest_off_for_what_is_allowed() {
        let outcome = Outcome { shares: vec![0.51, 0.248, 0.242], live: vec![0; 3] };
        let model = Model { shares: vec![0.5, 0.25, 0.25], deviations: vec![0.0, 0.0, 0.005] };
        let Judged { off, may_be, of_allowed } = Judged::of(&outcome, &model);
        // The third is further off, but chance moves it.
        assert!((off - 0.02).abs() < 1e-9 && (may_be - 0.03).abs() < 1e-9 && (of_allowed - 2.0 / 3.0).abs() < 1e-9);
        let model = Model { deviations: vec![0.0; 3], ..model };
        assert!((Judged::of(&outcome, &model).off - 0.032).abs() < 1e-9);
    }
}
