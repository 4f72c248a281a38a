//! How long answers on established connections take during a SYN flood, beside as many harmless packets.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Asked, Crowd, Packets, SynFlood, allow_connections},
    scenario::{self, Service, nginx_everywhere, wait_for_takers},
    topology::{Topology, VIP4},
};

use super::{
    responders::Responders,
    stage::{DATAGRAMS, HTTP},
};
use crate::{
    figure::{Figure, Name},
    priority::Priority,
    section::{Run, Section, Steps},
};

/// The section.
pub(crate) const SECTION: Section = Section {
    name: "flood",
    about: "requests on 2 000 connections during a SYN flood, against as many harmless packets",
    run,
};

/// Servers.
const BACKENDS: usize = 3;
/// Established connections.
const CONNECTIONS: usize = 2_000;
/// How many of them are asked at a time.
const PARALLEL: usize = 4;
/// New flows in a second that are remembered.
const THRESHOLD: u64 = 2_000;
/// Of a lap.
const LENGTH: Duration = Duration::from_secs(1);
/// Packets of a lap, at most.
const MOST: u64 = 10_000_000;
/// Of the rate that the slower one reaches: both can keep that up.
const REACHED: f64 = 0.8;
/// Harmless packets that there are at least, of the flood's: with fewer the two could not be compared.
const ENOUGH: f64 = 0.8;

/// What goes on while requests are answered.
const SUBJECTS: [(&str, Packets, u16); 2] =
    [("syn-flood", Packets::Syns, HTTP), ("harmless", Packets::Datagrams, DATAGRAMS)];

/// A time in which requests are answered.
struct Lap {
    asked: Asked,
    /// Other packets, in a second.
    rate: f64,
}

fn run(run: &Run) -> Result<Vec<Figure>> {
    let _priority = Priority::raise()?;
    // Servers are started with the limit as well.
    allow_connections(CONNECTIONS as u64)?;
    run.progress("servers, and the connections");
    let topology = Topology::one_nic(BACKENDS)?;
    let _servers = nginx_everywhere(&topology, &[HTTP], None)?;
    let _sinks = Responders::start(topology.backends().iter().map(|backend| backend.namespace()))?;
    let limit = format!("limits: {{flood: {THRESHOLD}}}");
    let web = Service::tcp("web", VIP4.into(), HTTP, &topology).options(&["probe: none", &limit]);
    let bpffs = Bpffs::mount()?;
    let daemon =
        scenario::start(&topology, &bpffs, &[web, Service::udp("datagrams", VIP4.into(), DATAGRAMS, &topology)])?;
    let names: Vec<&str> = topology.backends().iter().map(|backend| backend.name()).collect();
    ["web", "datagrams"].iter().try_for_each(|service| wait_for_takers(&daemon, service, &names))?;
    let mut crowd = Crowd::open(topology.client(), SocketAddr::new(VIP4.into(), HTTP), CONNECTIONS, PARALLEL)?;

    let rounds = if run.short { 5 } else { 9 };
    let mut steps = Steps::new(run, rounds + 1);
    steps.next("the rate that both reach");
    let reached = SUBJECTS.map(|(name, packets, port)| {
        lap(&mut crowd, &topology, (packets, port), None).map(|lap| lap.rate).context(name)
    });
    let [flood, harmless] = reached;
    let rate = REACHED * flood?.min(harmless?);
    let mut laps: [Vec<Lap>; 2] = Default::default();
    for round in 0..rounds {
        steps.next("the flood, and as many harmless packets");
        for turn in 0..2 {
            let subject = (round + turn) % 2;
            let (name, packets, port) = SUBJECTS[subject];
            laps[subject].push(lap(&mut crowd, &topology, (packets, port), Some(rate)).context(name)?);
        }
    }
    let figures: Vec<Figure> = SUBJECTS.iter().zip(&laps).flat_map(|((name, ..), laps)| figures(name, laps)).collect();
    let median = |subject: &str| figures.iter().find(|f| f.subject == subject && f.quantity == "packets");
    let (flood, harmless) = (median(SUBJECTS[0].0), median(SUBJECTS[1].0));
    let (flood, harmless) = (flood.map_or(0.0, |f| f.median), harmless.map_or(0.0, |f| f.median));
    ensure!(harmless >= ENOUGH * flood, "{harmless:.0} harmless packets a second beside {flood:.0} SYNs");
    Ok(figures)
}

fn lap(crowd: &mut Crowd, topology: &Topology, (packets, port): (Packets, u16), rate: Option<f64>) -> Result<Lap> {
    let server = SocketAddr::new(VIP4.into(), port);
    let begun = Instant::now();
    let sender = SynFlood::start_with(packets, topology.client(), server, MOST, rate);
    let asked = crowd.ask_while(|| begun.elapsed() < LENGTH);
    let ended = sender.ended();
    let rate = sender.sent() as f64 / begun.elapsed().as_secs_f64();
    sender.stop()?;
    ensure!(!ended, "the flood was over before the requests");
    ensure!(asked.broken.is_empty(), "{} connections broke: {}", asked.broken.len(), asked.broken[0]);
    Ok(Lap { asked, rate })
}

fn figures(subject: &str, laps: &[Lap]) -> Vec<Figure> {
    let figure = |quantity, unit, value: &dyn Fn(&Lap) -> Option<f64>| {
        let name = Name { section: SECTION.name, case: "requests", subject, quantity, flows: None };
        let samples: Vec<f64> = laps.iter().filter_map(value).collect();
        (!samples.is_empty()).then(|| Figure::of(name, unit, &samples))
    };
    let quantile = |part| move |lap: &Lap| lap.asked.quantile(part).map(|time| 1e6 * time.as_secs_f64());
    let figures = [
        figure("p50", "us", &quantile(0.5)),
        figure("p99", "us", &quantile(0.99)),
        figure("packets", "1/s", &|lap| Some(lap.rate)),
    ];
    figures.into_iter().flatten().collect()
}
