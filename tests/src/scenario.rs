//! What most end-to-end tests begin with: configurations, servers on all backends, and waiting for health.

use std::{fmt::Write as _, net::IpAddr};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    bpffs::Bpffs,
    content::Content,
    daemon::{Daemon, Paths},
    servers::{self, Nginx},
    topology::{Backend, Topology},
    wait::{PATIENCE, wait_ok, wait_until},
};

/// A service to be configured.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its VIP.
    pub vip: IpAddr,
    /// Its port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Name and weight of each backend.
    pub backends: Vec<(String, u16)>,
    /// Further lines of the service, such as `on_no_backend: reject`.
    pub options: Vec<String>,
}

/// Probes quick enough for a test: down after 3 × 200 ms + 150 ms at the latest.
pub const QUICK_PROBE: &str = "probe: {type: tcp, interval: 200ms, timeout: 150ms, rise: 2, fall: 3}";

impl Service {
    /// A TCP service on all backends with weight 1.
    pub fn tcp(name: &str, vip: IpAddr, port: u16, topology: &Topology) -> Self {
        let backends = topology.backends().iter().map(|backend| (backend.name().to_owned(), 1)).collect();
        Self { name: name.to_owned(), vip, port, protocol: "tcp", backends, options: vec![QUICK_PROBE.to_owned()] }
    }

    /// A UDP service that is not probed.
    pub fn udp(name: &str, vip: IpAddr, port: u16, topology: &Topology) -> Self {
        Self { protocol: "udp", options: Vec::new(), ..Self::tcp(name, vip, port, topology) }
    }

    /// With these weights, in the order of the backends.
    #[must_use]
    pub fn weights(mut self, weights: &[u16]) -> Self {
        for (backend, weight) in self.backends.iter_mut().zip(weights) {
            backend.1 = *weight;
        }
        self
    }

    /// With only the backends that have one of these names.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Self {
        self.backends.retain(|(name, _)| names.contains(&name.as_str()));
        self
    }

    /// With these lines in place of its probe and other options.
    #[must_use]
    pub fn options(mut self, lines: &[&str]) -> Self {
        self.options = lines.iter().map(|line| (*line).to_owned()).collect();
        self
    }

    /// With a further line.
    #[must_use]
    pub fn option(mut self, line: &str) -> Self {
        self.options.push(line.to_owned());
        self
    }
}

/// A configuration file.
pub fn configuration(paths: &Paths, topology: &Topology, services: &[Service]) -> String {
    let mut text = format!(
        "version: 1\nnode:\n  interfaces: [{}]\n  flow_table: {{entries: 65536}}\n  api: {{socket: {}}}\n  \
         pin_directory: {}\n  state_directory: {}\n  limits: {{services: 64, backends: 256, slots: 262144}}\nservices:\n",
        topology.balancer_interfaces().join(", "),
        paths.socket.display(),
        paths.pins.display(),
        paths.state.display(),
    );
    for service in services {
        add_service(&mut text, topology, service);
    }
    text
}

/// Starts a daemon with these services.
///
/// # Errors
/// As [`Daemon::start`].
pub fn start<'a>(topology: &'a Topology, bpffs: &Bpffs, services: &[Service]) -> Result<Daemon<'a>> {
    Daemon::start(topology.balancer(), bpffs, |paths| configuration(paths, topology, services))
}

fn add_service(text: &mut String, topology: &Topology, service: &Service) {
    let mut line = |line: &str| writeln!(text, "    {line}").expect("a string takes everything");
    line(&format!("- name: {}", service.name));
    line(&format!("  vip: {}", service.vip));
    line(&format!("  port: {}", service.port));
    line(&format!("  protocol: {}", service.protocol));
    for option in &service.options {
        line(&format!("  {option}"));
    }
    line("  backends:");
    for (name, weight) in &service.backends {
        let address = backend(topology, name).addresses().like(service.vip);
        line(&format!("    - {{name: {name}, address: \"{address}\", weight: {weight}}}"));
    }
}

/// A backend by name.
///
/// # Panics
/// If there is none.
pub fn backend<'a>(topology: &'a Topology, name: &str) -> &'a Backend {
    topology.backends().iter().find(|backend| backend.name() == name).expect("a backend of this name")
}

/// nginx on every backend, named as the backend.
///
/// # Errors
/// If one does not start.
pub fn nginx_everywhere(topology: &Topology, ports: &[u16], content: Option<&Content>) -> Result<Vec<Nginx>> {
    topology.backends().iter().map(|b| servers::nginx(b.namespace(), b.name(), ports, content)).collect()
}

/// The status of a service.
///
/// # Errors
/// If the daemon does not answer, or has no such service.
pub fn service_status(daemon: &Daemon<'_>, service: &str) -> Result<Value> {
    daemon.cli(&["--json", "service", "show", service])
}

/// The status of a backend.
///
/// # Errors
/// As [`service_status`].
pub fn backend_status(daemon: &Daemon<'_>, service: &str, backend: &str) -> Result<Value> {
    let status = service_status(daemon, service)?;
    let backends = status["backends"].as_array().context("a list of backends")?;
    backends.iter().find(|status| status["name"] == backend).cloned().with_context(|| format!("backend {backend}"))
}

/// Waits until exactly these backends take new flows and have a next hop.
///
/// # Errors
/// If they do not in time; with the last status.
pub fn wait_for_takers(daemon: &Daemon<'_>, service: &str, names: &[&str]) -> Result<()> {
    wait_ok(&format!("flows of {service} go to {names:?}"), PATIENCE, || {
        let status = service_status(daemon, service)?;
        let mut taking = Vec::new();
        for backend in status["backends"].as_array().context("a list of backends")? {
            if backend["takes_flows"] == true && backend["next_hop"]["resolved"] == true {
                taking.push(backend["name"].as_str().context("a name")?.to_owned());
            }
        }
        taking.sort();
        anyhow::ensure!(taking == names, "they go to {taking:?}; status: {status}");
        Ok(())
    })
}

/// Waits until a condition on the status of a backend holds.
///
/// # Errors
/// If it does not in time.
pub fn wait_for_backend(
    daemon: &Daemon<'_>,
    service: &str,
    backend: &str,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> Result<()> {
    wait_until(&format!("{backend} of {service}: {what}"), PATIENCE, || {
        backend_status(daemon, service, backend).is_ok_and(|status| condition(&status))
    })
}
