//! The controller: holds the desired state and the data path, and brings the one to the other.
//!
//! It is one thread's own and does no waiting of its own, so every change is whole before the next begins. What it is told
//! (health, next hops, changes, the time) it takes from [`crate::supervisor`].
//!
//! - [`change`]: changes through the API. `inputs`: what the plan needs to know. [`report`]: answers.

pub mod change;
mod drains;
mod inputs;
pub mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    config::{
        self,
        model::{AttachMode, Config, Service},
    },
    dataplane::{
        kernel::{Attached, Loaded, Pins, attach},
        publish,
        scan::{self, Scan},
    },
    neighbour::NextHops,
    plan::{
        self, Actual, Desired, Memo,
        desired::{self, BackendKey},
        write::EgressRecord,
    },
    probe::{HealthView, Target},
    state::{Effective, Runtime, Store},
};

/// See the module.
#[derive(Debug)]
pub struct Controller {
    pub(crate) config_file: PathBuf,
    pub(crate) config: Config,
    pub(crate) runtime: Runtime,
    pub(crate) effective: Effective,
    pub(crate) store: Store,
    pub(crate) plane: Loaded,
    pins: Pins,
    pub(crate) attached: Vec<Attached>,
    pub(crate) actual: Actual,
    pub(crate) memo: Memo,
    pub(crate) health: HealthView,
    pub(crate) next_hops: NextHops,
    /// Next hops that were resolved once: the best there is while the kernel asks again.
    pub(crate) last_known: BTreeMap<IpAddr, (EgressRecord, [u8; 6])>,
    /// Targets whose backends took flows when their tables were adopted: up until their probes say otherwise.
    pub(crate) adopted: BTreeSet<Target>,
    pub(crate) started: SystemTime,
    pub(crate) reload_error: Option<String>,
    /// Counts changes of what is to be probed and resolved.
    revision: u64,
    /// The last reconciliation failed.
    behind: bool,
    /// The state file is older than the state.
    unsaved: bool,
}

/// What a controller starts with.
#[derive(Debug)]
pub struct Parts {
    /// Path of the configuration.
    pub config_file: PathBuf,
    /// The configuration.
    pub config: Config,
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
    /// If the state file cannot be read.
    pub fn new(parts: Parts) -> Result<Self> {
        let Parts { config_file, config, store, plane, pins } = parts;
        let mut runtime = store.load()?;
        runtime.prune(&config);
        let effective = runtime.effective(&config);
        let actual = Actual::read(&plane.tables());
        let mut controller = Self {
            config_file,
            config,
            runtime,
            effective,
            store,
            plane,
            pins,
            attached: Vec::new(),
            last_known: inputs::known_next_hops(&actual),
            adopted: BTreeSet::new(),
            actual,
            memo: Memo::default(),
            health: Arc::default(),
            next_hops: Arc::default(),
            started: SystemTime::now(),
            reload_error: None,
            revision: 0,
            behind: false,
            unsaved: false,
        };
        controller.adopted = inputs::adopted_targets(&controller.effective, &controller.actual);
        Ok(controller)
    }

    /// Takes note of health.
    pub fn set_health(&mut self, health: HealthView) {
        for (target, now) in health.iter() {
            let before = self.health.get(target);
            if before.is_none_or(|before| before.status != now.status) && now.last.is_some() {
                tracing::info!(%target, status = %now.status, reason = now.reason, "health changed");
            }
        }
        self.health = health;
    }

    /// Takes note of next hops.
    pub fn set_next_hops(&mut self, next_hops: NextHops) {
        self.next_hops = next_hops;
        self.note_next_hops();
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

    /// Whether the tables are not what they should be, and [`Self::reconcile`] should be tried again.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    fn try_reconcile(&mut self) -> Result<usize> {
        let now = SystemTime::now();
        if self.update_drains(now)? {
            self.revision += 1;
            self.unsaved = true;
        }
        let desired = self.desired(&self.effective, &self.runtime, now);
        let published = self.publish(&desired);
        // The tables do not wait for a disk that is full.
        if self.unsaved {
            self.store.save(&self.runtime)?;
            self.unsaved = false;
        }
        published
    }

    fn publish(&mut self, desired: &Desired) -> Result<usize> {
        let key = self.plane.constants().hash_key;
        let writes = plan::plan(desired, &self.actual, self.plane.tables(), &key, &mut self.memo)?;
        if writes.is_empty() {
            return Ok(0);
        }
        let result = publish(&mut self.plane, &writes);
        match &result {
            Ok(()) => writes.iter().for_each(|write| self.actual.apply(write)),
            // Some of it was written: what is there tells.
            Err(_) => self.actual = Actual::read(&self.plane.tables()),
        }
        tracing::debug!(writes = writes.len(), "published");
        result.map(|()| writes.len())
    }

    /// Puts another configuration and other changes in force, both or neither; [`Self::reconcile`] then writes the tables.
    pub(crate) fn adopt(&mut self, config: Config, mut runtime: Runtime) -> Result<()> {
        runtime.prune(&config);
        let effective = runtime.effective(&config);
        let problems = config::check_all(&Config { services: effective.services.clone(), ..config.clone() });
        if !problems.is_empty() {
            return Err(anyhow!(problems.join("\n")));
        }
        // Planned once without writing, so that what does not fit is refused with everything as it was.
        let desired = self.desired(&effective, &runtime, SystemTime::now());
        let key = self.plane.constants().hash_key;
        plan::plan(&desired, &self.actual, self.plane.tables(), &key, &mut self.memo)?;
        self.store.save(&runtime)?;
        self.config = config;
        self.runtime = runtime;
        self.effective = effective;
        self.revision += 1;
        // What is configured anew later begins as its `initial` says.
        let present = inputs::targets(&self.effective, &self.runtime, &self.adopted);
        self.adopted.retain(|target| present.contains_key(target));
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
        let config = config::load(&self.config_file)?;
        let fixed = |config: &Config| {
            let node = &config.node;
            let limits = node.limits;
            (
                node.flow_entries,
                limits,
                node.api_socket.clone(),
                node.api_group.clone(),
                node.pin_directory.clone(),
                node.state_directory.clone(),
                node.hash_secret.clone(),
            )
        };
        let modes = |config: &Config| -> BTreeMap<String, AttachMode> {
            config.node.interfaces.iter().map(|interface| (interface.name.clone(), interface.mode)).collect()
        };
        let before = modes(&self.config);
        let same_modes = modes(&config).iter().all(|(name, mode)| before.get(name).is_none_or(|before| before == mode));
        if fixed(&config) != fixed(&self.config) || !same_modes {
            return Err(anyhow!(
                "{}: flow_table, limits, directories, api, hash_secret and the mode of an interface under `node` \
                 cannot change while the daemon runs; \
                 restore them, or restart the daemon (other sizes or another secret also need `evenkeel detach`)",
                self.config_file.display()
            ));
        }
        let before = self.attached.clone();
        let taken = self.attach_all(&config).and_then(|()| self.adopt(config, self.runtime.clone()));
        if taken.is_err() {
            self.detach_all_but(&before)?;
        }
        taken.context("the configuration is not taken over")?;
        let interfaces = self.config.node.interfaces.clone();
        let wanted: Vec<Attached> =
            self.attached.iter().filter(|a| interfaces.iter().any(|i| i.name == a.interface)).cloned().collect();
        self.detach_all_but(&wanted)?;
        self.reconcile()
            .context("the configuration is in force, but the tables could not be written; this is tried again")
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
            let attached = attach::attach(&mut self.plane, &self.pins, interface)?;
            tracing::info!(interface = attached.interface, mode = attached.mode.name(), "attached");
            self.attached.push(attached);
        }
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
        Ok(())
    }

    /// Counts the live flows.
    ///
    /// # Errors
    ///
    /// If the clock cannot be read.
    pub fn scan(&self) -> Result<Scan> {
        Ok(scan::count(self.plane.tables(), self.plane.now()?))
    }

    /// Changes with [`Self::targets`] and [`Self::addresses`].
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The targets to probe.
    #[must_use]
    pub fn targets(&self) -> BTreeMap<Target, config::model::Probe> {
        inputs::targets(&self.effective, &self.runtime, &self.adopted)
    }

    /// The addresses whose next hops are needed.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let configured = self.effective.services.iter().flat_map(|service| &service.backends);
        let leaving = self.runtime.services.values().flat_map(|service| service.leaving.keys());
        configured
            .map(|backend| backend.address)
            .chain(leaving.filter_map(|key| crate::state::runtime::parse_key(key)).map(|(address, _)| address))
            .collect()
    }

    /// The destination of a backend.
    pub(crate) fn destination(&self, service: &Service, key: BackendKey) -> Option<u32> {
        let service = self.actual.services.get(&desired::ServiceKey::of(service))?;
        service.backends.get(&key).copied()
    }
}
