//! The control plane with a million backends: 10 000 services of 100 each.
//!
//! It is driven as the daemon drives it: a configuration as text, the tables in the kernel, and a
//! [`Reconciler`] that is told of health and next hops. What the probes and the kernel's neighbours would say is said by
//! the bench; no packet leaves.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use evenkeel::{
    config::{self, model::Config},
    controller::Reconciler,
    dataplane::{
        kernel::{LoadOptions, Loaded},
        scan,
    },
    health::{Advice, Progress, Status},
    neighbour::{NextHop, NextHops, Resolution},
    plan::{Write, desired::ServiceKey},
    probe::{HealthView, Target, TargetHealth},
    state::Runtime,
    supervisor,
};
use lb_common::{
    abi::SlotRange,
    features::Features,
    flow::{BUCKET_ENTRIES, FlowState, FlowWord},
    memory::Slices,
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    figure::{Figure, Name},
    section::{Run, Section},
};

pub(crate) const SECTION: Section =
    Section { name: "control-plane", about: "10 000 services of 100 backends: start, a failure, memory, scans", run };

const SERVICES: u32 = 10_000;
const BACKENDS: u32 = 100;
/// Services of one VIP, by port.
const PORTS: u32 = 40;
const FIRST_PORT: u32 = 1000;
/// Entries of the large flow table.
const FLOWS: usize = 1 << 24;
/// Bytes.
const MIB: f64 = 1_048_576.0;
/// Of a flow table, in percent.
const FILLED: u64 = 75;
/// `BPF_PROG_TEST_RUN` lets packets come from the loopback.
const LOOPBACK: u32 = 1;
/// `XDP_TX`.
const TRANSMIT: u32 = 3;

fn run(run: &Run) -> Result<Vec<Figure>> {
    let pinned = sched_getaffinity(Pid::from_raw(0))?;
    // The daemon uses all CPUs to make slot tables.
    sched_setaffinity(Pid::from_raw(0), &all_cpus()?)?;
    let figures = measure(run);
    sched_setaffinity(Pid::from_raw(0), &pinned)?;
    figures
}

/// All that there are; the kernel takes those that this process may use.
fn all_cpus() -> Result<CpuSet> {
    let mut set = CpuSet::new();
    (0..CpuSet::count()).try_for_each(|cpu| set.set(cpu))?;
    Ok(set)
}

fn measure(run: &Run) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let (text, hops, health) = (configuration(), next_hops(), health());
    let (heap, maps) = (resident("RssAnon")?, maps_memory()?);
    run.progress("cold start");
    let mut node = Node::start(&text, hops, &mut figures)?;
    drop(text);
    node.reconciler.set_health(health.clone());
    node.health = health;
    ensure!(node.reconcile()?.is_empty(), "health that changes nothing is written");
    run.progress("one backend of 100 in one of 10 000 services goes down");
    node.one_down(run.repetitions().max(9), &mut figures)?;
    let growth = resident("RssAnon")?.saturating_sub(heap);
    let memory = |quantity, bytes: u64| Figure::of(name("memory", quantity, None), "MiB", &[bytes as f64 / MIB]);
    figures.push(memory("daemon", growth));
    figures.push(memory("daemon-peak", resident("VmHWM")?));
    figures.push(memory("maps", maps_memory()? - maps));
    run.progress("flow scans");
    node.scans(run, &mut figures)?;
    Ok(figures)
}

fn name<'a>(case: &'a str, quantity: &'a str, flows: Option<u64>) -> Name<'a> {
    Name { section: SECTION.name, case, subject: "evenkeel", quantity, flows }
}

/// The VIP and the port of a service.
fn vip(service: u32) -> (Ipv4Addr, u32) {
    let vip = u32::from(Ipv4Addr::new(192, 0, 2, 0)) + service / PORTS;
    (vip.into(), FIRST_PORT + service % PORTS)
}

/// The address of a backend: each service has its own hundred.
fn backend(service: u32, backend: u32) -> IpAddr {
    IpAddr::V4((u32::from(Ipv4Addr::new(10, 0, 0, 1)) + service * BACKENDS + backend).into())
}

fn backends() -> impl Iterator<Item = (u32, IpAddr)> {
    (0..SERVICES).flat_map(|service| (0..BACKENDS).map(move |i| (service, backend(service, i))))
}

fn configuration() -> String {
    // Room for all tables of 16 381 slots, and one more.
    let slots = (SERVICES + 1) * 16_381;
    let mut text = format!(
        "version: 1\nnode:\n  interfaces: [lo]\n  flow_table: {{entries: {FLOWS}}}\n  limits: {{services: {SERVICES}, \
         backends: {}, slots: {slots}}}\ndefaults:\n  probe: {{type: tcp, initial: up}}\nservices:\n",
        SERVICES * BACKENDS
    );
    for service in 0..SERVICES {
        let (vip, port) = vip(service);
        let _ =
            write!(text, "  - name: s{service}\n    vip: {vip}\n    port: {port}\n    protocol: tcp\n    backends: [");
        for i in 0..BACKENDS {
            let _ = write!(text, "{}{}", if i == 0 { "" } else { ", " }, backend(service, i));
        }
        text.push_str("]\n");
    }
    text
}

/// What the kernel would say: every backend is on the link.
fn next_hops() -> NextHops {
    let hop = |address: IpAddr| {
        let octets = match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        let [_, b, c, d] = octets;
        let hop = NextHop {
            ifindex: LOOPBACK,
            ifname: "lo".to_owned(),
            vlan: None,
            source_mac: [0x02, 0, 0, 0, 0, 0xee],
            mac: [0x02, 0, 0, b, c, d],
            mtu: 1500,
            gateway: None,
        };
        (address, Arc::new(Resolution::Resolved(hop)))
    };
    backends().map(|(_, address)| hop(address)).collect()
}

/// What the probes would say: every backend is up.
fn health() -> HealthView {
    let now = SystemTime::now();
    let up = |(service, address)| {
        let target = target(service, address);
        (target.clone(), Arc::new(target_health(target, Status::Up, now)))
    };
    backends().map(up).collect()
}

fn target(service: u32, address: IpAddr) -> Target {
    Target::tcp(address, vip(service).1 as u16)
}

fn target_health(target: Target, status: Status, since: SystemTime) -> TargetHealth {
    let (eligible, reason) = (status == Status::Up, "3 in a row".to_owned());
    let (advice, history) = (Advice::default(), Arc::default());
    TargetHealth {
        target,
        status,
        eligible,
        since,
        reason,
        held_until: None,
        last: None,
        progress: Progress::default(),
        advice,
        history,
    }
}

/// What the daemon consists of, apart from sockets and files.
struct Node {
    loaded: Loaded,
    reconciler: Reconciler,
    health: HealthView,
}

impl Node {
    /// From the text of the configuration to the first packet.
    fn start(text: &str, hops: NextHops, figures: &mut Vec<Figure>) -> Result<Self> {
        let mut times = BTreeMap::new();
        let begun = Instant::now();
        let mut last = begun;
        let mut lap = |part: &'static str| {
            let now = Instant::now();
            times.insert(part, now - std::mem::replace(&mut last, now));
        };
        let config: Config = config::parse(text, "bench")?;
        lap("configuration");
        let hash_key = std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(2 * i as u32 + 1) ^ 0x5bd1_e995);
        let sizes = supervisor::sizes(&config.node);
        let mut loaded = Loaded::load(&LoadOptions {
            sizes,
            hash_key,
            fragment_timeout: Duration::from_secs(30),
            pins: None,
            features: Features::ALL,
            flows_writable: true,
            one_buffer: true,
        })?;
        lap("load");
        let mut reconciler = Reconciler::new(&config, Runtime::default(), &loaded, loaded.clock());
        reconciler.set_next_hops(hops, SystemTime::now());
        lap("state");
        drop(reconciler.reconcile(&mut loaded, SystemTime::now())?);
        lap("tables");
        let (action, packet) = loaded.run(&syn(SERVICES / 2), Some(LOOPBACK))?;
        ensure!(action == TRANSMIT, "the first packet is not transmitted but gets verdict {action}");
        ensure!(packet[..3] == [0x02, 0, 0], "the first packet goes to {:?}", &packet[..6]);
        let total = begun.elapsed();
        for (part, time) in times {
            figures.push(Figure::of(name("cold-start", part, None), "ms", &[1e3 * time.as_secs_f64()]));
        }
        figures.push(Figure::of(name("cold-start", "total", None), "ms", &[1e3 * total.as_secs_f64()]));
        Ok(Self { loaded, reconciler, health: HealthView::default() })
    }

    fn reconcile(&mut self) -> Result<Vec<Write>> {
        self.reconciler.reconcile(&mut self.loaded, SystemTime::now())
    }

    /// A probe's result arrives; the time until the last write is done.
    fn one_down(&mut self, repetitions: usize, figures: &mut Vec<Figure>) -> Result<()> {
        let (mut times, mut counts, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
        for repetition in 0..repetitions as u32 {
            let service = repetition * (SERVICES / repetitions as u32);
            let address = backend(service, repetition % BACKENDS);
            let (range, id) = self.place(service, address)?;
            let begun = Instant::now();
            let writes = self.tell(service, address, Status::Down)?;
            times.push(1e3 * begun.elapsed().as_secs_f64());
            let [Write::SlotChanges { changes }, Write::State { id: written, .. }] = writes.as_slice() else {
                bail!("a backend that goes down takes {} writes, not those of its slots and its state", writes.len())
            };
            let own = range.offset..range.offset + range.size;
            foreign.push(changes.iter().filter(|(slot, _)| !own.contains(slot)).count() as f64);
            ensure!(*written == id, "the state of another destination is written");
            let slots = &self.loaded.tables().slots[own.start as usize..own.end as usize];
            ensure!(slots.iter().all(|slot| slot.load() != id), "slots still name the backend that is down");
            counts.push((changes.len() + 1) as f64);
            ensure!(!self.tell(service, address, Status::Up)?.is_empty(), "the backend does not come back");
        }
        figures.push(Figure::of(name("one-down", "time", None), "ms", &times));
        figures.push(Figure::of(name("one-down", "words", None), "words", &counts));
        figures.push(Figure::of(name("one-down", "foreign-writes", None), "words", &foreign));
        Ok(())
    }

    fn tell(&mut self, service: u32, address: IpAddr, status: Status) -> Result<Vec<Write>> {
        let target = target(service, address);
        self.health.insert(target.clone(), Arc::new(target_health(target, status, SystemTime::now())));
        self.reconciler.set_health(self.health.clone());
        self.reconcile()
    }

    /// Where the slots of a service are, and which destination a backend of it is.
    fn place(&self, service: u32, address: IpAddr) -> Result<(SlotRange, u32)> {
        let key = ServiceKey::of(&self.reconciler.services()[service as usize]);
        let service = self.reconciler.actual().services.get(&key).context("a service is not in the tables")?;
        let backends = &service.backends;
        let id = backends.iter().find(|((of, _), _)| *of == address).context("a backend is not in the tables")?.1;
        Ok((service.slots, *id))
    }

    /// Scans of tables of a million and of 16 million entries, with flows of 100 destinations and of all.
    fn scans(&self, run: &Run, figures: &mut Vec<Figure>) -> Result<()> {
        let now = self.loaded.now()?;
        let cases = [("flow-scan", BACKENDS), ("flow-scan-spread", SERVICES * BACKENDS)];
        for (case, destinations) in cases.into_iter().take(if run.short { 1 } else { 2 }) {
            let flows = self.fill(destinations, now);
            for entries in [1 << 20, FLOWS] {
                let tables = self.loaded.tables();
                let tables = Slices { flows: &tables.flows[..entries / BUCKET_ENTRIES], ..tables };
                let mut times = Vec::new();
                for _ in 0..run.repetitions() {
                    let begun = Instant::now();
                    let scan = scan::count(tables, now);
                    times.push(1e3 * begun.elapsed().as_secs_f64());
                    let found: u64 = (1..=SERVICES * BACKENDS).map(|id| scan.of(id).all()).sum();
                    ensure!(entries < FLOWS || found == flows, "a scan finds {found} of {flows} flows");
                }
                figures.push(Figure::of(name(case, "time", Some(entries as u64)), "ms", &times));
            }
        }
        Ok(())
    }

    /// Fills three quarters of the flow table with established flows; returns how many.
    fn fill(&self, destinations: u32, now: u32) -> u64 {
        let tables = self.loaded.tables();
        let mut flows = 0;
        let mut number = 1_u64;
        for entry in tables.flows.iter().flat_map(|bucket| &bucket.entries) {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (random, filled) = ((number >> 32) as u32, (number >> 16 & 0xffff) * 100 < FILLED << 16);
            let id = 1 + random % destinations;
            let generation = tables.destinations[id as usize].state().generation;
            let word = FlowWord::new(id, generation, FlowState::Established, now);
            entry.store(number, if filled { word } else { FlowWord::EMPTY });
            flows += u64::from(filled);
        }
        flows
    }
}

/// A TCP SYN to a service.
fn syn(service: u32) -> Vec<u8> {
    let (vip, port) = vip(service);
    let mut bytes = [[0x02; 6], [0x04; 6]].concat();
    bytes.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 51, 100, 7]);
    bytes.extend(vip.octets());
    bytes.extend(40_000_u16.to_be_bytes());
    bytes.extend((port as u16).to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

/// A line of this process's status, in bytes.
fn resident(line: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let value = value.with_context(|| format!("/proc/self/status has no {line}"))?;
    let kilobytes: u64 = value.trim().trim_end_matches("kB").trim().parse().context("not a number of kB")?;
    Ok(kilobytes << 10)
}

/// Memory of all maps that this process has open, as the kernel counts it.
fn maps_memory() -> Result<u64> {
    let mut maps = BTreeMap::new();
    for file in fs::read_dir("/proc/self/fdinfo")? {
        // The descriptor of the directory itself is gone by now.
        let Ok(text) = fs::read_to_string(file?.path()) else { continue };
        let number = |key: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok())
        };
        if let (Some(id), Some(memory)) = (number("map_id"), number("memlock")) {
            maps.insert(id, memory);
        }
    }
    Ok(maps.into_values().sum())
}
