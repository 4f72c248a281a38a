//! Changes through the API.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::Controller;
use crate::{
    api::model::{ApiError, BackendChange, Changed},
    config::model::{AdminState, Backend, OnDrainTimeout, Service},
    plan::desired::backend_key,
    state::{DrainRecord, Leaving, Runtime, runtime::key_text},
};

pub(super) type Outcome = Result<Changed, ApiError>;

impl Controller {
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

    pub(super) fn commit(&mut self, service: &str, mut runtime: Runtime, message: String) -> Outcome {
        runtime.version += 1;
        self.adopt_one(service, runtime).map_err(|error| ApiError::conflict(format!("{error:#}")))?;
        self.write(message)
    }

    /// The same for changes of several services: all or none.
    pub(super) fn commit_all(&mut self, mut runtime: Runtime, message: String) -> Outcome {
        runtime.version += 1;
        self.adopt(self.config.clone(), runtime).map_err(|error| ApiError::conflict(format!("{error:#}")))?;
        self.write(message)
    }

    fn write(&mut self, message: String) -> Outcome {
        tracing::info!("{message}");
        let writes = self.reconcile().map_err(|error| {
            ApiError::internal(format!("{message}, but the tables could not be written yet: {error:#}"))
        })?;
        Ok(Changed { message, writes, version: self.version() })
    }

    /// The version of what is configured: it grows with each change, and outlives a restart.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.reconciler.runtime.version
    }

    /// Whether a change may be made that was asked for on a condition.
    ///
    /// # Errors
    ///
    /// 412 if the version is another one.
    pub fn expect_version(&self, wanted: Option<u64>) -> Result<(), ApiError> {
        match (wanted, self.version()) {
            (Some(wanted), version) if wanted != version => Err(ApiError::precondition(format!(
                "the configuration has version {version}, not {wanted}: somebody changed it meanwhile, and nothing was done; look at it \
                 (`evenkeel export`) and ask again with --if-version {version}"
            ))),
            _ => Ok(()),
        }
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
pub(super) fn time(key: &str, text: &str) -> Result<Duration, ApiError> {
    const RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    match humantime::parse_duration(text) {
        Ok(time) if RANGE.contains(&time) => Ok(time),
        Ok(_) => Err(ApiError::bad_request(format!("`{key}` {text} is out of range; use 1s to 24h"))),
        Err(error) => {
            Err(ApiError::bad_request(format!("`{key}` {text:?}: {error}; use a length of time such as 30s")))
        }
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
