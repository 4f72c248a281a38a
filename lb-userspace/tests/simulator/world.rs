//! The configuration of the simulation, and what may happen.

use std::fmt::Write as _;

use evenkeel::{config::model::AdminState, health::Wants};
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

/// The VIP's last byte and the port of each service, also its backends'. Probes of the first and the last are the same ones.
pub(crate) const SERVICES: [(u8, u16); 5] = [(1, 80), (1, 443), (2, 53), (3, 8080), (4, 80)];
/// The backends that the file names, by their last byte; 6 is a backup.
pub(crate) const IN_FILE: [&[u8]; 5] = [&[1, 2, 3], &[1, 2, 3, 4], &[2, 4], &[4, 5, 6], &[1, 5, 6]];
/// The service of UDP, and with backends that take flows until a probe says no.
pub(crate) const INITIALLY_UP: u16 = 53;
pub(crate) const RISE: u32 = 2;
pub(crate) const FALL: u32 = 3;
/// Hosts are 1 up to this.
pub(crate) const HOSTS: u8 = 8;

const SCHEDULERS: [&str; 9] = [
    "maglev",
    "source-hash",
    "round-robin",
    "weighted-round-robin",
    "random",
    "least-connections",
    "least-bandwidth",
    "least-response-time",
    "power-of-two",
];

/// What of a service is changed by a new file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) scheduler: &'static str,
    pub(crate) slow_start: bool,
    pub(crate) on_no_backend: &'static str,
    pub(crate) on_backend_down: &'static str,
    pub(crate) threshold: u8,
}

impl Policy {
    /// Of a service; one whose file names no backup cannot have it take over.
    pub(crate) fn on_no_backend(self, service: usize) -> &'static str {
        let has_backup = IN_FILE[service].contains(&6);
        if self.on_no_backend == "backup" && !has_backup { "drop" } else { self.on_no_backend }
    }
}

/// Of a host in all services.
pub(crate) fn priority(host: u8) -> u8 {
    match host {
        3 | 5 => 1,
        8 => 2,
        _ => 0,
    }
}

pub(crate) type Policies = [Policy; SERVICES.len()];

#[derive(Debug)]
pub(crate) enum Event {
    /// One of the targets that are probed answers, or does not; `None` is a probe that says nothing of it.
    Probe {
        which: usize,
        good: Option<bool>,
        percent: Option<u8>,
        wants: Option<Wants>,
    },
    Hop(u8, Option<u32>),
    Weight(usize, u8, u16),
    Admin(usize, u8, AdminState),
    Add(usize, u8, u16),
    /// Leaves, for so many seconds at most.
    Remove(usize, u8, u64),
    /// A new flow.
    Packet(usize),
    Time(u64),
    File(Box<Policies>),
}

pub(crate) fn policies(random: &mut StdRng) -> Policies {
    std::array::from_fn(|_| Policy {
        scheduler: SCHEDULERS.choose(random).expect("there are some"),
        slow_start: random.random_bool(0.5),
        on_no_backend: ["drop", "reject", "fail-open", "backup"].choose(random).expect("there are some"),
        on_backend_down: ["move", "keep", "reset"].choose(random).expect("there are some"),
        threshold: *[0, 50, 70, 100].choose(random).expect("there are some"),
    })
}

pub(crate) fn event(random: &mut StdRng) -> Event {
    let (service, host) = (random.random_range(0..SERVICES.len()), random.random_range(1..=HOSTS));
    match random.random_range(0..100) {
        0..45 => probe(random),
        45..53 => Event::Hop(host, random.random_bool(0.8).then(|| random.random_range(2..5))),
        53..60 => Event::Weight(service, host, *[0, 1, 2, 7, 100, 65535].choose(random).expect("some")),
        60..69 => {
            let states = [AdminState::Enabled, AdminState::Enabled, AdminState::Draining, AdminState::Disabled];
            Event::Admin(service, host, *states.choose(random).expect("some"))
        }
        69..74 => Event::Add(service, host, random.random_range(0..4)),
        74..78 => Event::Remove(service, host, *[0, 5, 300].choose(random).expect("some")),
        78..88 => Event::Packet(service),
        88..98 => Event::Time(random.random_range(1..20)),
        _ => Event::File(Box::new(policies(random))),
    }
}

fn probe(random: &mut StdRng) -> Event {
    let good = (!random.random_bool(0.05)).then(|| random.random_bool(0.7));
    let speaks = good == Some(true) && random.random_bool(0.15);
    let wants = [None, Some(Wants::Ready), Some(Wants::Ready), Some(Wants::Drain), Some(Wants::Maintenance)];
    let percents = [None, Some(100), Some(50), Some(1), Some(0)];
    Event::Probe {
        which: random.random_range(0..1000),
        good,
        percent: percents.choose(random).copied().flatten().filter(|_| speaks),
        wants: wants.choose(random).copied().flatten().filter(|_| speaks),
    }
}

/// The configuration file.
pub(crate) fn file(policies: &Policies) -> String {
    let mut text = format!(
        "version: 1\nnode:\n  interfaces: [eth0]\n  flow_table: {{entries: 1024}}\n  \
         limits: {{services: 8, backends: 128, slots: 8192}}\n\
         defaults:\n  probe: {{type: tcp, rise: {RISE}, fall: {FALL}}}\nservices:\n"
    );
    for (s, (policy, (vip, port))) in policies.iter().zip(SERVICES).enumerate() {
        let protocol = if port == INITIALLY_UP { "udp" } else { "tcp" };
        let Policy { scheduler, slow_start, on_backend_down, threshold, .. } = policy;
        let on_no_backend = policy.on_no_backend(s);
        // Small tables: most of the time goes into building them.
        let has_table = matches!(*scheduler, "maglev" | "source-hash" | "random");
        let size = if has_table { ", table_size: 251" } else { "" };
        let backends: Vec<String> = IN_FILE[s]
            .iter()
            .map(|host| format!("{{address: 10.0.0.{host}, backup: {}, priority: {}}}", *host == 6, priority(*host)))
            .collect();
        write!(
            text,
            "  - name: s{s}\n    vip: 192.0.2.{vip}\n    port: {port}\n    protocol: {protocol}\n    \
             scheduler: {{type: {scheduler}{size}}}\n    on_no_backend: {on_no_backend}\n    on_backend_down: {on_backend_down}\n    \
             overflow_threshold: {threshold}\n"
        )
        .expect("a string takes everything");
        if *slow_start {
            text += "    slow_start: 60s\n";
        }
        if port == INITIALLY_UP {
            text += &format!("    probe: {{type: tcp, rise: {RISE}, fall: {FALL}, initial: up, port: {port}}}\n");
        }
        text += &format!("    backends: [{}]\n", backends.join(", "));
    }
    text
}
