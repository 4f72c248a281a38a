//! Backends that are added at run time: once, again, and until their time to live is over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Controller,
    change::{Outcome, state_name, time},
};
use crate::{
    api::model::{ApiError, Changed},
    config::{
        self,
        model::{Backend, Service},
        raw,
    },
    plan::desired::{BackendKey, backend_key},
    state::{
        BackendRuntime,
        runtime::{Added, key_text},
    },
};

/// Registrations that end in one tick of the daemon.
const AT_A_TIME: usize = 32;

impl Controller {
    /// Adds a backend to a service: for good or, with `ttl` (such as `30s`), until it is not added again for so long. To add the same
    /// again changes nothing else, and leaves what was changed since as it is.
    ///
    /// # Errors
    ///
    /// 404 without such a service, 400 for a bad backend, 409 if it does not fit or is there otherwise.
    pub fn add_backend(&mut self, service: &str, backend: &raw::Backend, ttl: Option<&str>) -> Outcome {
        let service = self.service(service)?.clone();
        let ttl = ttl.map(|text| time("ttl", text)).transpose()?;
        let checked = config::check_backend(&service, backend).map_err(|problems| {
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ApiError::bad_request(texts.join("\n"))
        })?;
        let key = backend_key(&checked);
        if ttl.is_some() && self.in_file(&service.name, key).is_some() {
            return Err(ApiError::conflict(format!(
                "backend {} of service {} is in the configuration file; `ttl` is for backends that are not",
                key_text(key),
                service.name
            )));
        }
        let is_there = service.backends.iter().any(|present| present.address == checked.address);
        let outcome =
            if is_there { self.add_again(&service, &checked, ttl) } else { self.add(&service, &checked, ttl) };
        if outcome.is_ok() {
            self.registrations.renew(&service.name, key, ttl, Instant::now());
        }
        outcome
    }

    fn add(&mut self, service: &Arc<Service>, backend: &Backend, ttl: Option<Duration>) -> Outcome {
        let key = backend_key(backend);
        let change = if self.in_file(&service.name, key).is_some() {
            // It had been removed at run time; what is said of it now counts.
            let (weight, admin_state) = (Some(backend.weight), Some(backend.admin_state));
            BackendRuntime { weight, admin_state, ..BackendRuntime::default() }
        } else {
            BackendRuntime { added: Some(added(backend, ttl)), ..BackendRuntime::default() }
        };
        let mut runtime = self.reconciler.runtime.clone();
        *runtime.backend_mut(&service.name, key) = change;
        self.commit(&service.name, runtime, format!("backend {} added to service {}", backend.name, service.name))
    }

    /// A heartbeat, which writes nothing unless the time to live is another one.
    fn add_again(&mut self, service: &Arc<Service>, backend: &Backend, ttl: Option<Duration>) -> Outcome {
        let key = backend_key(backend);
        let wanted = added(backend, ttl);
        let registered = self.reconciler.runtime.backend(&service.name, key).and_then(|change| change.added.clone());
        let present = registered.or_else(|| Some(added(self.in_file(&service.name, key)?, None)));
        let is_same = present.as_ref().is_some_and(|present| Added { ttl, ..present.clone() } == wanted);
        if !is_same {
            return Err(ApiError::conflict(differs(service, key, present.as_ref(), &wanted)));
        }
        let message = format!("backend {} of service {} is there already", backend.name, service.name);
        if present.is_some_and(|present| present.ttl == ttl) {
            return Ok(Changed { message, writes: 0, version: self.version() });
        }
        let mut runtime = self.reconciler.runtime.clone();
        runtime.backend_mut(&service.name, key).added = Some(wanted);
        self.commit(&service.name, runtime, message)
    }

    /// A backend as the file has it.
    pub(super) fn in_file(&self, service: &str, key: BackendKey) -> Option<&Backend> {
        let service = self.config.services.iter().find(|other| other.name == service)?;
        service.backends.iter().find(|backend| backend_key(backend) == key)
    }

    /// Removes backends whose time to live is over, as [`Self::remove_backend`] does: they drain. Each is a plan of its own, so
    /// others have to wait for the next time.
    pub fn expire_registrations(&mut self) {
        for (service, key) in
            self.registrations.expired(&self.reconciler.runtime, Instant::now()).into_iter().take(AT_A_TIME)
        {
            let backend = key_text(key);
            match self.remove_backend(&service, &backend, false) {
                Ok(_) => tracing::warn!(service, backend, "no heartbeat for its time to live: the backend leaves"),
                Err(error) => {
                    tracing::error!(service, backend, "no heartbeat for its time to live, but: {}", error.error);
                    // Tried again when as much time has passed once more.
                    let change = self.reconciler.runtime.backend(&service, key);
                    let ttl = change.and_then(|change| change.added.as_ref()?.ttl);
                    self.registrations.renew(&service, key, ttl, Instant::now());
                }
            }
        }
    }
}

/// What is kept of a backend that is added.
pub(super) fn added(backend: &Backend, ttl: Option<Duration>) -> Added {
    Added {
        name: backend.name.clone(),
        mode: backend.mode,
        weight: backend.weight,
        max_connections: backend.max_connections,
        priority: backend.priority,
        backup: backend.backup,
        admin_state: backend.admin_state,
        quic_server_id: backend.quic_server_id.as_ref().map(ToString::to_string),
        ttl,
    }
}

/// What keeps a backend from being the one that is there.
fn differs(service: &Service, key: BackendKey, present: Option<&Added>, wanted: &Added) -> String {
    let mut parts = Vec::new();
    if let Some(present) = present {
        let mut part = |key: &str, is: String, wanted: String| {
            if is != wanted {
                parts.push(format!("{key} {is}, not {wanted}"));
            }
        };
        part("name", present.name.clone(), wanted.name.clone());
        part("weight", present.weight.to_string(), wanted.weight.to_string());
        let most = |added: &Added| added.max_connections.map_or("unset".to_owned(), |most| most.to_string());
        part("max_connections", most(present), most(wanted));
        part("priority", present.priority.to_string(), wanted.priority.to_string());
        part("backup", present.backup.to_string(), wanted.backup.to_string());
        part("state", state_name(present.admin_state).to_owned(), state_name(wanted.admin_state).to_owned());
    }
    let otherwise = if parts.is_empty() { "otherwise".to_owned() } else { format!("with {}", parts.join(", ")) };
    format!("service {} has backend {} already, {otherwise}; change or remove that one", service.name, key_text(key))
}
