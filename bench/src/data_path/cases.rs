//! What is measured, in which order.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use lb_common::{
    abi::{Mode, Pick},
    parse::Family,
};

use super::{
    driver::Driver,
    footprint::{self, Memory},
};
use crate::{
    figure::{Figure, Name},
    section::{Run, Section, Steps},
    subjects::{
        evenkeel::{Evenkeel, VARIANTS, other_vip},
        packets::{RST, SYN, Shape},
        pinned::Pinned,
        references::{DROP, IPIP_PUSH, MAC_SWAP, PASS, Reference},
        subject::{Expected, Setting, Subject, Tally},
        textbook::Textbook,
    },
};

/// The section.
pub(crate) const SECTION: Section =
    Section { name: "data-path", about: "nanoseconds a packet, the program alone, against references", run };

/// XDP actions.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// Some thousand flows.
const K: u64 = 1 << 10;
/// Some million flows.
const M: u64 = 1 << 20;

/// One thing to measure.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    shape: Shape,
    expected: Expected,
    flows: &'static [u64],
    /// Services that the packets are spread over.
    spread: u32,
    /// Whether the short form has it.
    short: bool,
}

const HIT: Case =
    Case { name: "tcp4-hit", shape: Shape::TCP4, expected: Expected::Hit, flows: &[1], spread: 1, short: true };

/// Flows of other services than the one of [`Shape::TCP4`].
const OTHER: Shape = Shape { to: Ipv4Addr::new(198, 18, 0, 0), ..Shape::TCP4 };

/// Cases that share tables.
struct Group {
    setting: Setting,
    cases: &'static [Case],
}

impl Group {
    /// Those that a run has time for.
    fn cases(&self, run: &Run) -> impl Iterator<Item = &'static Case> {
        let short = run.short;
        self.cases.iter().filter(move |case| case.short || !short)
    }
}

const SMALL: Setting = Setting { services: 0, capacity: 64 * K, mode: Mode::DsrL2, pick: Pick::FlowHash };

const GROUPS: &[Group] = &[
    Group {
        setting: SMALL,
        cases: &[
            HIT,
            Case { flows: &[K, 64 * K], short: false, ..HIT },
            Case { name: "tcp6-hit", shape: Shape::TCP6, ..HIT },
            Case { name: "udp4-hit", shape: Shape::UDP4, ..HIT },
            Case { name: "udp6-hit", shape: Shape::UDP6, short: false, ..HIT },
            Case { name: "tcp4-hit-1500", shape: Shape { length: 1514, ..Shape::TCP4 }, short: false, ..HIT },
            Case {
                name: "hash-only",
                shape: Shape { tcp_flags: RST, ..Shape::TCP4 },
                expected: Expected::Forwarded,
                short: false,
                ..HIT
            },
            Case {
                name: "not-served",
                shape: Shape { to: Ipv4Addr::new(198, 51, 100, 1), ..Shape::TCP4 },
                expected: Expected::Passed,
                ..HIT
            },
            Case {
                name: "drop-ttl",
                shape: Shape { hop_limit: 0, ..Shape::TCP4 },
                expected: Expected::Dropped,
                short: false,
                ..HIT
            },
            Case {
                name: "full-table",
                shape: Shape { tcp_flags: SYN, ..Shape::TCP4 },
                expected: Expected::Forwarded,
                flows: &[M],
                short: false,
                ..HIT
            },
        ],
    },
    Group {
        setting: Setting { mode: Mode::Ipip, ..SMALL },
        cases: &[
            Case { name: "ipip-hit", ..HIT },
            Case { name: "ipip-hit-ipv6", shape: Shape::TCP6, short: false, ..HIT },
        ],
    },
    Group {
        setting: Setting { mode: Mode::Gue, ..SMALL },
        cases: &[
            Case { name: "gue-hit", ..HIT },
            Case { name: "gue-hit-ipv6", shape: Shape::TCP6, short: false, ..HIT },
        ],
    },
    Group {
        setting: Setting { mode: Mode::Nat, ..SMALL },
        cases: &[
            Case { name: "nat-hit", ..HIT },
            Case { name: "nat-hit-ipv6", shape: Shape::TCP6, short: false, ..HIT },
        ],
    },
    Group { setting: Setting { mode: Mode::FullNat, ..SMALL }, cases: &[Case { name: "full-nat-hit", ..HIT }] },
    Group {
        setting: Setting { capacity: M, ..SMALL },
        cases: &[
            Case { flows: &[M], ..HIT },
            Case { name: "tcp6-hit", shape: Shape::TCP6, flows: &[M], short: false, ..HIT },
            Case { name: "udp4-hit", shape: Shape::UDP4, flows: &[M], short: false, ..HIT },
            Case { name: "udp6-hit", shape: Shape::UDP6, flows: &[M], short: false, ..HIT },
            Case {
                name: "syn-insert",
                shape: Shape { tcp_flags: SYN, ..Shape::TCP4 },
                expected: Expected::Insert,
                flows: &[M],
                ..HIT
            },
            Case {
                name: "syn-insert",
                shape: Shape { tcp_flags: SYN, ..Shape::TCP4 },
                expected: Expected::Insert,
                flows: &[64 * K],
                short: false,
                ..HIT
            },
            Case {
                name: "hash-only",
                shape: Shape { tcp_flags: RST, ..Shape::TCP4 },
                expected: Expected::Forwarded,
                flows: &[M],
                short: false,
                ..HIT
            },
        ],
    },
    Group {
        setting: Setting { capacity: M, pick: Pick::Least, ..SMALL },
        cases: &[Case {
            name: "syn-insert-least-connections",
            shape: Shape { tcp_flags: SYN, ..Shape::TCP4 },
            expected: Expected::Insert,
            flows: &[M],
            ..HIT
        }],
    },
    Group { setting: Setting { capacity: 4 * M, ..SMALL }, cases: &[Case { flows: &[4 * M], short: false, ..HIT }] },
    Group {
        setting: Setting { services: 100, ..SMALL },
        cases: &[
            Case { name: "tcp4-hit-100-services", short: false, ..HIT },
            Case { name: "tcp4-hit-spread-64-services", shape: OTHER, flows: &[64], spread: 64, short: false, ..HIT },
        ],
    },
    Group {
        setting: Setting { services: 10_000, ..SMALL },
        cases: &[
            Case { name: "tcp4-hit-10000-services", ..HIT },
            Case {
                name: "tcp4-hit-spread-8192-services",
                shape: OTHER,
                flows: &[8 * K],
                spread: 8192,
                short: false,
                ..HIT
            },
        ],
    },
];

fn run(run: &Run) -> Result<Vec<Figure>> {
    let mut driver = Driver::load()?;
    let mut steps =
        Steps::new(run, GROUPS.iter().flat_map(|group| group.cases(run)).map(|case| case.flows.len()).sum());
    let (mut figures, mut memory, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for group in GROUPS.iter().filter(|group| group.cases(run).next().is_some()) {
        let mut subjects = subjects(run, group.setting)?;
        // More services take more memory, and that is not the flows'.
        if group.setting.services == 0 && group.setting.mode == Mode::DsrL2 && group.setting.pick == Pick::FlowHash {
            for subject in &subjects {
                memory.extend(Memory::of(subject.as_ref())?);
            }
        }
        if sizes.is_empty() {
            for subject in &subjects {
                sizes.extend(footprint::size(subject.as_ref())?);
            }
        }
        for case in group.cases(run) {
            for flows in case.flows {
                steps.next(&format!("{} with {flows} flows", case.name));
                let measured = measure(run, &mut driver, &mut subjects, (group.setting, case), *flows);
                figures.extend(measured.with_context(|| format!("{} with {flows} flows", case.name))?);
            }
        }
    }
    figures.extend(footprint::of_a_flow(&memory));
    figures.extend(sizes);
    Ok(figures)
}

/// Everything that is measured, with tables of one setting.
fn subjects(run: &Run, setting: Setting) -> Result<Vec<Box<dyn Subject>>> {
    let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
    for reference in [MAC_SWAP, PASS, DROP, IPIP_PUSH] {
        subjects.push(Box::new(Reference::load(reference)?));
    }
    if setting.mode == Mode::DsrL2 && setting.pick == Pick::FlowHash {
        subjects.push(Box::new(Textbook::load(setting)?));
    }
    subjects.push(Box::new(Evenkeel::load(setting)?));
    if setting == SMALL && !run.short {
        for variant in VARIANTS {
            subjects.push(Box::new(Evenkeel::load_variant(setting, variant)?));
        }
    }
    if let Some(path) = &run.program {
        subjects.push(Box::new(Pinned::open(path)?));
    }
    Ok(subjects)
}

fn measure(
    run: &Run,
    driver: &mut Driver,
    subjects: &mut [Box<dyn Subject>],
    (setting, case): (Setting, &Case),
    flows: u64,
) -> Result<Vec<Figure>> {
    let mut taking: Vec<&mut Box<dyn Subject>> =
        subjects.iter_mut().filter(|subject| subject.takes(case.shape, case.expected)).collect();
    let packets = flows.clamp(if run.short { 64 * K } else { 256 * K }, M) as u32;
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); taking.len()];
    for subject in &mut taking {
        subject.forget_flows()?;
        set_packets(driver, case, flows, 0)?;
        driver.set_program(&subject.program()?)?;
        // Every flow once: after this all are known.
        driver.run(flows.max(K) as u32)?;
    }
    for repetition in 0..run.repetitions() {
        for (subject, samples) in taking.iter_mut().zip(&mut samples) {
            driver.set_program(&subject.program()?)?;
            let mut packets = packets;
            if case.expected == Expected::Insert {
                // New flows each time, in an empty table.
                subject.clear_flows()?;
                set_packets(driver, case, flows, repetition as u8 + 1)?;
                packets = flows as u32;
            }
            let before = subject.tally()?;
            let lap = driver.run(packets)?;
            let after = subject.tally()?;
            if let (Some(before), Some(after)) = (before, after) {
                check(subject.name(), case, after.since(before), u64::from(packets))?;
                ensure!(lap.action == action(case.expected), "{}: XDP action {}", subject.name(), lap.action);
                let length = case.shape.length + setting.mode.overhead(Family::V4) as u32;
                ensure!(lap.length == length, "{}: {} bytes came out", subject.name(), lap.length);
            }
            samples.push(lap.nanoseconds);
        }
    }
    let base = taking.iter().position(|subject| is_base(subject.name(), case.expected)).context("no reference")?;
    let base = samples[base].iter().copied().fold(f64::INFINITY, f64::min);
    let mut figures = Vec::new();
    for (subject, samples) in taking.iter().zip(&samples) {
        let name = |quantity| Name {
            section: SECTION.name,
            case: case.name,
            subject: subject.name(),
            quantity,
            flows: Some(flows),
        };
        let net: Vec<f64> = samples.iter().map(|raw| raw - base).collect();
        figures.push(Figure::of(name("raw"), "ns", samples));
        if !is_base(subject.name(), case.expected) {
            figures.push(Figure::of(name("net"), "ns", &net));
        }
    }
    Ok(figures)
}

fn set_packets(driver: &mut Driver, case: &Case, flows: u64, generation: u8) -> Result<()> {
    let mut plan = case.shape.plan(flows, generation);
    plan.service_mask = case.spread - 1;
    debug_assert!(case.spread == 1 || case.shape.to == other_vip(0));
    driver.set_plan(plan, case.shape.bytes(generation))
}

/// Whether a subject is what the others are measured against.
fn is_base(name: &str, expected: Expected) -> bool {
    name == match expected {
        Expected::Passed => PASS,
        Expected::Dropped => DROP,
        _ => MAC_SWAP,
    }
}

const fn action(expected: Expected) -> u32 {
    match expected {
        Expected::Hit | Expected::Insert | Expected::Forwarded => XDP_TX,
        Expected::Passed => XDP_PASS,
        Expected::Dropped => XDP_DROP,
    }
}

/// A case whose packets all miss, or all fall through some guard, would look fast.
fn check(name: &str, case: &Case, tally: Tally, packets: u64) -> Result<()> {
    let right = match case.expected {
        Expected::Hit => tally.forwarded == packets && tally.inserted == 0,
        Expected::Insert => tally.forwarded == packets && tally.inserted == packets,
        Expected::Forwarded => tally.forwarded == packets,
        Expected::Passed => tally.passed == packets,
        Expected::Dropped => tally.dropped == packets,
    };
    ensure!(right, "{name} did something else with {packets} packets: {tally:?}");
    Ok(())
}
