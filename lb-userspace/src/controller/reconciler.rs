//! Brings the tables to the desired state.
//!
//! ```text
//! health, next hops ─ diff with the last ─▶ Users ─┐
//! change of a service, drains, clock ──────────────┴─▶ Concerned ─ resolve ─▶ plan_some ─▶ publish
//!                                                      └ all: start, reload, after a failure ─▶ plan
//! ```
//!
//! It knows no file and no socket: what it is told goes in, writes come out. [`super::Controller`] is the shell around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context as _, Result, ensure};
use imbl::ordmap::DiffItem;
use lb_common::{service::builder, steady};

use super::{
    inputs,
    next_hops::Missing,
    passive::Passive,
    progress::Progress,
    slow_start::SlowStarts,
    users::{Concerned, Users},
    watch::Watch,
};
use crate::{
    config::{
        self,
        model::{Config, Probe, Service},
    },
    dataplane::{
        DataPlane,
        kernel::Clock,
        publish,
        scan::{self, Scan},
    },
    neighbour::NextHops,
    plan::{self, Actual, Desired, Drift, Memo, PlanError, Write, desired::ServiceKey, write::EgressRecord},
    probe::{HealthView, Target, Ways},
    state::{Effective, Runtime},
};

/// The desired state, what the tables hold, and what has changed since they were last brought together.
#[derive(Debug)]
pub struct Reconciler {
    pub(super) effective: Effective,
    pub(super) runtime: Runtime,
    pub(super) actual: Actual,
    pub(super) health: HealthView,
    pub(super) next_hops: NextHops,
    /// Next hops that were resolved once: the best there is while the kernel asks again.
    pub(super) last_known: BTreeMap<IpAddr, (EgressRecord, [u8; 6])>,
    /// The addresses without a next hop.
    pub(super) missing: BTreeMap<IpAddr, Missing>,
    /// Targets whose backends took flows when their tables were adopted: up until their probes say otherwise.
    pub(super) adopted: BTreeSet<Target>,
    pub(super) clock: Clock,
    pub(super) users: Users,
    pub(super) concerned: Concerned,
    /// Counts changes of what is to be probed and resolved.
    pub(super) revision: u64,
    /// Counts changes of which destinations there are.
    pub(super) places: u64,
    /// There is something that is to be kept and was not yet.
    pub(super) unsaved: bool,
    /// What the log was told of drains.
    pub(super) progress: Progress,
    pub(super) watch: Watch,
    memo: Memo,
    pub(super) slow_starts: SlowStarts,
    pub(super) passive: Passive,
}

/// What was found to differ.
#[derive(Debug)]
pub struct Drifts {
    /// Records that nobody here wrote.
    pub records: Vec<Drift>,
    /// What else a plan of everything writes: slots and the service table.
    pub writes: Vec<Write>,
}

/// Another state, which fits.
#[derive(Debug)]
pub struct Fit {
    runtime: Runtime,
    state: State,
}

#[derive(Debug)]
enum State {
    All(Effective),
    One(u32, Arc<Service>),
}

impl Fit {
    /// The changes that are to be kept.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

fn refuse(problems: &[String]) -> Result<()> {
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

impl Reconciler {
    /// Takes over the tables as they are, and writes nothing yet. `runtime` is what was changed at run time.
    #[must_use]
    pub fn new(config: &Config, mut runtime: Runtime, plane: &impl DataPlane, clock: Clock) -> Self {
        runtime.prune(config);
        let effective = runtime.effective(config);
        let actual = Actual::read(&plane.tables());
        Self {
            last_known: inputs::known_next_hops(&actual),
            adopted: inputs::adopted_targets(&effective, &actual),
            users: Users::of(&effective, &runtime),
            effective,
            runtime,
            actual,
            health: HealthView::default(),
            next_hops: NextHops::default(),
            missing: BTreeMap::new(),
            clock,
            concerned: Concerned::All,
            revision: 0,
            places: 0,
            unsaved: false,
            progress: Progress::default(),
            watch: Watch::default(),
            memo: Memo::default(),
            slow_starts: SlowStarts::default(),
            passive: Passive::default(),
        }
    }

    /// Takes note of health. What did not change costs nothing as far as the new view shares it with the last.
    pub fn set_health(&mut self, health: HealthView) {
        let before = std::mem::replace(&mut self.health, health);
        for change in before.diff(&self.health) {
            let (target, then, now) = match change {
                DiffItem::Add(target, now) => (target, None, Some(now)),
                DiffItem::Update { old: (target, then), new: (_, now) } => (target, Some(then), Some(now)),
                DiffItem::Remove(target, then) => (target, Some(then), None),
            };
            let said = |health: &crate::probe::TargetHealth| (health.status, health.eligible, health.advice);
            if then.map(|then| said(then)) == now.map(|now| said(now)) {
                continue;
            }
            if let Some(now) = now.filter(|now| now.last.is_some() && then.is_none_or(|then| then.status != now.status))
            {
                tracing::info!(%target, status = %now.status, reason = now.reason, "health changed");
            }
            self.users.at(target.address).for_each(|service| self.concerned.add(service));
        }
    }

    /// Brings the tables to the desired state; returns the writes that took.
    ///
    /// Services are looked at that something changed for since the last time; all of them at the start, after a change of
    /// the whole configuration, and after a failure.
    ///
    /// # Errors
    ///
    /// If the plan cannot be made or written. The desired state stays; the next call looks at everything again.
    pub fn reconcile(&mut self, plane: &mut impl DataPlane, now: SystemTime) -> Result<Vec<Write>> {
        self.concern_drains();
        self.concern_slow_starts(now);
        if self.concerned.is_nobody() {
            return Ok(Vec::new());
        }
        self.update_slow_starts(now);
        // Before the tables: a hook is told what is so, whether they can be written or not.
        self.observe(now);
        let result = self.update_drains(plane, now).and_then(|()| self.publish(plane, now));
        self.concerned = if result.is_ok() { Concerned::nobody() } else { Concerned::All };
        result
    }

    fn publish(&mut self, plane: &mut impl DataPlane, now: SystemTime) -> Result<Vec<Write>> {
        let writes = self.plan(plane, now)?;
        if writes.is_empty() {
            return Ok(writes);
        }
        if writes.iter().any(|write| matches!(write, Write::Destination { .. } | Write::FreeDestination { .. })) {
            self.places += 1;
        }
        match publish(plane, &writes) {
            Ok(()) => writes.iter().for_each(|write| self.actual.apply(write)),
            Err(error) => {
                // Some of it was written: what is there tells.
                self.actual = Actual::read(&plane.tables());
                return Err(error);
            }
        }
        tracing::debug!(writes = writes.len(), "published");
        Ok(writes)
    }

    fn plan(&mut self, plane: &impl DataPlane, now: SystemTime) -> Result<Vec<Write>, PlanError> {
        let (key, tables) = (plane.constants().hash_key, plane.tables());
        if let Concerned::Some(some) = &self.concerned {
            let services = some.iter().map(|index| &self.effective.services[*index as usize]);
            let desired = self.desired(services, &self.runtime, now);
            if let Some(writes) = plan::plan_some(&desired, &self.actual, tables, &key, &mut self.memo)? {
                return Ok(writes);
            }
        }
        let desired = self.desired(&self.effective.services, &self.runtime, now);
        plan::plan(&desired, &self.actual, tables, &key, &mut self.memo)
    }

    /// What the tables should say of some services.
    fn desired<'a>(
        &self,
        services: impl IntoIterator<Item = &'a Arc<Service>>,
        runtime: &Runtime,
        now: SystemTime,
    ) -> Desired {
        let resolved = |service: &'a Arc<Service>| {
            let inputs = self.inputs(service, runtime.services.get(&service.name), now);
            (ServiceKey::of(service), plan::desired::resolve(service, &inputs, self.clock))
        };
        Desired { services: services.into_iter().map(resolved).collect(), pool: self.effective.pool.clone() }
    }

    /// What a plan of everything would write now, whatever is concerned; nothing if the tables are as they should be.
    ///
    /// # Errors
    ///
    /// As from [`plan::plan`].
    pub fn plan_all(&self, plane: &impl DataPlane, now: SystemTime) -> Result<Vec<Write>, PlanError> {
        let desired = self.desired(&self.effective.services, &self.runtime, now);
        let key = plane.constants().hash_key;
        plan::plan(&desired, &self.actual, plane.tables(), &key, &mut Memo::default())
    }

    /// Compares the tables with what was published, and has what drifted put right if `repairs`. Call it when [`Self::reconcile`] has
    /// nothing to do: what it would write is taken for drift.
    ///
    /// # Errors
    ///
    /// If the plan cannot be made or written; the next [`Self::reconcile`] looks at everything.
    pub fn verify(&mut self, plane: &mut impl DataPlane, now: SystemTime, repairs: bool) -> Result<Drifts> {
        let records = plan::drift::find(&self.actual, &plane.tables());
        if repairs && !records.is_empty() {
            let writes: Vec<Write> = records.iter().flat_map(|drift| drift.repairs.iter().cloned()).collect();
            // They are in force as far as anyone here knows, so nothing is to be noted of them but a failure.
            if let Err(error) = publish(plane, &writes) {
                self.actual = Actual::read(&plane.tables());
                self.concerned = Concerned::All;
                return Err(error);
            }
            builder::relist(&plane.tables());
            steady::publish_all(&plane.tables());
        }
        let desired = self.desired(&self.effective.services, &self.runtime, now);
        let key = plane.constants().hash_key;
        let writes = plan::plan(&desired, &self.actual, plane.tables(), &key, &mut self.memo)?;
        if repairs && !writes.is_empty() {
            self.concerned = Concerned::All;
            self.publish(plane, now)?;
            self.concerned = Concerned::nobody();
        }
        Ok(Drifts { records, writes })
    }

    /// Has the next [`Self::reconcile`] look at everything.
    pub fn concern_all(&mut self) {
        self.concerned = Concerned::All;
    }

    /// Checks another configuration with other changes, and plans it once without writing, so that what does not fit is
    /// refused with everything as it was.
    ///
    /// # Errors
    ///
    /// What does not hold or does not fit.
    pub fn fit_all(
        &mut self,
        config: &Config,
        mut runtime: Runtime,
        plane: &impl DataPlane,
        now: SystemTime,
    ) -> Result<Fit> {
        runtime.prune(config);
        let effective = runtime.effective(config);
        refuse(&config::check_all(&Config { services: effective.services.clone(), node: config.node.clone() }))?;
        self.try_all(&effective, &runtime, plane, now)?;
        Ok(Fit { runtime, state: State::All(effective) })
    }

    /// As [`Self::fit_all`], for other changes of one service. The cost does not grow with the number of services.
    ///
    /// # Errors
    ///
    /// As there, and if there is no such service.
    pub fn fit_one(
        &mut self,
        config: &Config,
        name: &str,
        mut runtime: Runtime,
        plane: &impl DataPlane,
        now: SystemTime,
    ) -> Result<Fit> {
        let index = self.users.named(name).with_context(|| format!("no service {name:?}"))?;
        let configured = &config.services[index as usize];
        runtime.prune_service(configured);
        let service = runtime.effective_service(configured);
        let others = |address| self.others_at(index, address);
        refuse(&config::check_one(&service, &self.effective.services, config.node.limits, others))?;
        let desired = self.desired([&service], &runtime, now);
        let (key, tables) = (plane.constants().hash_key, plane.tables());
        // Where the plan of one will not do, it is the plan of all that tells.
        if plan::plan_some(&desired, &self.actual, tables, &key, &mut self.memo)?.is_none() {
            let mut effective = self.effective.clone();
            effective.services[index as usize] = Arc::clone(&service);
            self.try_all(&effective, &runtime, plane, now)?;
        }
        Ok(Fit { runtime, state: State::One(index, service) })
    }

    fn try_all(
        &mut self,
        effective: &Effective,
        runtime: &Runtime,
        plane: &impl DataPlane,
        now: SystemTime,
    ) -> Result<(), PlanError> {
        let desired = self.desired(&effective.services, runtime, now);
        plan::plan(&desired, &self.actual, plane.tables(), &plane.constants().hash_key, &mut self.memo).map(drop)
    }

    /// Puts a state in force that was found to fit just now; [`Self::reconcile`] then writes the tables.
    pub fn take(&mut self, fit: Fit) {
        match fit.state {
            State::All(effective) => self.take_all(effective, fit.runtime),
            State::One(index, service) => self.take_one(index, service, fit.runtime),
        }
    }

    fn take_all(&mut self, effective: Effective, runtime: Runtime) {
        (self.effective, self.runtime) = (effective, runtime);
        self.progress.hasten();
        self.users = Users::of(&self.effective, &self.runtime);
        self.concerned = Concerned::All;
        self.revision += 1;
        // What is configured anew later begins as its `initial` says.
        let present = self.targets();
        self.adopted.retain(|target| present.contains_key(target));
    }

    fn take_one(&mut self, index: u32, service: Arc<Service>, runtime: Runtime) {
        let before = std::mem::replace(&mut self.effective.services[index as usize], Arc::clone(&service));
        let then = std::mem::replace(&mut self.runtime, runtime);
        self.progress.hasten();
        self.users.replace(index, (&before, &then), (&service, &self.runtime));
        self.concerned.add(index);
        let targets = |service: &Service, runtime: &Runtime| -> BTreeSet<Target> {
            inputs::targets_of(service, runtime).map(|(target, _)| target).collect()
        };
        let (old, new) = (targets(&before, &then), targets(&service, &self.runtime));
        for gone in old.difference(&new) {
            let users = self.users.at(gone.address).map(|index| &self.effective.services[index as usize]);
            let is_used = users.clone().any(|user| inputs::targets_of(user, &self.runtime).any(|(of, _)| of == *gone));
            if !is_used {
                self.adopted.remove(gone);
            }
        }
        let backends = |service: &Service| service.backends.iter().map(plan::desired::backend_key).collect::<Vec<_>>();
        if old != new || backends(&before) != backends(&service) {
            self.revision += 1;
        }
    }

    /// The other services with a backend of an address.
    fn others_at(&self, own: u32, address: IpAddr) -> impl Iterator<Item = &Service> {
        let others = self.users.at(address).filter(move |index| *index != own);
        others.map(|index| &*self.effective.services[index as usize])
    }

    /// Counts the live flows.
    ///
    /// # Errors
    ///
    /// If the clock cannot be read.
    pub fn scan(&self, plane: &impl DataPlane) -> Result<Scan> {
        Ok(scan::count(plane.tables(), plane.now()?))
    }

    /// What the tables hold.
    #[must_use]
    pub fn actual(&self) -> &Actual {
        &self.actual
    }

    /// The changes at run time, drains included.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The services as they are configured and were changed since.
    #[must_use]
    pub fn services(&self) -> &[Arc<Service>] {
        &self.effective.services
    }

    /// Changes with [`Self::targets`] and [`Self::addresses`].
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The targets to probe.
    #[must_use]
    pub fn targets(&self) -> BTreeMap<Target, Probe> {
        inputs::targets(&self.effective, &self.runtime, &self.adopted)
    }

    /// The ways that targets are probed by, as far as the tables have them.
    #[must_use]
    pub fn ways(&self) -> Ways {
        inputs::ways(&self.effective, &self.runtime, &self.actual)
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
}
