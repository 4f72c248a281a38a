//! What is measured, in which order.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use evenkeel_tests::wait::wait_ok;

use super::{
    Report, alone,
    subject::{Balancer, SUBJECTS, Subject},
    traffic::{FLOWS, Traffic},
};
use crate::{
    figure::{Figure, Name},
    vm::report::Line,
};

/// How long a balancer may take until it forwards: five thousand million instructions, which take the emulator half a
/// minute on a slow machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// Samples of each subject.
const SAMPLES: u32 = 15;

/// Measures everything.
pub(super) fn run(report: &mut Report) -> Result<()> {
    for subject in SUBJECTS {
        report.progress(subject.name)?;
        measure(subject, report).context(subject.name)?;
    }
    Ok(())
}

fn measure(subject: &Subject, report: &mut Report) -> Result<()> {
    let stage = (subject.stage)()?;
    let balancer = (subject.start)(&stage)?;
    let mut traffic = Traffic::on(&stage)?;
    // Makes all flows known, too.
    wait_ok("all packets pass", PATIENCE, || traffic.send(1))?;
    let samples = samples(balancer.as_ref(), &mut traffic)?;
    let name = Name {
        section: "vm",
        case: "packet",
        subject: subject.name,
        quantity: "instructions",
        flows: Some(u64::from(FLOWS)),
    };
    report.send(&Line::Figure(Figure::of(name, "insn", &samples)))?;
    if let Some(program) = alone::evenkeel() {
        let verified = program.verified_instruction_count().context("the kernel does not count what it verifies")?;
        let load = Name { case: "load", quantity: "verified", flows: None, ..name };
        report.send(&Line::Figure(Figure::of(load, "insn", &[f64::from(verified)])))?;
        for (subject, samples) in alone::measure(&stage, &program)? {
            let program = Name { case: "program", subject, ..name };
            report.send(&Line::Figure(Figure::of(program, "insn", &samples)))?;
        }
    }
    Ok(())
}

/// Instructions for a packet, all the way from the generator to the sink.
fn samples(balancer: &dyn Balancer, traffic: &mut Traffic<'_>) -> Result<Vec<f64>> {
    let known = balancer.new_flows()?;
    let samples = traffic.send(SAMPLES + 1)?;
    let after = balancer.new_flows()?;
    ensure!(known == after, "packets of known flows made new ones: {known:?} before, {after:?} afterwards");
    Ok(samples)
}
