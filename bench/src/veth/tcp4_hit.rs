//! TCP packets of known flows, sent back by the program under test.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{namespace::Namespace, topology::attach_program};
use lb_common::abi::{Mode, Pick};

use super::{
    SECTION,
    generator::{Generator, packets_for_a_repetition},
    line::{IN_DRIVER, balancer, index, join, namespace, sender},
    sink::Sink,
};
use crate::{
    figure::{Figure, Name},
    section::Run,
    subjects::{
        evenkeel::Evenkeel,
        packets::Shape,
        references::{MAC_SWAP, Reference},
        subject::{Setting, Subject},
        textbook::Textbook,
    },
};

const CASE: &str = "tcp4-hit";
const M: u64 = 1 << 20;
/// Packets by which the pace is found.
const TRIAL: u32 = 1 << 19;

/// A subject at work.
struct Lane {
    subject: Box<dyn Subject>,
    generator: Generator,
    sink: Sink,
    _attached: OwnedFd,
    sender: Namespace,
    _balancer: Namespace,
    packets: u32,
    rates: Vec<f64>,
}

pub(super) fn run(run: &Run) -> Result<Vec<Figure>> {
    let mut lanes = Vec::new();
    for name in [MAC_SWAP, "textbook", "evenkeel"] {
        lanes.push(Lane::build(name).with_context(|| format!("{CASE}: {name}"))?);
    }
    let mut figures = Vec::new();
    for flows in if run.short { &[M][..] } else { &[1, M][..] } {
        run.progress(&format!("{CASE} with {flows} flows"));
        for lane in &mut lanes {
            lane.warm_up(*flows)?;
        }
        for _ in 0..run.repetitions() {
            for lane in &mut lanes {
                lane.measure().with_context(|| format!("{CASE} with {flows} flows: {}", lane.subject.name()))?;
            }
        }
        for lane in &mut lanes {
            let subject = lane.subject.name();
            let name = Name { section: SECTION.name, case: CASE, subject, quantity: "rate", flows: Some(*flows) };
            figures.push(Figure::of(name, "Mpps", &lane.rates));
        }
    }
    Ok(figures)
}

impl Lane {
    fn build(name: &'static str) -> Result<Self> {
        let (from, to) = (namespace("sender")?, namespace("balancer")?);
        join(sender(&from), balancer(&to))?;
        let interface = index(balancer(&to))?;
        let setting = Setting { services: 0, capacity: M, mode: Mode::DsrL2, pick: Pick::FlowHash };
        let subject: Box<dyn Subject> = match name {
            "textbook" => Box::new(Textbook::load(setting)?),
            "evenkeel" => Box::new(to.enter(|| Evenkeel::load_at(setting, interface))??),
            _ => Box::new(Reference::load(name)?),
        };
        let attached = attach_program(&to, "in", subject.program()?.as_fd(), IN_DRIVER)?;
        let sink = Sink::attach(&from, "out")?;
        let generator = Generator::load(index(sender(&from))?, Shape::TCP4.plan(1, 1), Shape::TCP4.bytes(1))?;
        Ok(Self {
            subject,
            generator,
            sink,
            _attached: attached,
            sender: from,
            _balancer: to,
            packets: TRIAL,
            rates: Vec::new(),
        })
    }

    /// Every flow once: after this all are known, and so is the pace.
    fn warm_up(&mut self, flows: u64) -> Result<()> {
        self.rates.clear();
        self.subject.clear_flows()?;
        self.generator.set_plan(Shape::TCP4.plan(flows, 1), Shape::TCP4.bytes(1))?;
        self.generator.send(&self.sender, flows.max(1024) as u32)?;
        let took = self.generator.send(&self.sender, TRIAL)?;
        self.packets = packets_for_a_repetition(TRIAL, took);
        Ok(())
    }

    fn measure(&mut self) -> Result<()> {
        let packets = self.packets;
        let (arrived, tally) = (self.sink.arrived()?, self.subject.tally()?);
        let elapsed = self.generator.send(&self.sender, packets)?;
        let arrived = self.sink.arrived()? - arrived;
        ensure!(arrived == u64::from(packets), "{arrived} of {packets} packets came back");
        if let (Some(before), Some(after)) = (tally, self.subject.tally()?) {
            let done = after.since(before);
            let hits = done.forwarded == u64::from(packets) && done.inserted == 0;
            ensure!(hits, "{packets} packets of known flows were something else: {done:?}");
        }
        self.rates.push(arrived as f64 / elapsed.as_secs_f64() / 1e6);
        Ok(())
    }
}
