//! Drains: when they begin and end, and when a removed backend may go.

use std::{
    collections::{BTreeSet, btree_map::Entry},
    sync::Arc,
    time::SystemTime,
};

use anyhow::Result;

use super::{reconciler::Reconciler, users::Concerned};
use crate::{
    config::model::{AdminState, OnDrainTimeout, Protocol, Service},
    dataplane::{DataPlane, scan::Scan},
    plan::desired::{BackendKey, ServiceKey, backend_key},
    state::{
        DrainRecord, Leaving, Runtime, ServiceRuntime,
        runtime::{key_text, parse_key},
    },
};

impl Reconciler {
    /// Whether something is draining or leaving, so that the clock matters.
    #[must_use]
    pub fn has_drains(&self) -> bool {
        self.runtime.services.values().any(has_drains)
    }

    /// The clock concerns the services with drains.
    pub(super) fn concern_drains(&mut self) {
        for (name, _) in self.runtime.services.iter().filter(|(_, changes)| has_drains(changes)) {
            self.users.named(name).into_iter().for_each(|index| self.concerned.add(index));
        }
    }

    /// Begins and ends drains of the services that something changed for.
    pub(super) fn update_drains(&mut self, plane: &impl DataPlane, now: SystemTime) -> Result<()> {
        let concerned: Vec<(u32, Arc<Service>)> = match &self.concerned {
            Concerned::All => (0..).zip(self.effective.services.iter().cloned()).collect(),
            Concerned::Some(some) => {
                some.iter().map(|index| (*index, Arc::clone(&self.effective.services[*index as usize]))).collect()
            }
        };
        for (index, service) in concerned {
            self.unsaved |= begin_drains(&mut self.runtime, &service, now);
            self.begin_leaving(index, &service, now);
        }
        if !self.has_drains() || !self.progress.is_due(now) {
            return Ok(());
        }
        let scan = self.scan(plane)?;
        self.follow_drains(&scan, now);
        self.end_leaving(&scan, now);
        Ok(())
    }

    /// A drain is over with the last flow. How far it is goes to the log.
    fn follow_drains(&mut self, scan: &Scan, now: SystemTime) {
        let destinations = &self.actual.destinations;
        let mut ended = false;
        let mut present = BTreeSet::new();
        for (name, changes) in &mut self.runtime.services {
            let Some(index) = self.users.named(name) else { continue };
            let service = &self.effective.services[index as usize];
            let known = self.actual.services.get(&ServiceKey::of(service));
            let backends = changes.backends.iter_mut().filter_map(|(key, change)| Some((key, change.drain.as_mut()?)));
            let leaving = changes.leaving.iter_mut().map(|(key, leaving)| (key, &mut leaving.drain));
            for (text, drain) in backends.chain(leaving).filter(|(_, drain)| drain.ended.is_none()) {
                let id = parse_key(text).and_then(|key| known?.backends.get(&key));
                let flows = id.map_or(0, |id| scan.of(*id).all());
                // While it takes new flows, one may come behind the scan's back.
                let takes = id.and_then(|id| destinations.get(id)).is_some_and(|found| found.state.takes_flows);
                present.insert((name.clone(), text.clone()));
                if takes || flows > 0 {
                    self.progress.tell(service, text, drain, flows, now);
                } else if service.backends.iter().any(|backend| key_text(backend_key(backend)) == *text) {
                    tracing::info!(service = name, backend = text, "drained: no flow is left");
                    drain.ended = Some(now);
                    ended = true;
                }
            }
        }
        self.progress.retain(&present);
        self.unsaved |= ended;
    }

    /// Backends that have a destination but are no longer configured leave; one that is configured again stays.
    fn begin_leaving(&mut self, index: u32, service: &Service, now: SystemTime) {
        let known = self.actual.services.get(&ServiceKey::of(service));
        let changes = self.runtime.services.get_mut(&service.name);
        if known.is_none() && changes.is_none() {
            return;
        }
        let configured: BTreeSet<BackendKey> = service.backends.iter().map(backend_key).collect();
        let mut changed = false;
        if let Some(changes) = changes {
            let before = changes.leaving.len();
            changes.leaving.retain(|key, _| parse_key(key).is_some_and(|key| !configured.contains(&key)));
            changed |= changes.leaving.len() != before;
        }
        let known = known.into_iter().flat_map(|service| service.backends.keys());
        for key in known.filter(|key| !configured.contains(key)) {
            let changes = self.runtime.services.entry(service.name.clone()).or_default();
            if let Entry::Vacant(leaving) = changes.leaving.entry(key_text(*key)) {
                let drain = DrainRecord::new(now, service.drain_timeout);
                leaving.insert(Leaving { name: key.0.to_string(), drain });
                self.users.add(index, key.0);
                changed = true;
            }
        }
        self.note_leaving(changed);
    }

    /// A backend that leaves is gone with its last flow, or when its deadline passes.
    fn end_leaving(&mut self, scan: &Scan, now: SystemTime) {
        let destinations = &self.actual.destinations;
        let (mut changed, mut writes) = (false, false);
        for (name, changes) in self.runtime.services.iter_mut().filter(|(_, changes)| !changes.leaving.is_empty()) {
            let Some(index) = self.users.named(name) else { continue };
            let service = &self.effective.services[index as usize];
            let known = self.actual.services.get(&ServiceKey::of(service));
            changes.leaving.retain(|text, leaving| {
                let key = parse_key(text);
                let id = key.and_then(|key| known?.backends.get(&key));
                // Before its destination was written there is nothing to wait for. Closing flows count: the client may have
                // closed its half alone and still be receiving.
                let flows = id.map_or(0, |id| scan.of(*id).all());
                // While it takes new flows, one may come behind the scan's back. It will not for long: the plan that ends it is due.
                let takes = id.and_then(|id| destinations.get(id)).is_some_and(|found| found.state.takes_flows);
                writes |= takes;
                let resets = service.protocol != Protocol::Udp && leaving.drain.then(service) == OnDrainTimeout::Reset;
                // Each client that is still there is to be told.
                let stays = (takes || flows > 0) && (resets || !leaving.drain.is_overdue(now));
                if !stays {
                    tracing::info!(service = name, backend = text, flows, "removed backend has left");
                    changed = true;
                    if let Some((address, _)) = key
                        && service.backends.iter().all(|backend| backend.address != address)
                    {
                        self.users.remove(index, address);
                    }
                }
                stays
            });
        }
        self.note_leaving(changed);
        if writes {
            self.progress.hasten();
        }
    }

    /// What leaves is probed and kept.
    fn note_leaving(&mut self, changed: bool) {
        self.unsaved |= changed;
        self.revision += u64::from(changed);
    }
}

/// A drain has a beginning from when it is first seen, wherever it was asked for, and none once it is over. Returns whether
/// anything changed.
fn begin_drains(runtime: &mut Runtime, service: &Service, now: SystemTime) -> bool {
    let mut changed = false;
    for backend in &service.backends {
        let key = backend_key(backend);
        let begun = runtime.backend(&service.name, key).is_some_and(|change| change.drain.is_some());
        let drain = match (backend.admin_state == AdminState::Draining, begun) {
            (true, false) => Some(DrainRecord::new(now, service.drain_timeout)),
            (false, true) => None,
            _ => continue,
        };
        let what = if drain.is_some() { "drain begins" } else { "drain cancelled" };
        tracing::info!(service = service.name, backend = key_text(key), "{what}");
        runtime.backend_mut(&service.name, key).drain = drain;
        changed = true;
    }
    changed
}

fn has_drains(changes: &ServiceRuntime) -> bool {
    !changes.leaving.is_empty()
        || changes.backends.values().any(|change| change.drain.is_some_and(|drain| drain.ended.is_none()))
}
