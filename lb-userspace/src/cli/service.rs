//! `evenkeel service`

use clap::Subcommand;

use super::{
    Daemon,
    output::{self, Rows, Tone, number, plain},
    status,
};
use crate::api::model::{ServiceStatus, Status};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// All services, a line each.
    List,
    /// One service with its backends.
    Show {
        /// Its name.
        name: String,
    },
}

pub(super) fn main(command: &Command, daemon: &Daemon<'_>) -> anyhow::Result<()> {
    let status: Status = daemon.get("/v1/status")?;
    match command {
        Command::List if daemon.json => output::json(&status.services),
        Command::List => {
            list(&status.services);
            Ok(())
        }
        Command::Show { name } => {
            let service = find(&status, name)?;
            if daemon.json {
                return output::json(service);
            }
            status::print_service(service);
            Ok(())
        }
    }
}

/// A service by name.
pub(super) fn find<'a>(status: &'a Status, name: &str) -> anyhow::Result<&'a ServiceStatus> {
    status.services.iter().find(|service| service.name == name).ok_or_else(|| {
        let names: Vec<&str> = status.services.iter().map(|service| service.name.as_str()).collect();
        anyhow::anyhow!("no service {name:?}; there is {}", names.join(", "))
    })
}

fn list(services: &[ServiceStatus]) {
    let mut rows = Rows::new(&["SERVICE", "VIP", "PORT", "PROTO", "BACKENDS", ">FLOWS", ">PACKETS"]);
    for service in services {
        let all = service.backends.iter().filter(|backend| !backend.leaving).count();
        let taking = service.backends.iter().filter(|backend| backend.takes_flows).count();
        let tone = match taking {
            0 => Tone::Bad,
            _ if taking < all => Tone::Notable,
            _ => Tone::Good,
        };
        rows.row([
            plain(&service.name),
            plain(&service.vip),
            plain(&service.port),
            plain(&service.protocol),
            (format!("{taking} of {all}"), tone),
            plain(number(service.active_flows)),
            plain(number(service.packets)),
        ]);
    }
    rows.print();
}
