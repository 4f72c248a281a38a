//! What is measured, in turns.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use evenkeel_tests::topology::Topology;

use super::{clients, cpu::busy, stage::Stage, subject::Subject, wrk};
use crate::{
    figure::{Figure, Name},
    priority::Priority,
    section::{Run, Section},
};

/// The section.
pub(crate) const SECTION: Section =
    Section { name: "services", about: "whole connections, against HAProxy, nginx and nftables, one core", run };

/// Servers behind each balancer.
const BACKENDS: usize = 2;

/// Case, quantity and unit.
type Measure = (&'static str, &'static str, &'static str);

const CONNECTIONS: Measure = ("new-connections", "rate", "1/s");
const P50: Measure = ("latency", "p50", "us");
const P99: Measure = ("latency", "p99", "us");
const UPLOAD: Measure = ("throughput", "rate", "Gbit/s");
const DATAGRAMS: Measure = ("udp-packets", "rate", "1/s");
const CPU_CONNECTIONS: Measure = ("cpu", "per-10k-connections", "s/10k");
const CPU_UPLOAD: Measure = ("cpu", "per-gigabyte", "s/GB");

/// Samples by subject (its place in the order) and measure, in the order of their coming up.
#[derive(Default)]
struct Samples(BTreeMap<(usize, Measure), Vec<f64>>);

fn run(run: &Run) -> Result<Vec<Figure>> {
    let _priority = Priority::raise()?;
    let subjects: Vec<Subject> = Subject::ALL.into_iter().filter(|subject| subject.in_short() || !run.short).collect();
    run.progress("networks and servers");
    let topologies = subjects.iter().map(|_| Topology::one_nic(BACKENDS)).collect::<Result<Vec<_>>>()?;
    let mut stages = Vec::new();
    for (subject, topology) in subjects.iter().zip(&topologies) {
        stages.push(Stage::start(*subject, topology).with_context(|| subject.name())?);
    }
    let mut samples = Samples::default();
    let rounds = if run.short { 2 } else { 5 };
    for round in 1..=rounds {
        run.progress(&format!("round {round} of {rounds}"));
        for (place, stage) in stages.iter().enumerate() {
            measure(run, stage, |measure, value| samples.add(place, measure, value))
                .with_context(|| format!("through {}", stage.subject.name()))?;
        }
    }
    Ok(samples.figures(&subjects))
}

fn measure(run: &Run, stage: &Stage<'_>, mut found: impl FnMut(Measure, f64)) -> Result<()> {
    let length = Duration::from_secs(if run.short { 1 } else { 2 });
    let before = busy(run.cpu)?;
    let connections = wrk::new_connections(stage.client(), 2)?;
    found(CONNECTIONS, connections.rate);
    found(CPU_CONNECTIONS, (busy(run.cpu)? - before) / connections.number as f64 * 1e4);
    let latency = stage.client().enter(|| clients::latency(length))??;
    found(P50, latency.p50);
    found(P99, latency.p99);
    if run.short {
        return Ok(());
    }
    let before = busy(run.cpu)?;
    let upload = stage.client().enter(|| clients::upload(length))??;
    found(UPLOAD, upload.amount as f64 * 8.0 / upload.time.as_secs_f64() / 1e9);
    found(CPU_UPLOAD, (busy(run.cpu)? - before) / (upload.amount as f64 / 1e9));
    if stage.subject.takes_udp() {
        let transfer = stage.client().enter(|| clients::datagrams(length, &stage.responders))??;
        found(DATAGRAMS, transfer.amount as f64 / transfer.time.as_secs_f64());
    }
    Ok(())
}

impl Samples {
    fn add(&mut self, place: usize, measure: Measure, value: f64) {
        self.0.entry((place, measure)).or_default().push(value);
    }

    fn figures(&self, subjects: &[Subject]) -> Vec<Figure> {
        let mut figures = Vec::new();
        for measure in [CONNECTIONS, P50, P99, UPLOAD, DATAGRAMS, CPU_CONNECTIONS, CPU_UPLOAD] {
            let (case, quantity, unit) = measure;
            for (place, subject) in subjects.iter().enumerate() {
                if let Some(values) = self.0.get(&(place, measure)) {
                    let name = Name { section: SECTION.name, case, subject: subject.name(), quantity, flows: None };
                    figures.push(Figure::of(name, unit, values));
                }
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_the_figures_of_their_subject() {
        let mut samples = Samples::default();
        for (place, value) in [(0, 30.0), (1, 3.0), (0, 10.0), (0, 20.0)] {
            samples.add(place, P50, value);
        }
        let figures = samples.figures(&[Subject::Direct, Subject::Haproxy]);
        let found: Vec<_> = figures.iter().map(|f| (f.subject.as_str(), f.quantity.as_str(), f.median)).collect();
        assert_eq!(found, [("direct", "p50", 20.0), ("haproxy", "p50", 3.0)]);
    }
}
