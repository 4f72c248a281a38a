//! The controller: holds the desired state and the data path, and brings the one to the other.
//!
//! It is one thread's own and does no waiting of its own, so every change is whole before the next begins. What it is told
//! (health, next hops, changes, the time) it takes from [`crate::supervisor`].
//!
//! - [`reconciler`]: the part that needs no file: events in, writes out. `users`: which services an event concerns. `inputs`:
//!   what the plan needs to know of them. `drains`: when drains begin and end, `progress`: what the log says of them.
//!   `watch`: what hooks are told of. `next_hops`: what is said when one is lost or back. `precedence`: which services
//!   a packet is not for, and why. `scores`: what schedulers go by. `slow_start`: shares of backends that begin. `groups`: which
//!   priorities take flows, and why. `passive`: what clients' packets tell. `verify`: whether the tables are what was published.
//! - [`change`]: changes through the API. `apply`: many of them as one document. `configured`: what is configured, from files and from what was
//!   applied. `register`: backends that are added, `registrations`: for how long. `server`: all backends of an
//!   address. [`report`]: answers.

mod apply;
pub mod change;
mod configured;
mod drains;
mod groups;
mod inputs;
mod limits;
mod next_hops;
mod passive;
mod precedence;
mod progress;
pub mod reconciler;
mod register;
mod registrations;
pub mod report;
pub mod scores;
mod server;
mod slow_start;
mod users;
mod verify;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, anyhow};
use lb_common::features::Features;

pub use self::reconciler::Reconciler;
use self::registrations::Registrations;
use crate::{
    api::model::VerifyStatus,
    config::{
        self, Origins, Sources,
        model::{AttachMode, Config, Service},
    },
    dataplane::{
        kernel::{Attached, Forwarder, Loaded, Pins, attach},
        scan::Scan,
    },
    neighbour::NextHops,
    plan::{
        self,
        desired::{self, BackendKey},
    },
    probe::{HealthView, Target, Ways},
    state::{Effective, Runtime, Store},
};

/// See the module.
#[derive(Debug)]
pub struct Controller {
    pub(crate) config_file: PathBuf,
    pub(crate) config: Config,
    /// What the files said when they were read.
    pub(crate) sources: Sources,
    pub(crate) origins: Origins,
    /// Applied services that the files leave no room for, and why.
    pub(crate) left_out: Vec<String>,
    pub(crate) reconciler: Reconciler,
    pub(crate) store: Store,
    pub(crate) plane: Loaded,
    pins: Pins,
    pub(crate) attached: Vec<Attached>,
    pub(crate) started: SystemTime,
    pub(crate) reload_error: Option<String>,
    pub(crate) registrations: Registrations,
    /// The last reconciliation failed.
    behind: bool,
    scores: scores::Scores,
    readings: passive::Readings,
    pub(crate) verified: VerifyStatus,
    /// When the tables are compared next.
    verify_at: Instant,
}

/// What a controller starts with.
#[derive(Debug)]
pub struct Parts {
    /// Path of the configuration.
    pub config_file: PathBuf,
    /// What the configuration is made of.
    pub sources: Sources,
    /// Where changes are kept.
    pub store: Store,
    /// The loaded program.
    pub plane: Loaded,
    /// Where it is pinned.
    pub pins: Pins,
}

impl Controller {
    /// Takes over the tables as they are; writes nothing yet, attaches nothing yet.
    ///
    /// # Errors
    ///
    /// If the state file cannot be read, or for a bad configuration.
    pub fn new(parts: Parts) -> Result<Self> {
        let Parts { config_file, sources, store, plane, pins } = parts;
        let origins = sources.origins();
        let mut runtime = store.load()?;
        let is_new = configured::note_files(&mut runtime, &sources, &origins);
        let (config, left_out) = configured::with_applied(&sources, &runtime.applied)?;
        let mut reconciler = Reconciler::new(&config, runtime, &plane, plane.clock());
        reconciler.unsaved = is_new;
        Ok(Self {
            config_file,
            config,
            sources,
            origins,
            left_out,
            reconciler,
            store,
            plane,
            pins,
            attached: Vec::new(),
            started: SystemTime::now(),
            reload_error: None,
            registrations: Registrations::default(),
            behind: false,
            scores: scores::Scores::default(),
            readings: passive::Readings::default(),
            verified: VerifyStatus::default(),
            verify_at: Instant::now(),
        })
    }

    /// Takes note of health.
    pub fn set_health(&mut self, health: HealthView) {
        self.reconciler.set_health(health);
    }

    /// Takes note of next hops.
    pub fn set_next_hops(&mut self, next_hops: NextHops) {
        self.reconciler.set_next_hops(next_hops, SystemTime::now());
    }

    /// Brings the tables to the desired state; returns how many writes that took.
    ///
    /// # Errors
    ///
    /// If the plan cannot be made or written. The desired state stays; the next call tries again.
    pub fn reconcile(&mut self) -> Result<usize> {
        let result = self.try_reconcile();
        if let Err(error) = &result
            && !self.behind
        {
            tracing::error!("the tables could not be brought up to date, trying again: {error:#}");
        }
        self.behind = result.is_err();
        result
    }

    /// Publishes the scores that schedulers go by, if it is time.
    pub fn publish_scores(&mut self) {
        if let Err(error) = self.scores.publish(&self.reconciler, &self.plane, Instant::now()) {
            tracing::warn!("scores of backends could not be published: {error:#}");
        }
    }

    /// Goes on to tidy up a flow table that grew.
    pub fn settle_flows(&mut self) {
        if let Err(error) = self.plane.settle_flows() {
            tracing::warn!("copies of flows could not be removed: {error:#}");
        }
    }

    fn try_reconcile(&mut self) -> Result<usize> {
        let published = self.reconciler.reconcile(&mut self.plane, SystemTime::now());
        // The tables do not wait for a disk that is full.
        if self.reconciler.unsaved {
            self.store.save(&self.reconciler.runtime)?;
            self.reconciler.unsaved = false;
        }
        published.map(|writes| writes.len())
    }

    /// Puts another configuration and other changes in force, both or neither; [`Self::reconcile`] then writes the tables.
    pub(crate) fn adopt(&mut self, config: Config, runtime: Runtime) -> Result<()> {
        let fit = self.reconciler.fit_all(&config, runtime, &self.plane, SystemTime::now())?;
        self.store.save(fit.runtime())?;
        self.config = config;
        self.reconciler.take(fit);
        self.scores.hurry();
        Ok(())
    }

    /// As [`Self::adopt`], for other changes of one service.
    pub(crate) fn adopt_one(&mut self, service: &str, runtime: Runtime) -> Result<()> {
        let fit = self.reconciler.fit_one(&self.config, service, runtime, &self.plane, SystemTime::now())?;
        self.store.save(fit.runtime())?;
        self.reconciler.take(fit);
        self.scores.hurry();
        Ok(())
    }

    /// Reads the configuration file again.
    ///
    /// # Errors
    ///
    /// If it is refused, for whatever reason: what is in force stays in force.
    pub fn reload(&mut self) -> Result<usize> {
        let result = self.try_reload();
        self.reload_error = result.as_ref().err().map(|error| format!("{error:#}"));
        result
    }

    fn try_reload(&mut self) -> Result<usize> {
        let sources = Sources::read(&self.config_file)?;
        let origins = sources.origins();
        let mut runtime = self.reconciler.runtime.clone();
        configured::note_files(&mut runtime, &sources, &origins);
        let config = configured::checked(&sources, &runtime.applied)?;
        let fixed = |config: &Config| {
            let node = &config.node;
            let limits = node.limits;
            (
                node.flow_entries,
                node.nat.entries,
                (node.fragment_entries, node.fragment_timeout),
                limits,
                node.api_socket.clone(),
                node.api_group.clone(),
                node.pin_directory.clone(),
                node.state_directory.clone(),
                node.hash_secret.clone(),
                node.probe_mark,
            )
        };
        let modes = |config: &Config| -> BTreeMap<String, AttachMode> {
            config.node.interfaces.iter().map(|interface| (interface.name.clone(), interface.mode)).collect()
        };
        let before = modes(&self.config);
        let same_modes = modes(&config).iter().all(|(name, mode)| before.get(name).is_none_or(|before| before == mode));
        if fixed(&config) != fixed(&self.config) || !same_modes {
            return Err(anyhow!(
                "{}: flow_table, fragment_table, nat.entries, limits, directories, api, hash_secret, probe_mark and the mode of an interface under `node` \
                 cannot change while the daemon runs; \
                 restore them, or restart the daemon (another secret, or another size of anything but the flow table, \
                 also needs `evenkeel detach`)",
                self.config_file.display()
            ));
        }
        let before = self.attached.clone();
        let taken = self.attach_all(&config).and_then(|()| self.adopt(config, runtime));
        if taken.is_err() {
            self.detach_all_but(&before)?;
        }
        taken.context("the configuration is not taken over")?;
        (self.sources, self.origins, self.left_out) = (sources, origins, Vec::new());
        let interfaces = self.config.node.interfaces.clone();
        let wanted: Vec<Attached> =
            self.attached.iter().filter(|a| interfaces.iter().any(|i| i.name == a.interface)).cloned().collect();
        self.detach_all_but(&wanted)?;
        let writes = self
            .reconcile()
            .context("the configuration is in force, but the tables could not be written; this is tried again")?;
        self.specialise();
        Ok(writes)
    }

    /// Loads the program anew if it can do more than the tables need: what is not used costs nothing then. What is needed later
    /// comes back with the plan that needs it.
    pub fn specialise(&mut self) {
        let of_node = plan::features::of_node(&self.config.node);
        let passive = if passive::is_used(&self.config) { Features::PASSIVE_HEALTH } else { Features::NONE };
        let needed = Features::of(&self.plane.tables(), self.plane.ingress()).with(of_node).with(passive);
        if needed == self.plane.constants().features {
            return;
        }
        if let Err(error) = self.plane.specialise(needed) {
            tracing::warn!("the program stays as general as it is: {error:#}");
        }
    }

    /// Attaches the program to the configured interfaces that do not have it from this daemon yet.
    ///
    /// # Errors
    ///
    /// The first interface that refuses.
    pub fn attach_all(&mut self, config: &Config) -> Result<()> {
        for interface in &config.node.interfaces {
            // An interface that was made anew under its old name has another index, and no program.
            let ifindex = nix::net::if_::if_nametoindex(interface.name.as_str()).ok();
            if self.attached.iter().any(|a| a.interface == interface.name && Some(a.ifindex) == ifindex) {
                continue;
            }
            self.attached.retain(|attached| attached.interface != interface.name);
            if !self.attached.is_empty() {
                self.plane.require(Features::REDIRECT)?;
            }
            let attached = attach::attach(&mut self.plane, &self.pins, interface)?;
            tracing::info!(interface = attached.interface, mode = attached.mode.name(), "attached");
            self.attached.push(attached);
        }
        self.tell_ingress();
        Ok(())
    }

    /// Detaches every interface that is not among these.
    ///
    /// # Errors
    ///
    /// If a pin cannot be removed.
    pub fn detach_all_but(&mut self, wanted: &[Attached]) -> Result<()> {
        let names: Vec<&str> = wanted.iter().map(|attached| attached.interface.as_str()).collect();
        for name in attach::detach_others(&self.pins, &names)? {
            tracing::info!(interface = name, "detached");
        }
        self.attached = wanted.to_vec();
        self.tell_ingress();
        Ok(())
    }

    fn tell_ingress(&mut self) {
        self.plane.set_ingress(self.attached.iter().map(|attached| attached.ifindex).collect());
    }

    /// Counts the live flows.
    ///
    /// # Errors
    ///
    /// If the clock cannot be read.
    pub fn scan(&self) -> Result<Scan> {
        self.reconciler.scan(&self.plane)
    }

    /// What happened since the last time that hooks have to be told of.
    pub fn take_events(&mut self) -> Vec<crate::hooks::Event> {
        self.reconciler.take_events()
    }

    /// Whether [`Self::reconcile`] should be called for the time's sake: something drains, leaves or has not its whole share, or
    /// the last call failed.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.behind || self.reconciler.has_drains() || self.reconciler.has_slow_starts()
    }

    /// Changes with [`Self::targets`] and [`Self::addresses`].
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.reconciler.revision()
    }

    /// The targets to probe.
    #[must_use]
    pub fn targets(&self) -> BTreeMap<Target, config::model::Probe> {
        self.reconciler.targets()
    }

    /// What takes probes to backends as packets of clients are.
    ///
    /// # Errors
    ///
    /// If the tables cannot be mapped once more.
    pub fn forwarder(&self) -> Result<Forwarder> {
        self.plane.forwarder()
    }

    /// Changes with [`Self::ways`].
    #[must_use]
    pub fn ways_revision(&self) -> (u64, u64) {
        (self.reconciler.revision(), self.reconciler.places)
    }

    /// The ways that targets are probed by.
    #[must_use]
    pub fn ways(&self) -> Ways {
        self.reconciler.ways()
    }

    /// The addresses whose next hops are needed.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.reconciler.addresses()
    }

    pub(crate) fn effective(&self) -> &Effective {
        &self.reconciler.effective
    }

    /// The destination of a backend.
    pub(crate) fn destination(&self, service: &Service, key: BackendKey) -> Option<u32> {
        let service = self.reconciler.actual.services.get(&desired::ServiceKey::of(service))?;
        service.backends.get(&key).copied()
    }
}
