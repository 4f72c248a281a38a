//! Changes through the API.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::Controller;
use crate::{
    api::model::{ApiError, BackendChange, Changed},
    config::{
        self,
        model::{AdminState, Backend, OnDrainTimeout, Service},
        raw,
    },
    plan::desired::{BackendKey, backend_key},
    state::{
        DrainRecord, Leaving, Runtime,
        runtime::{Added, key_text},
    },
};

type Outcome = Result<Changed, ApiError>;

impl Controller {
    /// Adds a backend to a service, for good or, with `ttl` (such as `30s`), until it is not added again for so long. To add the same
    /// again changes nothing else.
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
        let in_file = self.in_file(&service.name, key).cloned();
        if in_file.is_some() && ttl.is_some() {
            let message = format!(
                "backend {} of service {} is in the configuration file; `ttl` is for backends that are not",
                key_text(key),
                service.name
            );
            return Err(ApiError::conflict(message));
        }
        let mut runtime = self.reconciler.runtime.clone();
        let change = runtime.backend_mut(&service.name, key);
        let added = added(&checked, ttl);
        let outcome = if service.backends.iter().any(|present| backend_key(present) == key) {
            let present = change.added.clone().or_else(|| Some(self::added(in_file.as_ref()?, None)));
            let is_same = present.as_ref().is_some_and(|present| Added { ttl, ..present.clone() } == added);
            if !is_same {
                return Err(ApiError::conflict(differs(&service, key, present.as_ref(), &added)));
            }
            let message = format!("backend {} of service {} is there already", checked.name, service.name);
            if present.is_some_and(|present| present.ttl == ttl) {
                Ok(Changed { message, writes: 0 })
            } else {
                change.added = Some(added);
                self.commit(&service.name, runtime, message)
            }
        } else {
            *change = crate::state::BackendRuntime::default();
            if in_file.is_some() {
                // It had been removed at run time; what is said of it now counts.
                change.weight = Some(checked.weight);
                change.admin_state = Some(checked.admin_state);
            } else {
                change.added = Some(added);
            }
            self.commit(&service.name, runtime, format!("backend {} added to service {}", checked.name, service.name))
        };
        if outcome.is_ok() {
            self.registrations.renew(&service.name, key, ttl, Instant::now());
        }
        outcome
    }

    /// A backend as the file has it.
    fn in_file(&self, service: &str, key: BackendKey) -> Option<&Backend> {
        let service = self.config.services.iter().find(|other| other.name == service)?;
        service.backends.iter().find(|backend| backend_key(backend) == key)
    }

    /// Removes the backends whose registration has run out, as [`Self::remove_backend`] does: they drain.
    pub fn expire_registrations(&mut self) {
        for (service, key) in self.registrations.expired(&self.reconciler.runtime, Instant::now()) {
            let backend = key_text(key);
            match self.remove_backend(&service, &backend, false) {
                Ok(_) => tracing::warn!(service, backend, "no heartbeat for its time to live: the backend leaves"),
                Err(error) => {
                    tracing::error!(service, backend, "a registration has run out, but: {}", error.error);
                    // Tried again in its time.
                    let ttl =
                        self.reconciler.runtime.backend(&service, key).and_then(|change| change.added.as_ref()?.ttl);
                    self.registrations.renew(&service, key, ttl, Instant::now());
                }
            }
        }
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
        let timeout = if now { Duration::ZERO } else { service.drain_timeout };
        // At once means that flows move, whatever happens to them at the end of a drain.
        let drain = DrainRecord { then: now.then_some(OnDrainTimeout::Keep), ..DrainRecord::new(time, timeout) };
        let changes = runtime.services.entry(service.name.clone()).or_default();
        changes.leaving.insert(key_text(key), Leaving { name: backend.name.clone(), drain });
        let how = if now { "removed at once" } else { "leaves once its flows have ended" };
        self.commit(&service.name, runtime, format!("backend {} of service {} {how}", backend.name, service.name))
    }

    /// Changes admin state or weight.
    ///
    /// # Errors
    ///
    /// 404 without such a service or backend, 400 for a change that changes nothing, 409 if there is no drain to cancel.
    pub fn change_backend(&mut self, service: &str, backend: &str, wanted: &BackendChange) -> Outcome {
        let (service, backend) = self.find(service, backend)?;
        if wanted.undrain && backend.admin_state != AdminState::Draining {
            return Err(ApiError::conflict(format!(
                "backend {} of service {} is {}, not draining",
                backend.name,
                service.name,
                state_name(backend.admin_state)
            )));
        }
        let mut runtime = self.reconciler.runtime.clone();
        let what = apply(&mut runtime, &service, &backend, wanted, SystemTime::now())?;
        self.commit(&service.name, runtime, format!("backend {} of service {} {what}", backend.name, service.name))
    }

    fn commit(&mut self, service: &str, runtime: Runtime, message: String) -> Outcome {
        self.adopt_one(service, runtime).map_err(|error| ApiError::conflict(format!("{error:#}")))?;
        self.write(message)
    }

    /// The same for changes of several services: all or none.
    pub(super) fn commit_all(&mut self, runtime: Runtime, message: String) -> Outcome {
        self.adopt(self.config.clone(), runtime).map_err(|error| ApiError::conflict(format!("{error:#}")))?;
        self.write(message)
    }

    fn write(&mut self, message: String) -> Outcome {
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

/// Lays a change of a backend over what was changed before; returns what it comes to, in words.
///
/// # Errors
///
/// 400 for a change that changes nothing, or whose parts do not go together.
pub(super) fn apply(
    runtime: &mut Runtime,
    service: &Service,
    backend: &Backend,
    wanted: &BackendChange,
    now: SystemTime,
) -> Result<String, ApiError> {
    let state = if wanted.undrain { Some(AdminState::Enabled) } else { wanted.admin_state };
    if state.is_none() && wanted.weight.is_none() {
        return Err(ApiError::bad_request("nothing to change; give `admin_state`, `undrain` or `weight`"));
    }
    if wanted.undrain && wanted.admin_state.is_some() {
        return Err(ApiError::bad_request("`undrain` and `admin_state` contradict each other; give one of them"));
    }
    let of_drain = wanted.drain_timeout.is_some() || wanted.on_drain_timeout.is_some();
    if of_drain && state != Some(AdminState::Draining) {
        return Err(ApiError::bad_request(
            "`drain_timeout` and `on_drain_timeout` are for drains; add `admin_state: draining`",
        ));
    }
    let timeout = wanted.drain_timeout.as_deref().map(|text| time("drain_timeout", text)).transpose()?;
    let change = runtime.backend_mut(&service.name, backend_key(backend));
    change.weight = wanted.weight.or(change.weight);
    let mut parts = Vec::new();
    if let Some(state) = state {
        change.admin_state = Some(state);
        change.drain = (state == AdminState::Draining).then(|| drain(service, change.drain, timeout, wanted, now));
        parts.push(match change.drain {
            Some(drain) => {
                let left = drain.deadline.duration_since(now).unwrap_or_default().as_secs();
                let left = humantime::format_duration(Duration::from_secs(left));
                format!("is draining, for {left} at most (then: {})", drain.then(service).name())
            }
            None if wanted.undrain => "is enabled, its drain cancelled".to_owned(),
            None => format!("is {}", state_name(state)),
        });
    }
    parts.extend(wanted.weight.map(|weight| format!("has weight {weight}")));
    Ok(parts.join(" and "))
}

/// A drain as it is from now on. One under way keeps its beginning, and its deadline unless another one is asked for.
fn drain(
    service: &Service,
    present: Option<DrainRecord>,
    timeout: Option<Duration>,
    wanted: &BackendChange,
    now: SystemTime,
) -> DrainRecord {
    let new = DrainRecord::new(now, timeout.unwrap_or(service.drain_timeout));
    let mut drain = present.unwrap_or(new);
    if timeout.is_some() {
        drain.deadline = new.deadline;
    }
    drain.then = wanted.on_drain_timeout.or(drain.then);
    drain
}

/// A length of time from 1 s to 24 h.
fn time(key: &str, text: &str) -> Result<Duration, ApiError> {
    const RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    match humantime::parse_duration(text) {
        Ok(time) if RANGE.contains(&time) => Ok(time),
        Ok(_) => Err(ApiError::bad_request(format!("`{key}` {text} is out of range; use 1s to 24h"))),
        Err(error) => {
            Err(ApiError::bad_request(format!("`{key}` {text:?}: {error}; use a length of time such as 30s")))
        }
    }
}

/// What is kept of a backend that is added.
fn added(backend: &Backend, ttl: Option<Duration>) -> Added {
    Added {
        name: backend.name.clone(),
        mode: backend.mode,
        weight: backend.weight,
        backup: backend.backup,
        admin_state: backend.admin_state,
        quic_server_id: backend.quic_server_id.as_ref().map(ToString::to_string),
        ttl,
    }
}

/// What keeps a backend from being the same as the one that is there.
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
        part("backup", present.backup.to_string(), wanted.backup.to_string());
        part("state", state_name(present.admin_state).to_owned(), state_name(wanted.admin_state).to_owned());
    }
    let otherwise = if parts.is_empty() { "otherwise".to_owned() } else { format!("with {}", parts.join(", ")) };
    format!("service {} has backend {} already, {otherwise}; change or remove that one", service.name, key_text(key))
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
