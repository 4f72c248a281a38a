//! Changes through the API.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use super::Controller;
use crate::{
    api::model::{ApiError, BackendChange, Changed},
    config::{
        self,
        model::{AdminState, Backend, Service},
        raw,
    },
    plan::desired::backend_key,
    state::{
        DrainRecord, Leaving, Runtime,
        runtime::{Added, key_text},
    },
};

type Outcome = Result<Changed, ApiError>;

impl Controller {
    /// Adds a backend to a service.
    ///
    /// # Errors
    ///
    /// 404 without such a service, 400 for a bad backend, 409 if it does not fit.
    pub fn add_backend(&mut self, service: &str, backend: &raw::Backend) -> Outcome {
        let service = self.service(service)?.clone();
        let checked = config::check_backend(&service, backend).map_err(|problems| {
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ApiError::bad_request(texts.join("\n"))
        })?;
        let key = backend_key(&checked);
        if service.backends.iter().any(|present| backend_key(present) == key) {
            let message = format!("service {} has backend {} already; change it instead", service.name, key_text(key));
            return Err(ApiError::conflict(message));
        }
        let mut runtime = self.reconciler.runtime.clone();
        let in_file = self
            .config
            .services
            .iter()
            .find(|other| other.name == service.name)
            .is_some_and(|service| service.backends.iter().any(|backend| backend_key(backend) == key));
        let change = runtime.backend_mut(&service.name, key);
        *change = crate::state::BackendRuntime::default();
        if in_file {
            // It had been removed at run time; what is said of it now counts.
            change.weight = Some(checked.weight);
            change.admin_state = Some(checked.admin_state);
        } else {
            change.added = Some(Added {
                name: checked.name.clone(),
                mode: checked.mode,
                weight: checked.weight,
                max_connections: checked.max_connections,
                backup: checked.backup,
                admin_state: checked.admin_state,
                quic_server_id: checked.quic_server_id.as_ref().map(ToString::to_string),
            });
        }
        self.commit(&service.name, runtime, format!("backend {} added to service {}", checked.name, service.name))
    }

    /// Removes a backend: drains it first, unless `now`.
    ///
    /// # Errors
    ///
    /// 404 without such a service or backend.
    pub fn remove_backend(&mut self, service: &str, backend: &str, now: bool) -> Outcome {
        let (service, backend) = self.find(service, backend)?;
        let key = backend_key(&backend);
        let mut runtime = self.reconciler.runtime.clone();
        let change = runtime.backend_mut(&service.name, key);
        *change = crate::state::BackendRuntime { removed: true, ..Default::default() };
        let time = SystemTime::now();
        let timeout = if now { std::time::Duration::ZERO } else { service.drain_timeout };
        let drain = DrainRecord::new(time, timeout);
        let changes = runtime.services.entry(service.name.clone()).or_default();
        changes.leaving.insert(key_text(key), Leaving { name: backend.name.clone(), drain });
        let how = if now { "removed at once" } else { "leaves once its flows have ended" };
        self.commit(&service.name, runtime, format!("backend {} of service {} {how}", backend.name, service.name))
    }

    /// Changes admin state or weight.
    ///
    /// # Errors
    ///
    /// 404 without such a service or backend, 400 for a change that changes nothing.
    pub fn change_backend(&mut self, service: &str, backend: &str, wanted: &BackendChange) -> Outcome {
        let (service, backend) = self.find(service, backend)?;
        if wanted.admin_state.is_none() && wanted.weight.is_none() {
            return Err(ApiError::bad_request("nothing to change; give `admin_state` or `weight`"));
        }
        let mut runtime = self.reconciler.runtime.clone();
        let change = runtime.backend_mut(&service.name, backend_key(&backend));
        change.weight = wanted.weight.or(change.weight);
        if let Some(state) = wanted.admin_state {
            change.admin_state = Some(state);
            change.drain = match (state, change.drain) {
                (AdminState::Draining, None) => Some(DrainRecord::new(SystemTime::now(), service.drain_timeout)),
                (AdminState::Draining, drain) => drain,
                _ => None,
            };
        }
        let mut parts = Vec::new();
        parts.extend(wanted.admin_state.map(|state| format!("is {}", state_name(state))));
        parts.extend(wanted.weight.map(|weight| format!("has weight {weight}")));
        self.commit(
            &service.name,
            runtime,
            format!("backend {} of service {} {}", backend.name, service.name, parts.join(" and ")),
        )
    }

    fn commit(&mut self, service: &str, runtime: Runtime, message: String) -> Outcome {
        self.adopt_one(service, runtime).map_err(|error| ApiError::conflict(format!("{error:#}")))?;
        tracing::info!("{message}");
        let writes = self.reconcile().map_err(|error| {
            ApiError::internal(format!("{message}, but the tables could not be written yet: {error:#}"))
        })?;
        Ok(Changed { message, writes })
    }

    /// A service by name.
    ///
    /// # Errors
    ///
    /// 404, with the names that there are.
    pub fn service(&self, name: &str) -> Result<&Arc<Service>, ApiError> {
        let services = &self.effective().services;
        services.iter().find(|service| service.name == name).ok_or_else(|| {
            let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
            ApiError::not_found(format!("no service {name:?}; there is {}", list(&names)))
        })
    }

    /// A backend by name, address, or address and port.
    pub(super) fn find(&self, service: &str, backend: &str) -> Result<(Arc<Service>, Backend), ApiError> {
        let service = self.service(service)?;
        let found = service.backends.iter().find(|candidate| {
            candidate.name == backend
                || key_text(backend_key(candidate)) == backend
                || backend.parse::<IpAddr>().is_ok_and(|address| address == candidate.address)
        });
        let found = found.ok_or_else(|| {
            let names: Vec<&str> = service.backends.iter().map(|backend| backend.name.as_str()).collect();
            ApiError::not_found(format!("service {} has no backend {backend:?}; it has {}", service.name, list(&names)))
        })?;
        Ok((service.clone(), found.clone()))
    }
}

/// The name of an admin state in output.
#[must_use]
pub const fn state_name(state: AdminState) -> &'static str {
    match state {
        AdminState::Enabled => "enabled",
        AdminState::Draining => "draining",
        AdminState::Disabled => "disabled",
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
