//! A configuration document is made what runs, and what runs is made a document.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use super::{Controller, change::state_name, register::added};
use crate::{
    api::model::{ApiError, AppliedChanges, ApplyRequest, ConfigChange, Exported},
    config::{
        self, Proposal,
        model::{Backend, Service},
    },
    plan::desired::{BackendKey, backend_key},
    state::{
        BackendRuntime, DrainRecord, Leaving, Runtime,
        runtime::{Added, key_text},
    },
};

/// What a document comes to, before it is done.
struct Draft<'a> {
    controller: &'a Controller,
    runtime: Runtime,
    changes: Vec<ConfigChange>,
    prune: bool,
    /// What is written of each service now.
    written: HashMap<String, serde_json::Value>,
}

impl Controller {
    /// The running configuration as a document.
    #[must_use]
    pub fn export(&self) -> Exported {
        let runtime = &self.reconciler.runtime;
        let services = self.effective().services.iter().map(|service| &**service);
        let text = config::export(&self.sources, &runtime.applied, services, self.version());
        Exported { version: self.version(), text }
    }

    /// Makes what runs what a document says, all of it or nothing.
    ///
    /// # Errors
    ///
    /// 400 for a bad document, 409 if it asks for what only the file can change, or does not fit.
    pub fn apply(&mut self, request: &ApplyRequest) -> Result<AppliedChanges, ApiError> {
        let applied = &self.reconciler.runtime.applied;
        let proposal = self
            .sources
            .propose(applied, &request.text, &request.file, Some(&config::secret))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let (runtime, changes) = Draft::new(self, request.prune).fill(&proposal)?;
        let mut done = AppliedChanges { changes, applied: false, writes: 0, version: self.version() };
        if done.changes.is_empty() {
            return Ok(done);
        }
        let config = self.sources.config(&runtime.applied, Some(&config::secret));
        let config = config.map_err(|error| ApiError::conflict(error.to_string()))?;
        let refused = |error| ApiError::conflict(format!("nothing was done: {error:#}"));
        if request.dry_run {
            // What does not fit in the tables is told as well.
            self.reconciler.fit_all(&config, runtime, &self.plane, SystemTime::now()).map_err(refused)?;
            return Ok(done);
        }
        self.adopt(config, Runtime { version: self.version() + 1, ..runtime }).map_err(refused)?;
        done.version = self.version();
        tracing::info!(file = request.file, changes = done.changes.len(), version = done.version, "applied");
        let error = "the configuration is in force, but the tables could not be written yet; this is tried again";
        done.writes = self.reconcile().map_err(|reason| ApiError::internal(format!("{error}: {reason:#}")))?;
        self.left_out.clear();
        done.applied = true;
        Ok(done)
    }
}

impl<'a> Draft<'a> {
    fn new(controller: &'a Controller, prune: bool) -> Self {
        let runtime = controller.reconciler.runtime.clone();
        let written = controller.sources.services(&runtime.applied);
        Self { controller, runtime, changes: Vec::new(), prune, written }
    }

    fn fill(mut self, proposal: &Proposal) -> Result<(Runtime, Vec<ConfigChange>), ApiError> {
        let wanted: HashMap<&str, &Arc<Service>> =
            proposal.config.services.iter().map(|service| (service.name.as_str(), service)).collect();
        let mut refusals = Vec::new();
        for (name, json) in &proposal.services {
            // A service without a name that can be read was refused before.
            let Some(wanted) = wanted.get(name.as_str()) else { continue };
            match self.running(name) {
                None => self.add(wanted, json),
                Some(running) if self.controller.origins.has(name) => {
                    refusals.extend(self.change_of_file(&running, wanted, json).err());
                }
                Some(running) => self.change(&running, wanted, json),
            }
        }
        if !refusals.is_empty() {
            return Err(ApiError::conflict(refusals.join("\n")));
        }
        if self.prune {
            let named: HashSet<&str> = proposal.services.iter().map(|(name, _)| name.as_str()).collect();
            self.remove_others(&named);
        }
        Ok((self.runtime, self.changes))
    }

    fn running(&self, name: &str) -> Option<Arc<Service>> {
        let index = self.controller.reconciler.users.named(name)?;
        self.controller.effective().services.get(index as usize).cloned()
    }

    fn note(&mut self, action: &str, service: &str, backend: Option<&str>, details: Vec<String>) {
        let (action, service, backend) = (action.to_owned(), service.to_owned(), backend.map(str::to_owned));
        self.changes.push(ConfigChange { action, service, backend, details });
    }

    fn add(&mut self, wanted: &Service, json: &serde_json::Value) {
        let (count, scheduler) = (wanted.backends.len(), wanted.scheduler.kind.name());
        let details = vec![
            format!("{} {} port {}", wanted.protocol, wanted.vip_text(), wanted.ports),
            format!("{} {scheduler}", wanted.mode.name()),
            format!("{count} backend{}", if count == 1 { "" } else { "s" }),
        ];
        self.note("add", &wanted.name, None, details);
        self.runtime.services.remove(&wanted.name);
        self.runtime.applied.insert(wanted.name.clone(), json.clone());
    }

    /// Another definition of a service that is in no file. What was changed of it since it was applied is over, but for backends
    /// that were added, which stay unless they are pruned.
    fn change(&mut self, running: &Arc<Service>, wanted: &Arc<Service>, json: &serde_json::Value) {
        let before = self.changes.len();
        self.note_options(running, wanted, json);
        let kept = self.note_backends(running, wanted);
        if self.changes.len() == before {
            return;
        }
        self.runtime.applied.insert(wanted.name.clone(), json.clone());
        let Some(changes) = self.runtime.services.get_mut(&wanted.name) else { return };
        changes
            .backends
            .retain(|key, _| kept.contains(key) || wanted.backends.iter().any(|b| key_text(backend_key(b)) == *key));
        for (_, change) in changes.backends.iter_mut().filter(|(key, _)| !kept.contains(*key)) {
            // A drain goes on if it is still wanted; else it ends when that is seen.
            *change = BackendRuntime { drain: change.drain, ..BackendRuntime::default() };
        }
    }

    /// A service of the file: weights, states, and which backends it has can be changed at run time, and nothing else.
    fn change_of_file(
        &mut self,
        running: &Arc<Service>,
        wanted: &Arc<Service>,
        json: &serde_json::Value,
    ) -> Result<(), String> {
        let name = &wanted.name;
        if let Some(details) = self.options(running, wanted, json) {
            let place = self.controller.origins.service(name).unwrap_or_default();
            return Err(format!(
                "service {name} is the configuration file's ({place}), which says otherwise: {}; edit that file and reload the daemon",
                details.join(", ")
            ));
        }
        for backend in &wanted.backends {
            let key = backend_key(backend);
            let present = running.backends.iter().find(|present| backend_key(present) == key);
            if present != Some(backend) {
                self.set_backend(name, present, backend)?;
            }
        }
        let keys: BTreeSet<BackendKey> = wanted.backends.iter().map(backend_key).collect();
        for backend in running.backends.iter().filter(|backend| !keys.contains(&backend_key(backend))) {
            if self.prune || !self.is_added(name, backend_key(backend)) {
                self.remove_backend(running, backend);
            }
        }
        Ok(())
    }

    fn set_backend(&mut self, service: &str, present: Option<&Backend>, wanted: &Backend) -> Result<(), String> {
        let key = backend_key(wanted);
        let in_file = self.controller.in_file(service, key).cloned();
        if let Some(in_file) = &in_file {
            let changed = Backend { weight: wanted.weight, admin_state: wanted.admin_state, ..in_file.clone() };
            if changed != *wanted {
                let place = self.controller.origins.backend(service, key.0).unwrap_or_default();
                return Err(format!(
                    "backend {} of service {service} is the configuration file's ({place}), which says otherwise: {}; edit that file and \
                     reload the daemon",
                    in_file.name,
                    details(
                        in_file,
                        &Backend { weight: in_file.weight, admin_state: in_file.admin_state, ..wanted.clone() }
                    )
                    .join(", ")
                ));
            }
        }
        match present {
            Some(present) => self.note("change", service, Some(&present.name), details(present, wanted)),
            None => self.note("add", service, Some(&wanted.name), what(wanted)),
        }
        let change = self.runtime.backend_mut(service, key);
        let ttl = change.added.as_ref().and_then(|added: &Added| added.ttl);
        let drain = change.drain;
        *change = match in_file {
            Some(_) => BackendRuntime {
                weight: Some(wanted.weight),
                admin_state: Some(wanted.admin_state),
                drain,
                ..BackendRuntime::default()
            },
            None => BackendRuntime { added: Some(added(wanted, ttl)), drain, ..BackendRuntime::default() },
        };
        Ok(())
    }

    /// Removes a backend as [`Controller::remove_backend`] does: it drains.
    fn remove_backend(&mut self, service: &Service, backend: &Backend) {
        let key = backend_key(backend);
        self.note("remove", &service.name, Some(&backend.name), Vec::new());
        *self.runtime.backend_mut(&service.name, key) = BackendRuntime { removed: true, ..BackendRuntime::default() };
        let drain = DrainRecord::new(SystemTime::now(), service.drain_timeout);
        let changes = self.runtime.services.entry(service.name.clone()).or_default();
        changes.leaving.insert(key_text(key), Leaving { name: backend.name.clone(), drain });
    }

    /// What was added at run time and is not named goes.
    fn remove_others(&mut self, named: &HashSet<&str>) {
        let gone: Vec<String> =
            self.runtime.applied.keys().filter(|name| !named.contains(name.as_str())).cloned().collect();
        for name in gone {
            self.runtime.applied.remove(&name);
            self.runtime.services.remove(&name);
            self.note("remove", &name, None, Vec::new());
        }
        let controller = self.controller;
        for service in controller.effective().services.iter().filter(|service| !named.contains(service.name.as_str())) {
            for backend in &service.backends {
                if controller.origins.has(&service.name) && self.is_added(&service.name, backend_key(backend)) {
                    self.remove_backend(service, backend);
                }
            }
        }
    }

    fn is_added(&self, service: &str, key: BackendKey) -> bool {
        let change = self.controller.reconciler.runtime.backend(service, key);
        change.is_some_and(|change| change.added.is_some())
    }

    /// What is different of a service, backends aside.
    fn options(&self, running: &Arc<Service>, wanted: &Arc<Service>, json: &serde_json::Value) -> Option<Vec<String>> {
        let bare = |service: &Arc<Service>| Service { backends: Vec::new(), ..Service::clone(service) };
        if bare(running) == bare(wanted) {
            return None;
        }
        let before = self.written.get(&wanted.name).unwrap_or(&serde_json::Value::Null);
        Some(config::differences(before, json))
    }

    fn note_options(&mut self, running: &Arc<Service>, wanted: &Arc<Service>, json: &serde_json::Value) {
        if let Some(details) = self.options(running, wanted, json) {
            self.note("change", &wanted.name, None, details);
        }
    }

    /// Notes how the backends of an applied service differ; returns the keys of those that stay though they are not named.
    fn note_backends(&mut self, running: &Service, wanted: &Service) -> BTreeSet<String> {
        let mut kept = BTreeSet::new();
        let present: HashMap<BackendKey, &Backend> =
            running.backends.iter().map(|backend| (backend_key(backend), backend)).collect();
        for backend in &wanted.backends {
            match present.get(&backend_key(backend)) {
                None => self.note("add", &wanted.name, Some(&backend.name), what(backend)),
                Some(present) if *present != backend => {
                    self.note("change", &wanted.name, Some(&present.name), details(present, backend));
                }
                Some(_) => {}
            }
        }
        let keys: BTreeSet<BackendKey> = wanted.backends.iter().map(backend_key).collect();
        for backend in running.backends.iter().filter(|backend| !keys.contains(&backend_key(backend))) {
            let key = backend_key(backend);
            if !self.prune && self.is_added(&wanted.name, key) {
                kept.insert(key_text(key));
            } else {
                self.note("remove", &wanted.name, Some(&backend.name), Vec::new());
            }
        }
        kept
    }
}

/// What a new backend is.
fn what(backend: &Backend) -> Vec<String> {
    let mut parts = vec![key_text(backend_key(backend)), format!("weight {}", backend.weight)];
    if backend.backup {
        parts.push("backup".to_owned());
    }
    if backend.priority > 0 {
        parts.push(format!("priority {}", backend.priority));
    }
    parts
}

/// How two backends of one address and port differ.
fn details(before: &Backend, after: &Backend) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = |key: &str, before: String, after: String| {
        if before != after {
            parts.push(format!("{key} {before} -> {after}"));
        }
    };
    let most = |backend: &Backend| backend.max_connections.map_or("unset".to_owned(), |most| most.to_string());
    let mode = |backend: &Backend| match backend.mode {
        Some(config::model::ForwardingMode::Gue { port }) => format!("gue port {port}"),
        Some(config::model::ForwardingMode::FullNat { toa: Some(kind) }) => format!("full-nat toa {kind}"),
        Some(mode) => mode.name().to_owned(),
        None => "unset".to_owned(),
    };
    let id = |backend: &Backend| backend.quic_server_id.as_ref().map_or("unset".to_owned(), ToString::to_string);
    part("name", before.name.clone(), after.name.clone());
    part("mode", mode(before), mode(after));
    part("weight", before.weight.to_string(), after.weight.to_string());
    part("max_connections", most(before), most(after));
    part("priority", before.priority.to_string(), after.priority.to_string());
    part("backup", before.backup.to_string(), after.backup.to_string());
    part("admin_state", state_name(before.admin_state).to_owned(), state_name(after.admin_state).to_owned());
    part("quic_server_id", id(before), id(after));
    parts
}
