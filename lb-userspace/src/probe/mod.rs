//! Probes: one kind a file, one row of `check::Network` each.
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
    time::SystemTime,
};

use crate::{
    config::model::ProbeKind,
    health::{LastResult, Machine, Progress, Status},
};

mod check;
#[cfg(test)]
mod loopback_tests;
mod prober;
mod schedule;
mod tcp;
mod worker;
#[cfg(test)]
mod worker_tests;

pub use prober::{HealthView, Prober};

/// What is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The backend's own address.
    pub address: IpAddr,
    /// The port that is tried.
    pub port: u16,
    /// What is tried.
    pub kind: ProbeKind,
}

impl Target {
    fn socket_address(self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ProbeKind::Tcp => "tcp",
        };
        write!(f, "{kind} {}", self.socket_address())
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
    /// The newest result; `None` before the first.
    pub last: Option<LastResult>,
    /// How far it is on its way to another status.
    pub progress: Progress,
}

impl TargetHealth {
    fn of(target: Target, machine: &Machine) -> Self {
        Self {
            target,
            status: machine.status(),
            eligible: machine.eligible(),
            since: machine.since(),
            reason: machine.reason().to_owned(),
            last: machine.last().cloned(),
            progress: machine.progress(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_shows_kind_address_and_port() {
        let mut target = Target { address: "192.0.2.7".parse().unwrap(), port: 80, kind: ProbeKind::Tcp };
        assert_eq!(target.to_string(), "tcp 192.0.2.7:80");
        target.address = "2001:db8::7".parse().unwrap();
        assert_eq!(target.to_string(), "tcp [2001:db8::7]:80");
    }
}
