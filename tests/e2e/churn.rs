//! Per-connection consistency: whatever happens to other backends, a connection to one that is up and enabled lives on.
//!
//! ```text
//!   b1 b2  are never interrupted: their drains and weights change
//!   b3 b4  are in the file ─┐ drained, disabled, weighted, removed, added, killed, stopped
//!   b5 b6  are added later ─┘
//! ```
//!
//! A backend is *interrupted* when it is killed, stopped, disabled or removed at once: only that may break connections, only its
//! own, and of new ones only those that were open between the interruption and the moment when `status` shows it.

use std::{
    collections::BTreeMap,
    mem,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Attempt, Download, Held, Load, attempts},
    content::Content,
    daemon::Daemon,
    effort,
    scenario::{Service, backend_status, nginx_everywhere, service_status, start, wait_for_takers},
    servers::{Nginx, nginx},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_ok},
};
use nix::sys::signal::Signal;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// Seconds that changes go on, with each of two schedulers; a long test takes ten minutes with each.
const SECONDS: usize = 30;
const LONG_SECONDS: usize = 600;
/// Changes in one round.
const STEPS: usize = 20;

const BACKENDS: usize = 6;
/// Backends that nothing interrupts.
const STEADY: usize = 2;
/// Backends that the file names.
const IN_FILE: usize = 4;
/// Connections that are held at any time.
const HELD: usize = 60;
/// Of these, connections that stay until they are interrupted.
const HELD_ON: usize = 20;
/// Others that give their place to new ones after each change: else all would soon be with who is never interrupted.
const LEAVE: usize = 2;
/// Downloads at any time.
const DOWNLOADS: usize = 8;
const SIZE: usize = 1_000_000;
/// Bytes a second of each download.
const RATE: u64 = 250_000;
/// Connections that are opened one after the other in the background, so many at a time.
const PARALLEL: usize = 3;
/// Connections after each change, which must succeed and go to who takes them.
const AFTER_A_CHANGE: u64 = 24;

/// A stopped server's kernel goes on accepting, so the probe wants an answer.
const PROBE: &str = "probe: {type: http, path: /who, interval: 250ms, timeout: 250ms, rise: 2, fall: 3}";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admin {
    Enabled,
    Draining,
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Running,
    Killed,
    Stopped,
}

/// What the test has made of a backend.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// In the service; one that leaves is not.
    present: bool,
    admin: Admin,
    weight: u16,
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Drain,
    Undrain,
    Disable,
    Enable,
    Weight(u16),
    Remove,
    RemoveNow,
    Add(u16),
    Kill,
    Start,
    Stop,
    Continue,
}

/// When a backend's connections may break, and why.
#[derive(Debug)]
struct Interruption {
    backend: String,
    why: Change,
    from: Instant,
    until: Instant,
}

impl Member {
    const fn takes(&self) -> bool {
        self.present
            && matches!(self.admin, Admin::Enabled)
            && self.weight > 0
            && matches!(self.server, Server::Running)
    }

    /// What can be done to it.
    fn changes(&self, weight: u16) -> Vec<Change> {
        use Change::{Add, Continue, Disable, Drain, Enable, Kill, Remove, RemoveNow, Start, Stop, Undrain, Weight};
        let admin: &[Change] = match (self.present, self.admin) {
            (false, _) => &[Add(weight), Add(weight)],
            (true, Admin::Enabled) => &[Drain, Drain, Disable, Weight(weight), Weight(weight), Remove, RemoveNow],
            (true, Admin::Draining) => &[Undrain, Undrain, Weight(weight), Remove],
            (true, Admin::Disabled) => &[Enable, Enable, Remove],
        };
        let server: &[Change] = match self.server {
            Server::Running => &[Kill, Stop],
            Server::Killed => &[Start, Start],
            Server::Stopped => &[Continue, Continue, Continue, Kill],
        };
        [admin, server].concat()
    }

    fn after(self, change: Change) -> Self {
        match change {
            Change::Drain => Self { admin: Admin::Draining, ..self },
            Change::Disable => Self { admin: Admin::Disabled, ..self },
            Change::Undrain | Change::Enable => Self { admin: Admin::Enabled, ..self },
            Change::Weight(weight) => Self { weight, ..self },
            Change::Remove | Change::RemoveNow => Self { present: false, ..self },
            Change::Add(weight) => Self { present: true, admin: Admin::Enabled, weight, ..self },
            Change::Kill => Self { server: Server::Killed, ..self },
            Change::Start | Change::Continue => Self { server: Server::Running, ..self },
            Change::Stop => Self { server: Server::Stopped, ..self },
        }
    }
}

impl Change {
    const fn interrupts(self) -> bool {
        matches!(self, Self::Disable | Self::RemoveNow | Self::Kill | Self::Stop)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Weight(_) => "weight",
            Self::Remove => "remove",
            Self::RemoveNow => "remove --now",
            Self::Add(_) => "add",
            Self::Kill => "kill",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Continue => "continue",
        }
    }
}

#[derive(Debug, Default)]
struct Totals {
    changes: BTreeMap<&'static str, usize>,
    opened: usize,
    requests: usize,
    interrupted: usize,
    /// On backends that drained or left.
    requests_of_leaving: usize,
    downloads: usize,
    downloads_cut: usize,
    after_changes: u64,
    /// Failures of connections that were opened in the background, by what was being done.
    failed: BTreeMap<&'static str, usize>,
}

struct Churn<'a> {
    topology: &'a Topology,
    daemon: &'a Daemon<'a>,
    server: SocketAddr,
    content: Content,
    random: StdRng,
    servers: Vec<Nginx>,
    members: [Member; BACKENDS],
    held: Vec<Held>,
    downloads: Vec<(Instant, Download)>,
    interruptions: Vec<Interruption>,
    totals: Totals,
}

impl Churn<'_> {
    fn name(&self, index: usize) -> &str {
        self.topology.backends()[index].name()
    }

    fn takers(&self) -> Vec<&str> {
        (0..BACKENDS).filter(|index| self.members[*index].takes()).map(|index| self.name(index)).collect()
    }

    /// One of the steady ones takes at any time.
    fn choose(&mut self) -> (usize, Change) {
        loop {
            let index = self.random.random_range(0..BACKENDS);
            let weight = self.random.random_range(0..5);
            let changes = self.members[index].changes(weight);
            let change = *changes.choose(&mut self.random).expect("something can always be done");
            let after = self.members[index].after(change);
            let is_kept_up = !change.interrupts() && change != Change::Remove;
            let other_takes = (0..STEADY).any(|other| other != index && self.members[other].takes());
            if index >= STEADY || is_kept_up && (after.takes() || other_takes) {
                return (index, change);
            }
        }
    }

    fn apply(&mut self, index: usize, change: Change) -> Result<()> {
        let name = self.name(index).to_owned();
        let machine = &self.topology.backends()[index];
        let address = machine.addresses().like(self.server.ip()).to_string();
        let cli = |words: &[&str]| self.daemon.cli_text(&[&["backend"], words].concat()).map(drop);
        match change {
            Change::Drain => cli(&["drain", "web", &name]),
            Change::Undrain => cli(&["undrain", "web", &name]),
            Change::Disable => cli(&["disable", "web", &name]),
            Change::Enable => cli(&["enable", "web", &name]),
            Change::Weight(weight) => cli(&["weight", "web", &name, &weight.to_string()]),
            Change::Remove => cli(&["remove", "web", &name]),
            Change::RemoveNow => cli(&["remove", "web", &name, "--now"]),
            Change::Add(weight) => cli(&["add", "web", &address, "--name", &name, "--weight", &weight.to_string()]),
            Change::Kill => {
                self.servers[index].kill();
                Ok(())
            }
            Change::Start => {
                self.servers[index] = nginx(machine.namespace(), &name, &[80], Some(&self.content))?;
                Ok(())
            }
            Change::Stop => self.servers[index].process().signal(Signal::SIGSTOP),
            Change::Continue => self.servers[index].process().signal(Signal::SIGCONT),
        }
    }

    /// Waits until `status` shows what was done.
    fn settle(&self, index: usize) -> Result<()> {
        let (name, member) = (self.name(index), self.members[index]);
        let health = if member.server == Server::Running { "up" } else { "down" };
        wait_ok(&format!("{name} is {health}"), PATIENCE, || {
            let status = service_status(self.daemon, "web")?;
            let backends = status["backends"].as_array().context("a list of backends")?;
            match backends.iter().find(|status| status["name"] == name) {
                Some(status) => {
                    let leaves = status["leaving"] == true;
                    ensure!(leaves != member.present && status["health"] == health, "{status}");
                }
                None => ensure!(!member.present, "it is not in the service"),
            }
            Ok(())
        })?;
        wait_for_takers(self.daemon, "web", &self.takers())
    }

    /// Changes under load; returns how many connections that was.
    fn round(&mut self) -> Result<usize> {
        let load = Load::start(self.topology.client(), self.server, PARALLEL);
        for step in 0..STEPS {
            self.step().with_context(|| format!("step {step}"))?;
        }
        self.finish()?;
        let background = load.stop()?;
        self.judge(&background)?;
        Ok(background.len())
    }

    fn step(&mut self) -> Result<()> {
        let (index, change) = self.choose();
        *self.totals.changes.entry(change.name()).or_default() += 1;
        self.carry_out(index, change).with_context(|| format!("{} of {}", change.name(), self.name(index)))
    }

    fn carry_out(&mut self, index: usize, change: Change) -> Result<()> {
        let (name, from) = (self.name(index).to_owned(), Instant::now());
        if change.interrupts() {
            let before = self.held.len();
            self.held.retain(|held| held.backend() != name);
            self.totals.interrupted += before - self.held.len();
        }
        self.apply(index, change)?;
        self.members[index] = self.members[index].after(change);
        // Before it shows and after.
        self.ask(0.3)?;
        self.settle(index)?;
        if change.interrupts() {
            self.interruptions.push(Interruption { backend: name.clone(), why: change, from, until: Instant::now() });
        }
        self.ask(0.3)?;
        self.open_after_a_change()?;
        // Without connections it can go; with them it may be added again while it leaves.
        if change == Change::Remove && self.random.random() {
            self.held.retain(|held| held.backend() != name);
        }
        self.look_at_downloads(false)?;
        for _ in 0..LEAVE.min(self.held.len().saturating_sub(HELD_ON)) {
            let leaves = self.random.random_range(HELD_ON..self.held.len());
            drop(self.held.swap_remove(leaves));
        }
        self.top_up()
    }

    /// A request on some of the held connections.
    fn ask(&mut self, part: f64) -> Result<()> {
        let leaving = |member: &Member| !member.present || member.admin == Admin::Draining;
        let backends = self.topology.backends().iter().zip(&self.members);
        let leaving: Vec<&str> = backends.filter(|(_, member)| leaving(member)).map(|(b, _)| b.name()).collect();
        for held in &mut self.held {
            if self.random.random_bool(part) {
                held.check()?;
                self.totals.requests += 1;
                self.totals.requests_of_leaving += usize::from(leaving.contains(&held.backend()));
            }
        }
        Ok(())
    }

    fn open_after_a_change(&mut self) -> Result<()> {
        let takers = self.takers();
        let new = attempts(self.topology.client(), self.server, AFTER_A_CHANGE, PARALLEL)?;
        for attempt in &new {
            let answered = attempt.outcome.as_deref().is_ok_and(|name| takers.contains(&name));
            ensure!(answered, "a new connection ended with {:?}; {takers:?} take them", attempt.outcome);
        }
        self.totals.after_changes += new.len() as u64;
        Ok(())
    }

    fn top_up(&mut self) -> Result<()> {
        let (client, missing) = (self.topology.client(), HELD - self.held.len());
        self.held.extend(Held::open_many(missing, client, self.server)?);
        self.totals.opened += missing;
        while self.downloads.len() < DOWNLOADS {
            let download = Download::start(client, self.server, &self.content, Some(RATE));
            self.downloads.push((Instant::now(), download));
        }
        Ok(())
    }

    /// Downloads that have ended, or all: what broke was interrupted.
    fn look_at_downloads(&mut self, all: bool) -> Result<()> {
        let (over, under_way) = mem::take(&mut self.downloads).into_iter().partition(|(_, d)| all || d.ended());
        self.downloads = under_way;
        for (begun, download) in over {
            let report = download.finish()?;
            let is_whole = report.outcome.is_ok() && report.received == SIZE as u64;
            let of = |interruption: &&Interruption| {
                interruption.until >= begun && report.backend.as_ref().is_none_or(|name| *name == interruption.backend)
            };
            ensure!(is_whole || self.interruptions.iter().any(|i| of(&i)), "a download broke: {report:?}");
            self.totals.downloads += 1;
            self.totals.downloads_cut += usize::from(!is_whole);
        }
        Ok(())
    }

    /// Everybody runs again, and all connections that were not interrupted are whole.
    fn finish(&mut self) -> Result<()> {
        for index in 0..BACKENDS {
            match self.members[index].server {
                Server::Running => {}
                Server::Killed => self.carry_out(index, Change::Start)?,
                Server::Stopped => self.carry_out(index, Change::Continue)?,
            }
        }
        self.ask(1.0)?;
        self.look_at_downloads(true)?;
        for index in 0..STEADY {
            let status = backend_status(self.daemon, "web", self.name(index))?;
            ensure!(
                status["health_history"].as_array().map(Vec::len) == Some(1),
                "a steady backend went down: {status}"
            );
        }
        Ok(())
    }

    /// What failed in the background was under way during an interruption.
    fn judge(&mut self, background: &[Attempt]) -> Result<()> {
        for attempt in background {
            let Err(error) = &attempt.outcome else { continue };
            let meets = |i: &&Interruption| attempt.started <= i.until && attempt.ended >= i.from;
            match self.interruptions.iter().find(meets) {
                Some(interruption) => *self.totals.failed.entry(interruption.why.name()).or_default() += 1,
                None => bail!("a connection failed while nobody was interrupted: {error}"),
            }
        }
        Ok(())
    }
}

fn check(vip: std::net::IpAddr, topology: &Topology, scheduler: &str) -> Result<()> {
    let seed = effort::seed();
    println!("{scheduler}: EVENKEEL_TEST_SEED={seed}");
    let content = Content::generate(seed, SIZE);
    let servers = nginx_everywhere(topology, &[80], Some(&content))?;
    let bpffs = Bpffs::mount()?;
    let scheduler_line = format!("scheduler: {scheduler}");
    let options = [PROBE, &scheduler_line, "drain_timeout: 24h", "timeouts: {tcp_closing: 1s}"];
    let in_file: Vec<&str> = topology.backends()[..IN_FILE].iter().map(|backend| backend.name()).collect();
    let service = Service::tcp("web", vip, 80, topology).only(&in_file).options(&options);
    let daemon = start(topology, &bpffs, &[service])?;
    wait_for_takers(&daemon, "web", &in_file)?;

    let new = |index| Member { present: index < IN_FILE, admin: Admin::Enabled, weight: 1, server: Server::Running };
    let mut churn = Churn {
        topology,
        daemon: &daemon,
        server: SocketAddr::new(vip, 80),
        content,
        random: StdRng::seed_from_u64(seed),
        servers,
        members: std::array::from_fn(new),
        held: Vec::new(),
        downloads: Vec::new(),
        interruptions: Vec::new(),
        totals: Totals::default(),
    };
    churn.top_up()?;
    let (begun, length) = (Instant::now(), Duration::from_secs(effort::either(SECONDS, LONG_SECONDS) as u64));
    let (mut background, mut round) = (0, 0);
    while begun.elapsed() < length {
        background += churn.round().with_context(|| format!("round {round}, {:?}", churn.members))?;
        round += 1;
    }
    println!("{vip}, {scheduler}: {round} rounds, 0 broken in {background} in the background and {:?}", churn.totals);
    Ok(())
}

#[test]
fn maglev_breaks_nobody_elses_connections() -> Result<()> {
    check(VIP4.into(), &Topology::one_nic(BACKENDS)?, "maglev")
}

#[test]
fn least_connections_breaks_nobody_elses_connections() -> Result<()> {
    check(VIP6.into(), &Topology::two_nics(BACKENDS)?, "least-connections")
}
