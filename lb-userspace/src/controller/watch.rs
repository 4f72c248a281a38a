//! What is watched of services: their quorum, and the health of backends that hooks are told of.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::{inputs, reconciler::Reconciler, users::Concerned};
use crate::{
    config::model::{AdminState, Backend, Service},
    health::{
        Status,
        quorum::{self, Count, Standing},
    },
    hooks::{Event, Subject},
    plan::desired::{BackendKey, Inputs, backend_key},
};

/// What was seen of services that ask for it, by name.
#[derive(Debug, Default)]
pub(super) struct Watch {
    services: BTreeMap<String, Watched>,
    /// What hooks have to be told.
    events: Vec<Event>,
}

/// What was seen of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    pub(super) standing: Standing,
    /// When that began.
    pub(super) since: Option<SystemTime>,
    pub(super) count: Count,
    /// Of backends, if there is a hook for them.
    backends: BTreeMap<BackendKey, Status>,
}

impl Watch {
    /// What was seen of a service.
    pub(super) fn of(&self, service: &str) -> Option<&Watched> {
        self.services.get(service)
    }
}

impl Reconciler {
    /// What happened since the last time that hooks have to be told of.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.watch.events)
    }

    /// Looks at the services that something changed for.
    pub(super) fn observe(&mut self, now: SystemTime) {
        let all = self.concerned == Concerned::All;
        let services: Vec<_> = match &self.concerned {
            Concerned::All => self.effective.services.clone(),
            Concerned::Some(some) => some.iter().map(|i| self.effective.services[*i as usize].clone()).collect(),
        };
        if all {
            let names: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
            self.watch.services.retain(|name, _| names.contains(name.as_str()));
        }
        for service in services {
            if service.quorum.is_none() && service.hooks.backend.is_none() {
                self.watch.services.remove(&service.name);
                continue;
            }
            let mut watched = self.watch.services.remove(&service.name).unwrap_or_default();
            self.observe_backends(&service, &mut watched);
            self.observe_quorum(&service, &mut watched, now);
            self.watch.services.insert(service.name.clone(), watched);
        }
    }

    fn observe_backends(&mut self, service: &Service, watched: &mut Watched) {
        let Some(hook) = &service.hooks.backend else { return watched.backends.clear() };
        let before = std::mem::take(&mut watched.backends);
        for backend in &service.backends {
            let Some((target, _)) = inputs::target(service, backend) else { continue };
            let health = self.health.get(&target);
            let status = health.map_or(Status::Unknown, |health| health.status);
            let key = backend_key(backend);
            let then = before.get(&key).copied().unwrap_or(Status::Unknown);
            watched.backends.insert(key, status);
            if then == status || status == Status::Unknown {
                continue;
            }
            let mut environment = of_service(service, "backend", (&then.to_string(), &status.to_string()));
            environment.extend([
                ("EVENKEEL_BACKEND", backend.name.clone()),
                ("EVENKEEL_ADDRESS", backend.address.to_string()),
                ("EVENKEEL_BACKEND_PORT", backend.port.to_string()),
                ("EVENKEEL_REASON", health.map(|health| health.reason.clone()).unwrap_or_default()),
            ]);
            let subject = Subject { service: service.name.clone(), backend: Some(backend.name.clone()) };
            self.watch.events.push(Event { subject, hook: hook.clone(), environment });
        }
    }

    fn observe_quorum(&mut self, service: &Service, watched: &mut Watched, now: SystemTime) {
        let Some(quorum) = &service.quorum else { return watched.standing = Standing::Unknown };
        let inputs = self.inputs(service, self.runtime.services.get(&service.name), now);
        watched.count = count(service, &inputs);
        let before = watched.standing;
        watched.standing = quorum::after(quorum, before, &watched.count);
        if watched.since.is_none() || before != watched.standing {
            watched.since = Some(now);
        }
        if before == watched.standing {
            return;
        }
        let (state, Count { able, all, .. }) = (watched.standing.name(), watched.count);
        tracing::warn!(service = service.name, able, all, "quorum {state}");
        if let Some(hook) = &service.hooks.quorum {
            let mut environment = of_service(service, "quorum", (before.name(), state));
            environment.extend([("EVENKEEL_UP", able.to_string()), ("EVENKEEL_BACKENDS", all.to_string())]);
            let subject = Subject { service: service.name.clone(), backend: None };
            self.watch.events.push(Event { subject, hook: hook.clone(), environment });
        }
    }
}

/// What every hook is told.
fn of_service(service: &Service, event: &str, (before, state): (&str, &str)) -> Vec<(&'static str, String)> {
    vec![
        ("EVENKEEL_EVENT", event.to_owned()),
        ("EVENKEEL_STATE", state.to_owned()),
        ("EVENKEEL_BEFORE", before.to_owned()),
        ("EVENKEEL_SERVICE", service.name.clone()),
        ("EVENKEEL_VIP", service.vip_text()),
        ("EVENKEEL_PORT", service.ports.to_string()),
        ("EVENKEEL_PROTOCOL", service.protocol.to_string()),
    ]
}

/// The backends of a service, backups aside.
fn count(service: &Service, inputs: &Inputs) -> Count {
    let mut count = Count::default();
    for backend in service.backends.iter().filter(|backend| !backend.backup) {
        let health = inputs.health.get(&backend_key(backend));
        let weight = if is_enabled(backend) { inputs.weight(backend) } else { 0 };
        count.all += 1;
        count.weight += u64::from(backend.weight);
        if weight > 0 && health.is_none_or(|(_, eligible)| *eligible) {
            count.able += 1;
            count.able_weight += u64::from(weight);
        } else if weight > 0 && health.is_some_and(|(status, _)| *status == Status::Unknown) {
            count.unknown += 1;
        }
    }
    count
}

fn is_enabled(backend: &Backend) -> bool {
    backend.admin_state == AdminState::Enabled
}
