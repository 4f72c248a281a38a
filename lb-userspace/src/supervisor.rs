//! The daemon: starts the tasks and feeds the controller.
//!
//! ```text
//!   prober ── health ──────┐
//!   resolver ── next hops ─┤
//!   API server ── jobs ────┼─→ event loop ─→ controller ─→ tables
//!   signals ── reload ─────┤        │
//!   clock ── drains, ttl ──┘        ├─ targets, addresses ─→ prober, resolver
//!                                   └─ events ─→ hooks
//! ```
//!
//! Stopping it, however that happens, leaves the program attached and the tables as they are.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use lb_common::{abi::LAYOUT_VERSION, features::Features, memory::Sizes};
use nix::fcntl::{Flock, FlockArg};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    api::server::{self, Job},
    config::{
        self,
        model::{Config, Node},
    },
    controller::{Controller, Parts},
    dataplane::kernel::{LoadOptions, Loaded, Pins, grace, layouts, object},
    hooks::Hooks,
    neighbour::Resolver,
    open_files, plan,
    probe::{self, Prober, Relay},
    state::{Store, secret},
};

/// How often drains are looked at, and a failed change is tried again.
const TICK: Duration = Duration::from_millis(250);
/// How long the first next hops are waited for before the program is attached for the first time.
const FIRST_NEXT_HOPS: Duration = Duration::from_millis(500);
/// Requests that wait for the controller.
const JOBS: usize = 64;

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// [`config::ConfigError`] for a bad configuration; anything else that keeps it from starting.
pub async fn run(config_file: &Path) -> Result<()> {
    let sources = config::Sources::read(config_file)?;
    let config = sources.config(&config::AppliedServices::new(), Some(&config::secret))?;
    object::balancer(true)?;
    open_files::raise()?;
    // Before anyone can know that the daemon is there: by default each of them would kill it.
    let signals = Signals::register()?;
    let mut daemon = Daemon::start(config_file.to_owned(), (sources, config)).await?;
    daemon.serve(signals).await
}

/// What the daemon is told by signals.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

struct Daemon {
    controller: Controller,
    prober: Prober,
    resolver: Resolver,
    relay: Relay,
    relaying: JoinHandle<()>,
    hooks: Hooks,
    jobs: mpsc::Receiver<Job>,
    socket: PathBuf,
    /// The revision that prober and resolver know.
    revision: Option<u64>,
    /// That of the ways that the relay knows.
    ways_revision: Option<(u64, u64)>,
    /// Of the state and of the pins.
    _locks: [Flock<File>; 2],
}

impl Signals {
    fn register() -> Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

impl Daemon {
    async fn start(config_file: PathBuf, (sources, config): (config::Sources, Config)) -> Result<Self> {
        let node = config.node.clone();
        let store = Store::open(&node.state_directory)?;
        let state_lock = lock(&node)?;
        let pins = Pins::open(&node.pin_directory)?;
        let locks = [state_lock, pins.lock()?];
        let listener = server::listen(&node.api_socket, node.api_group.as_deref())?;
        let (plane, adopted) = load(&node, &store, &pins)?;
        let mut controller = Controller::new(Parts { config_file, sources, store, plane, pins })?;
        let (relay, relaying) = Relay::start(controller.forwarder()?, node.probe_mark);
        let (prober, resolver) = (Prober::start_with(relay.clone()), Resolver::start().await?);
        let mut next_hops = resolver.subscribe();
        resolver.set_targets(controller.addresses());
        if timeout(FIRST_NEXT_HOPS, next_hops.wait_for(|hops| !hops.is_empty())).await.is_ok() {
            controller.set_next_hops(next_hops.borrow().clone());
        }
        if adopted {
            // Each program has its own filter of VIPs: the one before would pass on half of what new VIPs get. This one
            // serves the adopted tables as they are.
            controller.attach_all(&config)?;
        }
        let writes = controller.reconcile().context("the configuration cannot be written to the tables")?;
        controller.attach_all(&config)?;
        let attached = controller.attached.clone();
        controller.detach_all_but(&attached)?;
        controller.specialise();
        let (sender, jobs) = mpsc::channel(JOBS);
        tokio::spawn(server::serve(listener, sender));
        tracing::info!(writes, services = controller.effective().services.len(), "running");
        let socket = node.api_socket;
        Ok(Self {
            controller,
            prober,
            resolver,
            relay,
            relaying,
            hooks: Hooks::start(),
            jobs,
            socket,
            revision: None,
            ways_revision: None,
            _locks: locks,
        })
    }

    async fn serve(&mut self, mut signals: Signals) -> Result<()> {
        let mut health = self.prober.subscribe();
        let mut next_hops = self.resolver.subscribe();
        let mut clock = interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        next_hops.mark_changed();
        notify(&[sd_notify::NotifyState::Ready]);
        loop {
            self.feed();
            tokio::select! {
                Ok(()) = health.changed() => {
                    let view = health.borrow_and_update().clone();
                    self.controller.set_health(view);
                    self.reconcile();
                }
                Ok(()) = next_hops.changed() => {
                    let view = next_hops.borrow_and_update().clone();
                    self.controller.set_next_hops(view);
                    self.reconcile();
                }
                Some(job) = self.jobs.recv() => job(&mut self.controller),
                Some(()) = signals.hangup.recv() => self.reload(),
                _ = clock.tick() => {
                    self.controller.settle_flows();
                    self.controller.publish_scores();
                    self.controller.expire_registrations();
                    self.controller.verify_if_due();
                    if self.controller.judge_passively() || self.controller.has_work() {
                        self.reconcile();
                    }
                }
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
            }
        }
        notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("stopping; forwarding goes on, `evenkeel detach` ends it");
        self.relaying.abort();
        // Those of another daemon stay.
        if self.relay.is_open()
            && let Err(error) = probe::remove_rules().await
        {
            tracing::warn!("{error:#}");
        }
        // A socket that nobody listens on only misleads; the next start would remove it, too.
        drop(fs::remove_file(&self.socket));
        Ok(())
    }

    /// Tells prober, resolver and hooks what is new.
    fn feed(&mut self) {
        for event in self.controller.take_events() {
            self.hooks.tell(event);
        }
        if self.revision != Some(self.controller.revision()) {
            self.revision = Some(self.controller.revision());
            self.prober.set_targets(self.controller.targets());
            self.resolver.set_targets(self.controller.addresses());
        }
        if self.ways_revision != Some(self.controller.ways_revision()) {
            self.ways_revision = Some(self.controller.ways_revision());
            self.relay.set_ways(self.controller.ways());
        }
    }

    fn reconcile(&mut self) {
        // What went wrong is logged there, and tried again with the clock.
        drop(self.controller.reconcile());
    }

    fn reload(&mut self) {
        notify(&[sd_notify::NotifyState::Reloading]);
        match self.controller.reload() {
            Ok(writes) => tracing::info!(writes, "configuration reloaded"),
            Err(error) => tracing::error!("configuration not reloaded, the old one stays in force: {error:#}"),
        }
        notify(&[sd_notify::NotifyState::Ready]);
    }
}

/// One daemon for a state directory.
fn lock(node: &Node) -> Result<Flock<File>> {
    let path = node.state_directory.join("lock");
    let file = File::create(&path).with_context(|| format!("{}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow!("another daemon runs with state directory {}", node.state_directory.display()))
}

/// Loads the program, over the tables of an earlier daemon if there are any, which is the second thing returned.
fn load(node: &Node, store: &Store, pins: &Pins) -> Result<(Loaded, bool)> {
    let secret = secret::of_node(node.hash_secret.as_deref(), store)?;
    let options = LoadOptions {
        sizes: sizes(node),
        hash_key: secret::hash_key(&secret),
        fragment_timeout: node.fragment_timeout,
        pins: Some(pins.clone()),
        // What the tables need is known after the first plan.
        features: Features::ALL.without(Features::ICMP_ECHO).with(plan::features::of_node(node)),
        flows_writable: false,
        one_buffer: false,
    };
    pins.stage()?;
    let adopts = pins.check(&options)?;
    let fingerprint = secret::fingerprint(&secret);
    // Before anything is loaded, which would use the key already.
    match pins.identity()?.filter(|_| adopts) {
        // Fresh, or made by a daemon that was killed before it wrote anything.
        None | Some((0, _)) => {}
        Some((known, key)) if layouts::is_known(known) => ensure!(
            key == fingerprint,
            "the pinned tables were made with another hash secret; restore `node.hash_secret`, or run \
             `evenkeel detach` (which ends all flows) and start again"
        ),
        Some((other, _)) => anyhow::bail!(
            "the pinned tables have layout {other}, this evenkeel needs {LAYOUT_VERSION}; run the version that made \
             them, or `evenkeel detach` (which ends all flows) and start again"
        ),
    }
    let mut plane = Loaded::load(&options)?;
    if adopts {
        // The daemon before may have been killed between a replacement and its grace period.
        grace::wait()?;
    }
    plane.adopt_flows(pins).context("the flows of the present tables cannot be taken over")?;
    plane.tables().control.set_layout(LAYOUT_VERSION, fingerprint);
    tracing::info!(adopted = adopts, pins = %node.pin_directory.display(), "tables are ready");
    Ok((plane, adopts))
}

/// Sizes of the tables for a node's limits.
#[must_use]
pub fn sizes(node: &Node) -> Sizes {
    let limits = node.limits;
    Sizes {
        // Sixteen buckets of four for each service and each of two tables: room for ranges, and few collisions.
        service_buckets: 2 * (limits.services as usize * 16).next_power_of_two().max(1024),
        services: limits.services as usize + 1,
        slots: limits.slots as usize,
        destinations: limits.backends as usize + 1,
        flow_buckets: node.flow_entries as usize / lb_common::flow::BUCKET_ENTRIES,
        nat_buckets: node.nat.entries as usize / lb_common::abi::NAT_BUCKET,
        fragment_buckets: node.fragment_entries as usize / lb_common::flow::BUCKET_ENTRIES,
        // Two words for each backend.
        quic_buckets: (node.limits.backends as usize / 4).next_power_of_two(),
        // A prefix has two ends at most, and a list has to have room beside the one that it replaces.
        list_bounds: 4 * limits.prefixes as usize,
        client_buckets: limits.clients as usize / lb_common::abi::CLIENT_BUCKET,
    }
}

/// Tells systemd, if it started this process.
pub(crate) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be notified: {error}");
    }
}
