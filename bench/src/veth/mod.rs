//! Packets a second over veth pairs, everything on one core: generator, program under test and sink.
//!
//! ```text
//!   tcp4-hit, small-udp              small-udp-two-nics
//!
//!   sender           balancer        sender           balancer          receiver
//!   out ──────────────── in          out ──────────────── in  back ──────────── in
//!   generator ──────▶ subject        generator ──────▶ subject ──────────────▶ sink
//!   sink ◀─────── sends it back
//!
//!   small-udp, direct: out ──────────────── in, generator ──────▶ sink
//! ```
//!
//! - [`generator`]: live frames, which look like a driver's to a program. [`sink`]: counts and discards. [`mod@line`]: namespaces
//!   and veth pairs. [`tcp4_hit`], [`small_udp`]: what is measured; [`rivals`]: the kernel's own ways to send packets on.

mod generator;
mod line;
mod rivals;
mod sink;
mod small_udp;
mod tcp4_hit;

use anyhow::Result;
use evenkeel_tests::names::sweep;

use crate::{
    figure::Figure,
    priority::Priority,
    section::{Run, Section},
};

/// The section.
pub(crate) const SECTION: Section =
    Section { name: "veth", about: "packets a second over veth pairs, live frames, one core", run };

fn run(run: &Run) -> Result<Vec<Figure>> {
    sweep();
    let _priority = Priority::raise()?;
    let mut figures = tcp4_hit::run(run)?;
    figures.extend(small_udp::run(run)?);
    Ok(figures)
}
