//! Changes made at run time, laid over the configuration file.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::{
        AppliedServices,
        model::{AdminState, Backend, Config, ForwardingMode, OnDrainTimeout, Service},
    },
    plan::desired::{BackendKey, backend_key},
};

/// All changes, by service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Counts changes of what is configured, whoever made them; 0: none yet.
    pub version: u64,
    /// Of the configuration files that were in force last.
    pub files: String,
    /// Services that were applied at run time.
    pub applied: AppliedServices,
    /// By name of the service.
    pub services: BTreeMap<String, ServiceRuntime>,
}

/// Changes of one service. Keys are `address:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceRuntime {
    /// Changed backends.
    pub backends: BTreeMap<String, BackendRuntime>,
    /// Removed backends that still have flows.
    pub leaving: BTreeMap<String, Leaving>,
}

/// Changes of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendRuntime {
    /// It was added at run time and is not in the file.
    pub added: Option<Added>,
    /// It was removed at run time and is in the file.
    pub removed: bool,
    /// Instead of the file's.
    pub admin_state: Option<AdminState>,
    /// Instead of the file's.
    pub weight: Option<u16>,
    /// Since when it is drained.
    pub drain: Option<DrainRecord>,
}

/// A backend that was added at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Added {
    /// Its name.
    pub name: String,
    /// How packets get to it; nothing: as the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ForwardingMode>,
    /// Its share.
    pub weight: u16,
    /// Live flows that it may have; nothing: as the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Whose turn it is, 0 the first.
    #[serde(default)]
    pub priority: u8,
    /// Takes flows only while no other backend can.
    pub backup: bool,
    /// What the operator wants of it.
    pub admin_state: AdminState,
    /// Its server id in QUIC connection ids, in hexadecimal digits, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quic_server_id: Option<String>,
    /// It leaves if it is not registered again for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
}

/// A drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// When it began.
    pub since: SystemTime,
    /// When it ends at the latest.
    pub deadline: SystemTime,
    /// What happens then; nothing: what the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<OnDrainTimeout>,
    /// When the last flow had ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<SystemTime>,
}

/// A backend on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaving {
    /// Its name.
    pub name: String,
    /// When it was removed, and when its last flows are let go.
    pub drain: DrainRecord,
}

impl DrainRecord {
    /// A drain that begins now.
    #[must_use]
    pub fn new(now: SystemTime, timeout: Duration) -> Self {
        Self { since: now, deadline: now + timeout, then: None, ended: None }
    }

    /// Whether the deadline has passed before the last flow had ended.
    #[must_use]
    pub fn is_overdue(&self, now: SystemTime) -> bool {
        self.ended.is_none() && now >= self.deadline
    }

    /// What happens to the flows of a service's backend that are left at the deadline.
    #[must_use]
    pub fn then(&self, service: &Service) -> OnDrainTimeout {
        self.then.unwrap_or(service.on_drain_timeout)
    }
}

/// The key of a backend in the state file.
#[must_use]
pub fn key_text((address, port): BackendKey) -> String {
    SocketAddr::new(address, port).to_string()
}

/// The inverse of [`key_text`].
#[must_use]
pub fn parse_key(text: &str) -> Option<BackendKey> {
    let address: SocketAddr = text.parse().ok()?;
    Some((address.ip(), address.port()))
}

/// The configuration with the changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Services with their backends as they are.
    pub services: Vec<Arc<Service>>,
    /// Source addresses of `full-nat`.
    pub pool: Vec<IpAddr>,
}

impl Runtime {
    /// Lays the changes over a configuration.
    #[must_use]
    pub fn effective(&self, config: &Config) -> Effective {
        let services = config.services.iter().map(|service| self.effective_service(service)).collect();
        Effective { services, pool: config.node.nat.pool.clone() }
    }

    /// Lays the changes over a service; one that has none is shared.
    #[must_use]
    pub fn effective_service(&self, service: &Arc<Service>) -> Arc<Service> {
        let mut service = Arc::clone(service);
        let Some(changes) = self.services.get(&service.name).filter(|changes| !changes.backends.is_empty()) else {
            return service;
        };
        let service_mut = Arc::make_mut(&mut service);
        service_mut.backends.retain_mut(|backend| {
            let Some(change) = changes.backends.get(&key_text(backend_key(backend))) else { return true };
            backend.admin_state = change.admin_state.unwrap_or(backend.admin_state);
            backend.weight = change.weight.unwrap_or(backend.weight);
            !change.removed
        });
        for (key, change) in &changes.backends {
            let (Some(added), Some((address, port))) = (&change.added, parse_key(key)) else { continue };
            if !service_mut.backends.iter().any(|backend| backend_key(backend) == (address, port)) {
                service_mut.backends.push(added_backend(added, change, address, port));
            }
        }
        service
    }

    /// The changes of a backend, made if there are none.
    pub fn backend_mut(&mut self, service: &str, key: BackendKey) -> &mut BackendRuntime {
        self.services.entry(service.to_owned()).or_default().backends.entry(key_text(key)).or_default()
    }

    /// The changes of a backend.
    #[must_use]
    pub fn backend(&self, service: &str, key: BackendKey) -> Option<&BackendRuntime> {
        self.services.get(service)?.backends.get(&key_text(key))
    }

    /// Forgets what a configuration has made void: changes of services and backends that are gone, and changes that say what
    /// the file says.
    pub fn prune(&mut self, config: &Config) {
        let names: HashSet<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
        self.services.retain(|name, _| names.contains(name.as_str()));
        config.services.iter().for_each(|service| self.prune_service(service));
    }

    /// Forgets changes of a service that say what the file says.
    pub fn prune_service(&mut self, service: &Service) {
        let Some(changes) = self.services.get_mut(&service.name) else { return };
        let in_file: HashMap<BackendKey, &Backend> =
            service.backends.iter().map(|backend| (backend_key(backend), backend)).collect();
        changes.backends.retain(|key, change| {
            let in_file = parse_key(key).and_then(|key| in_file.get(&key));
            if let Some(backend) = in_file {
                change.added = None;
                change.admin_state = change.admin_state.filter(|state| *state != backend.admin_state);
                change.weight = change.weight.filter(|weight| *weight != backend.weight);
            }
            (in_file.is_some() || change.added.is_some()) && *change != BackendRuntime::default()
        });
        if *changes == ServiceRuntime::default() {
            self.services.remove(&service.name);
        }
    }
}

fn added_backend(added: &Added, change: &BackendRuntime, address: IpAddr, port: u16) -> Backend {
    Backend {
        name: added.name.clone(),
        mode: added.mode,
        address,
        port,
        weight: change.weight.unwrap_or(added.weight),
        max_connections: added.max_connections,
        priority: added.priority,
        backup: added.backup,
        admin_state: change.admin_state.unwrap_or(added.admin_state),
        quic_server_id: added.quic_server_id.as_ref().and_then(|id| id.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(backends: &str) -> Config {
        let text = format!(
            "version: 1\nnode: {{interfaces: [eth0]}}\nservices:\n  - name: web\n    vip: 192.0.2.1\n    port: 80\n    \
             protocol: tcp\n    backends: [{backends}]\n"
        );
        crate::config::parse(&text, "test").expect("a good configuration")
    }

    const B1: BackendKey = (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 80);
    const B2: BackendKey = (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), 80);

    #[test]
    fn changes_lie_over_the_file() {
        let config = config("10.0.0.1, 10.0.0.9");
        let mut runtime = Runtime::default();
        runtime.backend_mut("web", B1).weight = Some(7);
        let added = Added {
            name: "new".to_owned(),
            mode: None,
            weight: 2,
            max_connections: None,
            priority: 0,
            backup: false,
            admin_state: AdminState::Enabled,
            quic_server_id: None,
            ttl: None,
        };
        runtime.backend_mut("web", B2).added = Some(added);
        runtime.backend_mut("web", ("10.0.0.9".parse().expect("an address"), 80)).removed = true;
        let backends = &runtime.effective(&config).services[0].backends;
        let seen: Vec<_> = backends.iter().map(|backend| (backend.name.as_str(), backend.weight)).collect();
        assert_eq!(seen, [("10.0.0.1", 7), ("new", 2)]);
    }

    #[test]
    fn what_the_file_says_too_is_no_change() {
        let mut runtime = Runtime::default();
        runtime.backend_mut("web", B1).weight = Some(1);
        runtime.backend_mut("gone", B1).weight = Some(3);
        runtime.backend_mut("web", B2).weight = Some(3);
        runtime.prune(&config("10.0.0.1"));
        assert_eq!(runtime, Runtime::default());
    }

    #[test]
    fn the_state_file_keeps_everything() {
        let mut runtime = Runtime::default();
        let drain = DrainRecord::new(SystemTime::now(), Duration::from_secs(30));
        runtime.backend_mut("web", B1).drain = Some(drain);
        let leaving = Leaving { name: "b9".to_owned(), drain };
        runtime.services.entry("web".to_owned()).or_default().leaving.insert(key_text(B2), leaving);
        let text = serde_json::to_string(&runtime).expect("serializable");
        assert_eq!(serde_json::from_str::<Runtime>(&text).expect("readable"), runtime);
    }
}
