//! `evenkeel flows`

use std::time::Duration;

use clap::Args;

use super::{
    Daemon,
    output::{self, Rows, number, plain, span},
};
use crate::api::{client::segment, model::Flows};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only flows of this service.
    #[arg(long)]
    service: Option<String>,
    /// Only flows to this backend: name, address, or address and port.
    #[arg(long)]
    backend: Option<String>,
    /// Show at most so many.
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

pub(super) fn main(arguments: &Arguments, daemon: &Daemon<'_>) -> anyhow::Result<()> {
    let mut path = format!("/v1/flows?limit={}", arguments.limit);
    for (key, value) in [("service", &arguments.service), ("backend", &arguments.backend)] {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", segment(value)));
        }
    }
    let flows: Flows = daemon.get(&path)?;
    if daemon.json {
        return output::json(&flows);
    }
    let mut rows = Rows::new(&["SERVICE", "BACKEND", "STATE", ">IDLE"]);
    for flow in &flows.flows {
        let idle = span(Duration::from_millis(flow.idle_ms));
        rows.row([plain(&flow.service), plain(&flow.backend), plain(&flow.state), plain(idle)]);
    }
    rows.print();
    output::print(&format!("{} of {} flows", flows.flows.len(), number(flows.total)));
    Ok(())
}
