//! What modes `nat` and `full-nat` need of the network: source addresses, and replies that pass the balancer.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::topology::Topology;

/// Addresses of the balancer's that are for nothing else, on the link of the backends: two of each family.
#[derive(Debug)]
pub struct Pool([IpAddr; 4]);

impl Pool {
    /// Gives them to the balancer.
    ///
    /// # Errors
    /// When it has them already.
    pub fn add(topology: &Topology) -> Result<Self> {
        let device = topology.balancer_interfaces().last().context("an interface")?;
        let (four, six) = link(topology);
        let texts = [format!("{four}.250"), format!("{four}.251"), format!("{six}:250"), format!("{six}:251")];
        let mut addresses = Vec::new();
        for text in &texts {
            let address: IpAddr = text.parse()?;
            let line = match address {
                IpAddr::V4(_) => format!("addr add {address}/24 dev {device}"),
                IpAddr::V6(_) => format!("addr add {address}/64 dev {device} nodad"),
            };
            topology.balancer().ip(&[line])?;
            addresses.push(address);
        }
        Ok(Self(addresses.try_into().ok().context("four")?))
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// A configuration with them.
    #[must_use]
    pub fn put_into(&self, configuration: &str) -> String {
        put(&self.0, configuration)
    }

    /// A configuration with one of each family.
    #[must_use]
    pub fn put_half_into(&self, configuration: &str) -> String {
        put(&[self.0[0], self.0[2]], configuration)
    }
}

fn put(addresses: &[IpAddr], configuration: &str) -> String {
    let addresses = addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    configuration.replace("  limits:", &format!("  nat: {{entries: 65536, pool: [{addresses}]}}\n  limits:"))
}

/// Lets backends send what is for these networks to the balancer, as `nat` needs it.
///
/// # Errors
/// When `ip` fails.
pub fn route_through_balancer(topology: &Topology, networks: &[&str]) -> Result<()> {
    let device = topology.balancer_interfaces().last().context("an interface")?;
    let (four, six) = link(topology);
    for backend in topology.backends() {
        let line = |network: &&str| {
            let via = if network.contains(':') { format!("{six}:2") } else { format!("{four}.2") };
            format!("route replace {network} via {via} dev {device}")
        };
        backend.namespace().ip(&networks.iter().map(line).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// The same for the client alone.
///
/// # Errors
/// When `ip` fails.
pub fn route_client_through_balancer(topology: &Topology) -> Result<()> {
    let client = topology.client_addresses();
    route_through_balancer(topology, &[&format!("{}/32", client.v4), &format!("{}/128", client.v6)])
}

/// The first parts of the addresses on the backends' link.
fn link(topology: &Topology) -> (&'static str, &'static str) {
    if topology.balancer_interfaces().len() == 1 { ("10.0.0", "2001:db8:1:") } else { ("10.0.1", "2001:db8:2:") }
}
