//! What the plan needs to know besides the configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::SystemTime,
};

use super::reconciler::Reconciler;
use crate::{
    config::model::{AdminState, Backend, Initial, Probe, ProbeVia, Service},
    plan::{
        Actual,
        desired::{BackendKey, Drain, Inputs, ServiceKey, backend_key},
        write::EgressRecord,
    },
    probe::{Target, Ways},
    state::{
        Effective, Leaving, Runtime, ServiceRuntime,
        runtime::{key_text, parse_key},
    },
};

/// What is probed for a backend; `None` if it is not probed.
pub(super) fn target(service: &Service, backend: &Backend) -> Option<(Target, Probe)> {
    let probe = service.probe.clone()?;
    Some((Target::of(&probe, service, backend), probe))
}

/// The backends of a service that leave, as far as probes go.
fn leaving_backends<'a>(service: &Service, runtime: &'a Runtime) -> impl Iterator<Item = Backend> + use<'a> {
    let changes = runtime.services.get(&service.name);
    changes
        .into_iter()
        .flat_map(|changes| &changes.leaving)
        .filter_map(|(key, leaving)| Some(leaving_backend(parse_key(key)?, leaving)))
}

/// A backend that leaves.
pub(super) fn leaving_backend((address, port): BackendKey, leaving: &Leaving) -> Backend {
    let (name, admin_state) = (leaving.name.clone(), AdminState::Draining);
    Backend {
        name,
        address,
        mode: None,
        port,
        weight: 0,
        max_connections: None,
        priority: 0,
        backup: false,
        admin_state,
        quic_server_id: None,
    }
}

/// The targets of a service. A backend that leaves is probed to its end: its flows move if it goes down.
pub(super) fn targets_of<'a>(service: &'a Service, runtime: &'a Runtime) -> impl Iterator<Item = (Target, Probe)> + 'a {
    let leaving = leaving_backends(service, runtime).filter_map(|backend| target(service, &backend));
    service.backends.iter().filter_map(|backend| target(service, backend)).chain(leaving)
}

/// All targets, each once.
pub(super) fn targets(effective: &Effective, runtime: &Runtime, adopted: &BTreeSet<Target>) -> BTreeMap<Target, Probe> {
    let all = effective.services.iter().flat_map(|service| targets_of(service, runtime));
    all.map(|(target, probe)| {
        let initial = if adopted.contains(&target) { Initial::Up } else { probe.initial };
        (target, Probe { initial, ..probe })
    })
    .collect()
}

/// The destinations of backends that are probed on the way of the traffic.
pub(super) fn ways(effective: &Effective, runtime: &Runtime, actual: &Actual) -> Ways {
    let mut ways = Ways::new();
    let asks =
        |service: &&std::sync::Arc<Service>| service.probe.as_ref().is_some_and(|probe| probe.via == ProbeVia::Vip);
    for service in effective.services.iter().filter(asks) {
        let Some(known) = actual.services.get(&ServiceKey::of(service)) else { continue };
        let all = service.backends.iter().cloned().chain(leaving_backends(service, runtime));
        ways.extend(all.filter_map(|backend| {
            let (target, _) = target(service, &backend)?;
            Some((target.way()?, *known.backends.get(&backend_key(&backend))?))
        }));
    }
    ways
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
    let known = actual.destinations.iter().filter_map(|(_, destination)| {
        let egress = actual.egress.get(&destination.next_hop.egress)?;
        let mac = destination.next_hop.mac.to_le_bytes();
        Some((destination.backend.0, (*egress, [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]])))
    });
    known.collect()
}

impl Reconciler {
    /// What the plan needs to know of a service whose changes at run time are these.
    pub(super) fn inputs(&self, service: &Service, changes: Option<&ServiceRuntime>, now: SystemTime) -> Inputs {
        let key = ServiceKey::of(service);
        let slow_start = self.slow_starts.shares(&key);
        let ejects = service.passive_health.is_some_and(|rules| rules.ejects);
        let ejected = if ejects { self.passive.ejected(&key) } else { BTreeSet::new() };
        let mut inputs = Inputs { slow_start, ejected, ..Inputs::default() };
        let draining = |key| changes?.backends.get(&key_text(key))?.drain;
        for backend in &service.backends {
            let key = backend_key(backend);
            if let Some(record) = draining(key) {
                inputs.drains.insert(key, Drain { overdue: record.is_overdue(now), then: record.then(service) });
            }
            self.add_backend_inputs(service, backend, &mut inputs);
        }
        for (key, leaving) in changes.into_iter().flat_map(|changes| &changes.leaving) {
            let Some(key) = parse_key(key) else { continue };
            inputs
                .leaving
                .insert(key, Drain { overdue: leaving.drain.is_overdue(now), then: leaving.drain.then(service) });
            if !inputs.health.contains_key(&key) {
                self.add_backend_inputs(service, &leaving_backend(key, leaving), &mut inputs);
            }
        }
        inputs
    }

    fn add_backend_inputs(&self, service: &Service, backend: &Backend, inputs: &mut Inputs) {
        if let Some((target, probe)) = target(service, backend) {
            inputs.health.insert(backend_key(backend), self.health_of(&target, &probe));
            if let Some(health) = self.health.get(&target) {
                inputs.advice.insert(backend_key(backend), health.advice);
            }
        }
        if let Some(hop) = self.last_known.get(&backend.address) {
            inputs.next_hops.insert(backend.address, *hop);
        }
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
