//! `evenkeel server`

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::ensure;
use clap::Subcommand;
use hyper::Method;

use super::{
    Daemon,
    backend::{self, DrainOptions},
    output::{self, Rows, number, plain},
    status,
};
use crate::{
    api::model::{BackendChange, BackendStatus, ServiceStatus, Status},
    config::model::AdminState,
    controller::change::state_name,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The addresses of all backends.
    List,
    /// The backends of an address, in all services.
    Show {
        /// The server's address.
        address: IpAddr,
    },
    /// Give no new flows to a server; present ones go on.
    ///
    /// Each of its backends drains as `evenkeel backend drain` has it.
    ///
    /// For example: evenkeel server drain 10.0.0.11 --timeout 2m --then reset
    Drain {
        /// The server's address.
        address: IpAddr,
        #[command(flatten)]
        how: DrainOptions,
    },
    /// Cancel the drains of a server's backends; those that are disabled stay so.
    ///
    /// For example: evenkeel server undrain 10.0.0.11
    Undrain {
        /// The server's address.
        address: IpAddr,
    },
    /// Give flows to a server again, in all services.
    Enable {
        /// The server's address.
        address: IpAddr,
    },
    /// Take all flows from a server at once, in all services.
    Disable {
        /// The server's address.
        address: IpAddr,
    },
}

impl Command {
    pub(super) fn is_change(&self) -> bool {
        !matches!(self, Self::List | Self::Show { .. })
    }
}

pub(super) fn main(command: &Command, daemon: &Daemon<'_>) -> anyhow::Result<()> {
    match command {
        Command::List => list(daemon),
        Command::Show { address } => show(daemon, *address),
        Command::Drain { address, how } => change(daemon, *address, &how.change()),
        Command::Undrain { address } => change(daemon, *address, &backend::undrain()),
        Command::Enable { address } => change(daemon, *address, &backend::to_state(AdminState::Enabled)),
        Command::Disable { address } => change(daemon, *address, &backend::to_state(AdminState::Disabled)),
    }
}

fn change(daemon: &Daemon<'_>, address: IpAddr, change: &BackendChange) -> anyhow::Result<()> {
    backend::report(daemon, &daemon.ask(Method::PATCH, &format!("/v1/servers/{address}"), Some(change))?)
}

/// Each backend with its service.
fn backends(status: &Status) -> impl Iterator<Item = (&ServiceStatus, &BackendStatus)> {
    status.services.iter().flat_map(|service| service.backends.iter().map(move |backend| (service, backend)))
}

fn list(daemon: &Daemon<'_>) -> anyhow::Result<()> {
    let status: Status = daemon.get("/v1/status")?;
    let mut servers: BTreeMap<IpAddr, Vec<(&ServiceStatus, &BackendStatus)>> = BTreeMap::new();
    for (service, backend) in backends(&status) {
        servers.entry(backend.address).or_default().push((service, backend));
    }
    if daemon.json {
        let all: Vec<_> = servers
            .iter()
            .map(|(address, found)| {
                let names: Vec<_> = found.iter().map(|(service, _)| &service.name).collect();
                let flows: u64 = found.iter().map(|(_, backend)| backend.active_flows).sum();
                serde_json::json!({ "address": address, "services": names, "active_flows": flows })
            })
            .collect();
        return output::json(&all);
    }
    let mut rows = Rows::new(&["ADDRESS", "SERVICES", "STATE", "HEALTH", ">FLOWS"]);
    for (address, found) in &servers {
        let each = |text: &dyn Fn(&BackendStatus) -> String| {
            let all: BTreeSet<String> = found.iter().map(|(_, backend)| text(backend)).collect();
            all.into_iter().collect::<Vec<_>>().join(", ")
        };
        let names: BTreeSet<&str> = found.iter().map(|(service, _)| service.name.as_str()).collect();
        rows.row([
            plain(address),
            plain(names.into_iter().collect::<Vec<_>>().join(", ")),
            plain(each(&|backend| match backend.leaving {
                true => "leaving".to_owned(),
                false => state_name(backend.admin_state).to_owned(),
            })),
            plain(each(&|backend| backend.health.clone())),
            plain(number(found.iter().map(|(_, backend)| backend.active_flows).sum())),
        ]);
    }
    rows.print();
    Ok(())
}

fn show(daemon: &Daemon<'_>, address: IpAddr) -> anyhow::Result<()> {
    let status: Status = daemon.get("/v1/status")?;
    let found: Vec<_> = backends(&status).filter(|(_, backend)| backend.address == address).collect();
    ensure!(!found.is_empty(), "no service has a backend with address {address}; `evenkeel server list` shows them");
    if daemon.json {
        let all: Vec<_> = found
            .iter()
            .map(|(service, backend)| serde_json::json!({ "service": service.name, "backend": backend }))
            .collect();
        return output::json(&all);
    }
    for (service, backend) in found {
        let state = if backend.leaving { "leaving" } else { state_name(backend.admin_state) };
        output::print(&format!(
            "{} of {}, port {}: {state}, {}, {} flows",
            backend.name,
            service.name,
            backend.port,
            backend.health,
            number(backend.active_flows)
        ));
        for remark in status::remarks(service, backend) {
            output::print(&format!("  {remark}"));
        }
    }
    Ok(())
}
