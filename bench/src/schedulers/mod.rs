//! Who gets new flows with each scheduler: 100 000 flows through the program in the kernel, beside what a model says.
//!
//! - [`pool`]: backends with unequal weights and times. [`traffic`]: flows over simulated time.
//! - [`node`]: the planner, the scores and the program under test. [`ideal`]: the models.
//! - [`shares`]: shares of flows. [`peaks`]: the most flows that a backend has. [`document`]: the table of both.

pub(crate) mod document;
mod ideal;
mod node;
mod peaks;
mod pool;
mod shares;
mod traffic;

use anyhow::Result;

use crate::{
    figure::Figure,
    section::{Run, Section},
};

/// The section.
pub(crate) const SECTION: Section =
    Section { name: "schedulers", about: "who gets 100 000 flows with each scheduler, beside a model", run };

/// Flows of each measurement.
const FLOWS: u32 = 100_000;
/// The traffic; models have others.
const SEED: u64 = 0;

fn run(run: &Run) -> Result<Vec<Figure>> {
    let mut figures = shares::measure(run)?;
    figures.extend(peaks::measure(run)?);
    Ok(figures)
}

/// The case of a measurement with so many backends.
fn case(what: &str, backends: usize) -> String {
    format!("{what}-of-{backends}")
}
