//! What the plan needs to know besides the configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::SystemTime,
};

use super::Controller;
use crate::{
    config::model::{AdminState, Backend, Initial, Probe, Service},
    neighbour::Resolution,
    plan::{
        Actual, Desired,
        desired::{self, BackendKey, Drain, Inputs, ServiceKey, backend_key},
        write::EgressRecord,
    },
    probe::Target,
    state::{Effective, Runtime, runtime::parse_key},
};

/// What is probed for a backend; `None` if it is not probed.
pub(super) fn target(service: &Service, backend: &Backend) -> Option<(Target, Probe)> {
    let probe = service.probe.clone()?;
    let port = probe.port.unwrap_or(backend.port);
    Some((Target { address: backend.address, port, kind: probe.kind }, probe))
}

/// The backends of a service that leave, as far as probes go.
fn leaving_backends<'a>(service: &Service, runtime: &'a Runtime) -> impl Iterator<Item = Backend> + use<'a> {
    let changes = runtime.services.get(&service.name);
    changes.into_iter().flat_map(|changes| &changes.leaving).filter_map(|(key, leaving)| {
        let (address, port) = parse_key(key)?;
        let admin_state = AdminState::Draining;
        Some(Backend { name: leaving.name.clone(), address, port, weight: 0, backup: false, admin_state })
    })
}

/// All targets, each once. A backend that leaves is probed to its end: its flows move if it goes down.
pub(super) fn targets(effective: &Effective, runtime: &Runtime, adopted: &BTreeSet<Target>) -> BTreeMap<Target, Probe> {
    let mut all = Vec::new();
    for service in &effective.services {
        all.extend(service.backends.iter().filter_map(|backend| target(service, backend)));
        all.extend(leaving_backends(service, runtime).filter_map(|backend| target(service, &backend)));
    }
    all.into_iter()
        .map(|(target, probe)| {
            let initial = if adopted.contains(&target) { Initial::Up } else { probe.initial };
            (target, Probe { initial, ..probe })
        })
        .collect()
}

/// Targets of backends that take flows in tables that are taken over: a restart must not empty them until probes have
/// passed again.
pub(super) fn adopted_targets(effective: &Effective, actual: &Actual) -> BTreeSet<Target> {
    let mut adopted = BTreeSet::new();
    for service in &effective.services {
        let Some(known) = actual.services.get(&ServiceKey::of(service)) else { continue };
        for backend in &service.backends {
            let id = known.backends.get(&backend_key(backend));
            let takes = id.and_then(|id| actual.destinations.get(id)).is_some_and(|found| found.state.takes_flows);
            adopted.extend(target(service, backend).filter(|_| takes).map(|(target, _)| target));
        }
    }
    adopted
}

/// Next hops that the tables hold.
pub(super) fn known_next_hops(actual: &Actual) -> BTreeMap<IpAddr, (EgressRecord, [u8; 6])> {
    let known = actual.destinations.values().filter_map(|destination| {
        let egress = actual.egress.get(&destination.next_hop.egress)?;
        let mac = destination.next_hop.mac.to_le_bytes();
        Some((destination.backend.0, (*egress, [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]])))
    });
    known.collect()
}

impl Controller {
    /// Keeps what was resolved for when it is not.
    pub(super) fn note_next_hops(&mut self) {
        for (address, resolution) in self.next_hops.iter() {
            if let Resolution::Resolved(hop) = resolution {
                let egress = EgressRecord { ifindex: hop.ifindex, source_mac: hop.source_mac, mtu: hop.mtu };
                self.last_known.insert(*address, (egress, hop.mac));
            }
        }
    }

    /// The state that the tables should have.
    pub(super) fn desired(&self, effective: &Effective, runtime: &Runtime, now: SystemTime) -> Desired {
        let inputs = self.inputs(effective, runtime, now);
        desired::resolve(&effective.services, &inputs, self.plane.clock())
    }

    pub(super) fn inputs(&self, effective: &Effective, runtime: &Runtime, now: SystemTime) -> Inputs {
        let mut inputs = Inputs { next_hops: self.last_known.clone(), ..Inputs::default() };
        for service in &effective.services {
            for backend in &service.backends {
                let key = (service.name.clone(), backend_key(backend));
                if let Some((target, probe)) = target(service, backend) {
                    inputs.health.insert(key.clone(), self.health_of(&target, &probe));
                }
                let record = runtime.backend(&service.name, key.1).and_then(|change| change.drain);
                if let Some(record) = record {
                    inputs.drains.insert(key, Drain { overdue: record.is_overdue(now) });
                }
            }
        }
        for service in &effective.services {
            for backend in leaving_backends(service, runtime) {
                if let Some((target, probe)) = target(service, &backend) {
                    let key = (service.name.clone(), backend_key(&backend));
                    inputs.health.entry(key).or_insert_with(|| self.health_of(&target, &probe));
                }
            }
        }
        inputs.leaving = leaving(runtime, now);
        inputs
    }

    /// A target that has not been asked yet is what its `initial` says.
    fn health_of(&self, target: &Target, probe: &Probe) -> (crate::health::Status, bool) {
        match self.health.get(target) {
            Some(health) => (health.status, health.eligible),
            None => {
                let up = probe.initial == Initial::Up || self.adopted.contains(target);
                (crate::health::Status::Unknown, up)
            }
        }
    }
}

fn leaving(runtime: &Runtime, now: SystemTime) -> BTreeMap<(String, BackendKey), Drain> {
    let mut leaving = BTreeMap::new();
    for (name, changes) in &runtime.services {
        for (key, record) in &changes.leaving {
            let Some(key) = parse_key(key) else { continue };
            leaving.insert((name.clone(), key), Drain { overdue: record.drain.is_overdue(now) });
        }
    }
    leaving
}
