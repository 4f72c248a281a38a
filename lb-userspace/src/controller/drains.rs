//! Drains: when they begin, and when a removed backend may go.

use std::{collections::BTreeMap, time::SystemTime};

use anyhow::Result;

use super::Controller;
use crate::{
    config::model::AdminState,
    plan::desired::{BackendKey, ServiceKey, backend_key},
    state::{
        DrainRecord, Leaving,
        runtime::{key_text, parse_key},
    },
};

impl Controller {
    /// Whether something is draining or leaving, so that the clock matters.
    #[must_use]
    pub fn has_drains(&self) -> bool {
        let services = self.runtime.services.values();
        services.clone().any(|changes| !changes.leaving.is_empty())
            || services.flat_map(|changes| changes.backends.values()).any(|change| change.drain.is_some())
    }

    /// Begins and ends drains; returns whether anything changed that is to be kept.
    pub(super) fn update_drains(&mut self, now: SystemTime) -> Result<bool> {
        let before = self.runtime.clone();
        self.begin_drains(now);
        self.begin_leaving(now);
        self.end_leaving(now)?;
        Ok(self.runtime != before)
    }

    /// A drain has a beginning from when it is first seen, wherever it was asked for, and none once it is over.
    fn begin_drains(&mut self, now: SystemTime) {
        for service in &self.effective.services {
            for backend in &service.backends {
                let key = backend_key(backend);
                let begun = self.runtime.backend(&service.name, key).is_some_and(|change| change.drain.is_some());
                match (backend.admin_state == AdminState::Draining, begun) {
                    (true, false) => {
                        let record = DrainRecord::new(now, service.drain_timeout);
                        self.runtime.backend_mut(&service.name, key).drain = Some(record);
                    }
                    (false, true) => self.runtime.backend_mut(&service.name, key).drain = None,
                    _ => {}
                }
            }
        }
    }

    /// Backends that have a destination but are no longer configured leave; one that is configured again stays.
    fn begin_leaving(&mut self, now: SystemTime) {
        for service in &self.effective.services {
            let configured: Vec<BackendKey> = service.backends.iter().map(backend_key).collect();
            if let Some(changes) = self.runtime.services.get_mut(&service.name) {
                changes.leaving.retain(|key, _| parse_key(key).is_some_and(|key| !configured.contains(&key)));
            }
            let Some(known) = self.actual.services.get(&ServiceKey::of(service)) else { continue };
            for key in known.backends.keys().filter(|key| !configured.contains(key)) {
                let changes = self.runtime.services.entry(service.name.clone()).or_default();
                changes.leaving.entry(key_text(*key)).or_insert_with(|| {
                    let drain = DrainRecord::new(now, service.drain_timeout);
                    Leaving { name: key.0.to_string(), drain }
                });
            }
        }
    }

    /// A backend that leaves is gone with its last flow, or when its deadline passes.
    fn end_leaving(&mut self, now: SystemTime) -> Result<()> {
        if self.runtime.services.values().all(|changes| changes.leaving.is_empty()) {
            return Ok(());
        }
        let scan = self.scan()?;
        let mut ids = BTreeMap::new();
        for service in &self.effective.services {
            if let Some(known) = self.actual.services.get(&ServiceKey::of(service)) {
                ids.insert(service.name.clone(), known.backends.clone());
            }
        }
        let destinations = &self.actual.destinations;
        for (name, changes) in &mut self.runtime.services {
            changes.leaving.retain(|key, leaving| {
                let id = parse_key(key).and_then(|key| ids.get(name)?.get(&key));
                // Before its destination was written there is nothing to wait for. Closing flows count: the client may have
                // closed its half alone and still be receiving.
                let flows = id.map_or(0, |id| scan.of(*id).all());
                // While it takes new flows, one may come behind the scan's back.
                let takes = id.and_then(|id| destinations.get(id)).is_some_and(|found| found.state.takes_flows);
                let stays = (takes || flows > 0) && !leaving.drain.is_overdue(now);
                if !stays {
                    tracing::info!(service = name, backend = key, flows, "removed backend has left");
                }
                stays
            });
        }
        Ok(())
    }
}
