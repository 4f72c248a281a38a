//! Probes: one kind a file, one row of `check::Network` each. docs/health.md says what each does. `relay` takes those of them to
//! backends that are to go the way of the traffic.
//!
//! [`Prober`] runs one probe per [`Target`] however many services share the target, feeds the results to
//! [`crate::health`] and shows the outcome in a watch channel.
//!
//! ```text
//!   set_targets ──▶ worker ──starts──▶ one task per running probe
//!                     ▲  └─────────────── result ────┘
//!                     └─▶ health::Machine per target ──▶ subscribe
//! ```

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use crate::{
    config::model::{Backend, Probe, ProbeKind, ProbeVia, Service},
    health::{Advice, LastResult, Machine, Progress, Status, Transition},
};

mod agent;
mod check;
mod dns;
mod exec;
mod grpc;
mod http;
mod http2;
mod http_answer;
mod icmp;
#[cfg(test)]
mod kind_tests;
#[cfg(test)]
mod loopback_tests;
mod prober;
mod relay;
mod schedule;
mod socket;
mod tcp;
mod tls;
mod tls_client;
mod trouble;
mod udp;
mod worker;
#[cfg(test)]
mod worker_tests;

pub use prober::{HealthView, Prober};
pub use relay::{Relay, Via, Way, Ways, remove_leftover_rules, remove_rules};
pub(crate) use trouble::shown;

/// What is probed, whatever services want to know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The backend's own address.
    pub address: IpAddr,
    /// The port that is tried; 0 for a kind without ports.
    pub port: u16,
    /// Where the probe comes from; `None`: the kernel chooses.
    pub source: Option<IpAddr>,
    /// On which way, if not directly at its address.
    pub via: Option<Via>,
    /// What is tried.
    pub kind: ProbeKind,
}

impl Target {
    /// What a probe of a backend tries.
    #[must_use]
    pub fn of(probe: &Probe, service: &Service, backend: &Backend) -> Self {
        let via = via(probe, service, backend);
        Self {
            address: backend.address,
            port: probe.port_of(backend.port),
            source: probe.source_for(via.map_or(backend.address, |via| via.vip)),
            via,
            kind: probe.kind.clone(),
        }
    }

    /// A TCP connection to an address and port.
    #[must_use]
    pub fn tcp(address: IpAddr, port: u16) -> Self {
        Self { address, port, source: None, via: None, kind: ProbeKind::Tcp }
    }

    fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// The address that its packets are for.
    fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.via.map_or(self.address, |via| via.vip), self.port)
    }

    /// The way to it, if not directly at its address.
    pub(crate) fn way(&self) -> Option<Way> {
        Some(Way { backend: self.address, via: self.via? })
    }
}

/// The way of the traffic, if the probe takes it. Where addresses are translated the backend's own is the one that packets are
/// for, so there it is no other way.
fn via(probe: &Probe, service: &Service, backend: &Backend) -> Option<Via> {
    let mode = backend.mode.unwrap_or(service.mode);
    if probe.via == ProbeVia::Direct || mode.is_nat() {
        return None;
    }
    // Of a prefix the first that is an address of a host.
    Some(Via { vip: service.vip.hosts().next().unwrap_or(service.vip.addr()), mode })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f)?;
        self.via.map_or(Ok(()), |via| write!(f, " at {} by {}", via.vip, via.mode.name()))
    }
}

impl Target {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kind.name();
        let address = self.socket_address();
        match &self.kind {
            ProbeKind::Icmp => write!(f, "{name} {}", self.address),
            // A query may hold a secret.
            ProbeKind::Http(http) | ProbeKind::Http2(http) => {
                write!(f, "{name} {address}{}", http.path.split('?').next().unwrap_or_default())
            }
            ProbeKind::Exec(exec) => write!(f, "{name} {} {address}", exec.command[0]),
            ProbeKind::Dns(dns) => write!(f, "{name} {address} {}", dns.query),
            _ => write!(f, "{name} {address}"),
        }
    }
}

/// The health of a target at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHealth {
    /// What is probed.
    pub target: Target,
    /// What the probes say.
    pub status: Status,
    /// Whether it may get new flows: up, or unknown where the configuration says `initial: up`.
    pub eligible: bool,
    /// Since when the status holds, for display.
    pub since: SystemTime,
    /// Why the status was entered.
    pub reason: String,
    /// Until when it is held down for not having stayed up, for display.
    pub held_until: Option<SystemTime>,
    /// The newest result; `None` before the first.
    pub last: Option<LastResult>,
    /// How far it is on its way to another status.
    pub progress: Progress,
    /// What it says of itself.
    pub advice: Advice,
    /// Its last changes of status, the newest last.
    pub history: Arc<[Transition]>,
}

impl TargetHealth {
    fn of(target: Target, machine: &Machine) -> Self {
        Self {
            target,
            status: machine.status(),
            eligible: machine.eligible(),
            since: machine.since(),
            reason: machine.reason().to_owned(),
            held_until: machine.held_until(),
            last: machine.last().cloned(),
            progress: machine.progress(),
            advice: machine.advice(),
            history: Arc::clone(machine.history()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_shows_kind_address_and_port() {
        let mut target = Target::tcp("192.0.2.7".parse().unwrap(), 80);
        assert_eq!(target.to_string(), "tcp 192.0.2.7:80");
        target.address = "2001:db8::7".parse().unwrap();
        assert_eq!(target.to_string(), "tcp [2001:db8::7]:80");
    }
}
