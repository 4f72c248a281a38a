//! `evenkeel explain`

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};
use hyper::Method;

use super::{
    Daemon,
    output::{self, span},
};
use crate::{
    api::model::{Beaten, ExplainRequest, Explanation},
    config::model::Protocol,
};

#[derive(Debug, Args)]
#[command(
    override_usage = "evenkeel explain --proto <tcp|udp> --src <ADDRESS:PORT>\n                        --dst <ADDRESS:PORT> [OPTIONS]"
)]
pub(super) struct Arguments {
    /// Transport protocol.
    #[arg(long)]
    proto: Transport,
    /// Client address and port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    src: SocketAddr,
    /// VIP and port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    dst: SocketAddr,
    /// TCP: ask for a packet within a connection, not for a SYN.
    #[arg(long)]
    established: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Transport {
    Tcp,
    Udp,
}

pub(super) fn main(arguments: &Arguments, daemon: &Daemon<'_>) -> anyhow::Result<()> {
    let request = ExplainRequest {
        protocol: match arguments.proto {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        },
        source: arguments.src,
        destination: arguments.dst,
        syn: !arguments.established,
    };
    let answer: Explanation = daemon.ask(Method::POST, "/v1/explain", Some(&request))?;
    if daemon.json {
        return output::json(&answer);
    }
    print_answer(&answer);
    Ok(())
}

fn print_answer(answer: &Explanation) {
    let line = |name: &str, value: &str| output::print(&format!("{name:<9} {value}"));
    line("service", answer.service.as_deref().unwrap_or("none"));
    for Beaten { service, reason } in &answer.beats {
        line("beats", &format!("{service}: {reason}"));
    }
    if answer.service.is_some() {
        match &answer.flow {
            Some(flow) => {
                let idle = span(Duration::from_millis(flow.idle_ms));
                line("flow", &format!("known: {}, backend {}, idle {idle}", flow.state, flow.backend));
            }
            None => line("flow", "not known"),
        }
        match (answer.slot, &answer.slot_backend) {
            (Some(_), _) if answer.chosen_anew => line("slot", "any: the scheduler chooses for each flow anew"),
            (Some(slot), Some(backend)) => line("slot", &format!("{slot}: backend {backend}")),
            _ => line("slot", "none: no backend takes flows"),
        }
    }
    match (&answer.reason, &answer.help) {
        (Some(reason), Some(help)) => line("verdict", &format!("{} ({reason}): {help}", answer.verdict)),
        _ => line("verdict", &answer.verdict),
    }
    if answer.forgotten {
        line("flood", "too many new flows: this one is not remembered, its packets go by their hash");
    }
    if let Some(backend) = &answer.backend {
        line("backend", backend);
    }
    if let Some(hop) = &answer.next_hop {
        let interface = hop.interface.as_deref().unwrap_or("its last known interface");
        let vlan = hop.vlan.map(|vlan| format!(", in VLAN {vlan}")).unwrap_or_default();
        line("next hop", &format!("{} on {interface}{vlan}", hop.mac.as_deref().unwrap_or("unknown")));
    }
}
