//! Passive health: what the data path counted is read each second and judged ([`crate::health::passive`]); who is ejected takes no new
//! flows with the next plan. A restart of the daemon forgets all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;

use super::{Controller, Reconciler, inputs};
use crate::{
    api::model::{PassiveChange, PassiveStatus},
    config::model::{AdminState, Backend, Config, Service},
    health::{
        Moment, Outcome,
        passive::{LastProbe, Seen, Totals, Watch},
    },
    plan::{
        desired::{BackendKey, ServiceKey, backend_key},
        takers::own_weight,
    },
};

/// From one reading to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is known of the services with passive health.
#[derive(Debug, Default)]
pub(super) struct Passive(BTreeMap<ServiceKey, Watch<BackendKey>>);

impl Passive {
    /// The backends of a service that are ejected.
    pub(super) fn ejected(&self, key: &ServiceKey) -> BTreeSet<BackendKey> {
        self.0.get(key).map(Watch::ejected).unwrap_or_default()
    }
}

/// When counters are read.
#[derive(Debug)]
pub(super) struct Readings {
    began: Instant,
    next: Instant,
}

impl Default for Readings {
    fn default() -> Self {
        Self { began: Instant::now(), next: Instant::now() }
    }
}

/// Whether a configuration needs what the data path counts for this.
pub(super) fn is_used(config: &Config) -> bool {
    config.services.iter().any(|service| service.passive_health.is_some())
}

impl Controller {
    /// Judges backends by their clients' packets, if it is time; returns whether a plan is due.
    pub fn judge_passively(&mut self) -> bool {
        let now = Instant::now();
        if now < self.readings.next {
            return false;
        }
        self.readings.next = now + INTERVAL;
        let moment = Moment { clock: now.duration_since(self.readings.began), shown: SystemTime::now() };
        let plane = &self.plane;
        let counters = |id| Ok(Totals::from(&plane.passive_counters(id)?));
        match self.reconciler.judge_passively(moment, counters) {
            Ok(changed) => changed,
            Err(error) => {
                tracing::warn!("passive health: counters could not be read: {error:#}");
                false
            }
        }
    }

    /// How a backend is judged; `None`: it is not.
    pub(super) fn passive_status(&self, service: &Service, key: BackendKey) -> Option<PassiveStatus> {
        let rules = service.passive_health?;
        let judged = self.reconciler.passive.0.get(&ServiceKey::of(service))?.of(&key)?;
        let last = judged.last.unwrap_or_default();
        let newest = judged.history.last();
        Some(PassiveStatus {
            mode: if rules.ejects { "eject" } else { "observe" }.to_owned(),
            standing: judged.standing.name().to_owned(),
            since: newest.map(|change| change.at),
            until: judged.until,
            reason: newest.map(|change| change.reason.clone()),
            times: judged.times,
            connections: last.opened,
            unanswered: last.failed(),
            failure_percent: (last.opened >= u64::from(rules.min_connections)).then(|| 100.0 * last.failure()),
            repeated: last.repeated,
            reset: last.reset,
            refused: last.refused,
            broken: last.broken,
            unreachable: last.unreachable,
            history: judged
                .history
                .iter()
                .map(|change| PassiveChange {
                    at: change.at,
                    standing: change.standing.name().to_owned(),
                    reason: change.reason.clone(),
                })
                .collect(),
        })
    }
}

impl Reconciler {
    /// Takes what was counted, by destination; returns whether the set of ejected backends changed.
    ///
    /// # Errors
    ///
    /// If counters cannot be read. What was judged until then holds.
    pub(super) fn judge_passively(&mut self, now: Moment, counters: impl Fn(u32) -> Result<Totals>) -> Result<bool> {
        let mut changed = self.forget_unwatched();
        for index in 0..self.effective.services.len() {
            let service = Arc::clone(&self.effective.services[index]);
            let Some(rules) = service.passive_health else { continue };
            let key = ServiceKey::of(&service);
            let mut watch = self.passive.0.remove(&key).unwrap_or_else(|| Watch::new(now));
            let seen = self.seen(&service, &watch.ejected(), &counters);
            let before = watch.ejected();
            let moved = match &seen {
                Ok(seen) => watch.step(&rules, now, seen),
                Err(_) => Vec::new(),
            };
            for backend in moved {
                tell(&service, &watch, backend);
            }
            if watch.ejected() != before {
                self.concerned.add(index as u32);
                changed = true;
            }
            self.passive.0.insert(key, watch);
            seen?;
        }
        Ok(changed)
    }

    /// Services that are no longer watched let everybody back.
    fn forget_unwatched(&mut self) -> bool {
        if self.passive.0.is_empty() {
            return false;
        }
        let watched: BTreeSet<ServiceKey> = self
            .effective
            .services
            .iter()
            .filter(|service| service.passive_health.is_some())
            .map(|service| ServiceKey::of(service))
            .collect();
        let gone: Vec<_> = self.passive.0.extract_if(.., |key, _| !watched.contains(key)).collect();
        let let_back = gone.iter().any(|(_, watch)| !watch.ejected().is_empty());
        if let_back {
            self.concern_all();
        }
        let_back
    }

    fn seen(
        &self,
        service: &Service,
        ejected: &BTreeSet<BackendKey>,
        counters: impl Fn(u32) -> Result<Totals>,
    ) -> Result<BTreeMap<BackendKey, Seen>> {
        let Some(known) = self.actual.services.get(&ServiceKey::of(service)) else { return Ok(BTreeMap::new()) };
        let mut all = BTreeMap::new();
        for backend in &service.backends {
            let key = backend_key(backend);
            let Some((id, found)) =
                known.backends.get(&key).and_then(|id| Some((*id, self.actual.destinations.get(id)?)))
            else {
                continue;
            };
            let (weight, probe, eligible) = self.said_of(service, backend);
            let wanted = backend.admin_state == AdminState::Enabled && weight > 0 && eligible;
            let seen = Seen {
                identity: u64::from(id) << 16 | u64::from(found.state.generation),
                totals: counters(id)?,
                weight: own_weight(service, weight),
                able: found.state.takes_flows || ejected.contains(&key) && wanted,
                probe,
            };
            all.insert(key, seen);
        }
        Ok(all)
    }

    /// A backend's weight, the last result of its probe, and whether it may take flows by that.
    fn said_of(&self, service: &Service, backend: &Backend) -> (u16, LastProbe, bool) {
        let Some((target, _)) = inputs::target(service, backend) else {
            return (backend.weight, LastProbe::Unprobed, true);
        };
        let Some(health) = self.health.get(&target) else { return (backend.weight, LastProbe::Pending, false) };
        let weight = if health.advice.wants.is_none() { health.advice.weight(backend.weight) } else { 0 };
        let probe = match &health.last {
            Some(last) => LastProbe::At(last.at, matches!(last.outcome, Outcome::Success(_))),
            None => LastProbe::Pending,
        };
        (weight, probe, health.eligible)
    }
}

fn tell(service: &Service, watch: &Watch<BackendKey>, key: BackendKey) {
    let Some(change) = watch.of(&key).and_then(|judged| judged.history.last()) else { return };
    let name = service.backends.iter().find(|backend| backend_key(backend) == key).map(|backend| &*backend.name);
    let (backend, standing, reason) = (name.unwrap_or_default(), change.standing.name(), &*change.reason);
    tracing::info!(service = service.name, backend, standing, reason, "passive health changed");
}
