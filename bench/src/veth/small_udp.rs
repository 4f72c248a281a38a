//! Small UDP packets of known flows, sent on by the interface that they came by, or by a second one.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bench_ebpf::Plan;
use evenkeel_tests::{namespace::Namespace, topology::attach_program};
use lb_common::abi::{Mode, Pick};

use super::{
    SECTION,
    generator::{Generator, packets_for_a_repetition},
    line::{End, IN_DRIVER, balancer, index, join, namespace, receiver, sender},
    rivals::{Rival, set_up},
    sink::Sink,
};
use crate::{
    figure::{Figure, Name},
    section::Run,
    subjects::{
        evenkeel::Evenkeel,
        packets::Shape,
        subject::{Setting, Subject as _},
    },
};

/// Where packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arms {
    /// By the interface that they came by: the sender's link has the receivers as well, as with direct server return.
    One,
    /// By a second interface.
    Two,
}

const FLOWS: u64 = 1024;
/// Packets that make the flows known and by which the pace is found.
const TRIAL: u32 = 1 << 18;

/// Who is between sender and receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Nobody,
    Evenkeel,
    Kernel(Rival),
}

const SUBJECTS: &[(&str, Between, bool)] = &[
    ("direct", Between::Nobody, true),
    ("evenkeel", Between::Evenkeel, true),
    ("nftables-dnat", Between::Kernel(Rival::Translate), true),
    ("nftables-fwd", Between::Kernel(Rival::Forward), false),
    ("routing", Between::Kernel(Rival::Routing), false),
];

/// A subject at work.
struct Lane {
    name: &'static str,
    generator: Generator,
    sink: Sink,
    /// At the sender, where nothing arrives; it makes the sender poll.
    _polling: Option<Sink>,
    evenkeel: Option<(Evenkeel, OwnedFd)>,
    sender: Namespace,
    _others: Vec<Namespace>,
    packets: u32,
    costs: Vec<f64>,
}

pub(super) fn run(run: &Run) -> Result<Vec<Figure>> {
    let mut figures = case(run, "small-udp", Arms::One)?;
    if !run.short {
        figures.extend(case(run, "small-udp-two-nics", Arms::Two)?);
    }
    Ok(figures)
}

fn case(run: &Run, case: &str, arms: Arms) -> Result<Vec<Figure>> {
    run.progress(&format!("{case} with {FLOWS} flows"));
    let mut lanes = Vec::new();
    for &(name, between, short) in SUBJECTS {
        if short || !run.short {
            lanes.push(Lane::build(name, between, arms).with_context(|| format!("{case}: {name}"))?);
        }
    }
    for repetition in 0..=run.repetitions() {
        for lane in &mut lanes {
            let took = lane.measure().with_context(|| format!("{case}: {}", lane.name))?;
            if repetition == 0 {
                lane.packets = packets_for_a_repetition(TRIAL, took);
                lane.costs.clear();
            }
        }
    }
    let figure = |lane: &Lane| {
        let name = Name { section: SECTION.name, case, subject: lane.name, quantity: "cost", flows: Some(FLOWS) };
        Figure::of(name, "ns", &lane.costs)
    };
    Ok(lanes.iter().map(figure).collect())
}

impl Lane {
    fn build(name: &'static str, between: Between, arms: Arms) -> Result<Self> {
        let from = namespace("sender")?;
        let mut others = Vec::new();
        let mut evenkeel = None;
        if between != Between::Nobody {
            let middle = namespace("balancer")?;
            join(sender(&from), balancer(&middle))?;
            let mut leaving = balancer(&middle);
            if arms == Arms::Two {
                leaving = End { namespace: &middle, device: "back", mac: "02:00:00:00:00:ef" };
                let to = namespace("receiver")?;
                join(leaving, receiver(&to))?;
                others.push(to);
            }
            match between {
                Between::Kernel(rival) => set_up(&middle, rival, leaving.device)?,
                _ => evenkeel = Some(attach_evenkeel(&middle, index(leaving)?)?),
            }
            others.push(middle);
        } else {
            let to = namespace("receiver")?;
            join(sender(&from), receiver(&to))?;
            others.push(to);
        }
        let at_sender = Sink::attach(&from, "out")?;
        let (sink, polling) = if between != Between::Nobody && arms == Arms::One {
            (at_sender, None)
        } else {
            (Sink::attach(&others[0], "in")?, Some(at_sender))
        };
        let (plan, packet) = packets();
        let generator = Generator::load(index(sender(&from))?, plan, packet)?;
        Ok(Self {
            name,
            generator,
            sink,
            _polling: polling,
            evenkeel,
            sender: from,
            _others: others,
            packets: TRIAL,
            costs: Vec::new(),
        })
    }

    fn measure(&mut self) -> Result<Duration> {
        let packets = self.packets;
        let arrived = self.sink.arrived()?;
        let tally = self.tally()?;
        let elapsed = self.generator.send(&self.sender, packets)?;
        let arrived = self.sink.arrived()? - arrived;
        ensure!(arrived == u64::from(packets), "{arrived} of {packets} packets arrived");
        let forwarded = self.tally()? - tally;
        ensure!(self.evenkeel.is_none() || forwarded == arrived, "Evenkeel forwarded {forwarded} of {arrived} packets");
        self.costs.push(elapsed.as_secs_f64() * 1e9 / arrived as f64);
        Ok(elapsed)
    }

    fn tally(&self) -> Result<u64> {
        match &self.evenkeel {
            Some((evenkeel, _)) => Ok(evenkeel.tally()?.unwrap_or_default().forwarded),
            None => Ok(0),
        }
    }
}

fn attach_evenkeel(balancer: &Namespace, back: u32) -> Result<(Evenkeel, OwnedFd)> {
    let setting = Setting { services: 0, capacity: 64 * FLOWS, mode: Mode::DsrL2, pick: Pick::FlowHash };
    let evenkeel = balancer.enter(|| Evenkeel::load_across(setting, back))??;
    let attached = attach_program(balancer, "in", evenkeel.program()?.as_fd(), IN_DRIVER)?;
    Ok((evenkeel, attached))
}

/// UDP packets that the kernel accepts as well: it looks at the checksum of the IPv4 header.
fn packets() -> (Plan, Vec<u8>) {
    let mut packet = Shape::UDP4.bytes(1);
    let checksum = checksum(&packet[14..34]);
    packet[24..26].copy_from_slice(&checksum.to_be_bytes());
    let mut plan = Shape::UDP4.plan(FLOWS, 1);
    for (word, chunk) in plan.template.iter_mut().zip(packet.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().expect("eight bytes"));
    }
    (plan, packet)
}

/// The Internet checksum (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_would_accept_the_packets() {
        let (plan, packet) = packets();
        // With its own checksum in it a header sums to zero.
        assert_eq!(checksum(&packet[14..34]), 0);
        assert_ne!(packet[24..26], [0, 0]);
        let template: Vec<u8> = plan.template.iter().flat_map(|word| word.to_ne_bytes()).take(packet.len()).collect();
        assert_eq!(template, packet);
    }
}
