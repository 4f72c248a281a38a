//! What people use today, as its documentation sets it up, and the kernel's plain forwarding.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use evenkeel_tests::namespace::Namespace;

use super::{
    stage::{BACKENDS, PORT, Stage, VIP},
    subject::Balancer,
};

/// The kernel forwards by rules that need nobody to mind them.
struct Rules;

impl Balancer for Rules {
    fn new_flows(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// IPVS in a namespace.
struct Ipvs<'a>(&'a Namespace);

impl Balancer for Ipvs<'_> {
    fn new_flows(&self) -> Result<Option<u64>> {
        let stats = self.0.enter(|| fs::read_to_string("/proc/net/ip_vs_stats"))??;
        connections(&stats).map(Some)
    }
}

/// Two lines of headings, then connections, packets and bytes, hexadecimal.
fn connections(stats: &str) -> Result<u64> {
    let first = stats.lines().nth(2).and_then(|line| line.split_whitespace().next());
    let number = first.and_then(|number| u64::from_str_radix(number, 16).ok());
    number.with_context(|| format!("ip_vs_stats is not as expected: {stats}"))
}

/// Client and server are one cable apart.
pub(super) fn nothing(_: &Stage) -> Result<Box<dyn Balancer + '_>> {
    Ok(Box::new(Rules))
}

/// All packets go to one server.
pub(super) fn routing(stage: &Stage) -> Result<Box<dyn Balancer + '_>> {
    stage.balancer.ip(&[format!("route add {VIP}/32 via {}", BACKENDS[0])])?;
    Ok(Box::new(Rules))
}

/// Direct routing: a new MAC address.
pub(super) fn ipvs_dr(stage: &Stage) -> Result<Box<dyn Balancer + '_>> {
    ipvs(stage, "--gatewaying")
}

/// Tunnel: a second IP header.
pub(super) fn ipvs_tunnel(stage: &Stage) -> Result<Box<dyn Balancer + '_>> {
    ipvs(stage, "--ipip")
}

/// Address translation, without the kernel's connection tracking.
pub(super) fn ipvs_nat(stage: &Stage) -> Result<Box<dyn Balancer + '_>> {
    ipvs(stage, "--masquerading")
}

fn ipvs<'a>(stage: &'a Stage, mode: &str) -> Result<Box<dyn Balancer + 'a>> {
    let balancer = &stage.balancer;
    balancer.ip(&[format!("addr add {VIP}/32 dev lo")])?;
    let service = format!("{VIP}:{PORT}");
    balancer.exec("ipvsadm", ["--add-service", "--udp-service", &service, "--scheduler", "rr"])?;
    for backend in BACKENDS {
        let backend = format!("{backend}:{PORT}");
        balancer.exec("ipvsadm", ["--add-server", "--udp-service", &service, "--real-server", &backend, mode])?;
    }
    Ok(Box::new(Ipvs(balancer)))
}

/// Address translation by a hash of the source, with the kernel's connection tracking.
pub(super) fn nftables_dnat(stage: &Stage) -> Result<Box<dyn Balancer + '_>> {
    let backends = BACKENDS.iter().enumerate().map(|(i, backend)| format!("{i} : {backend}"));
    let backends = backends.collect::<Vec<_>>().join(", ");
    let rules = format!(
        "table ip balance {{
            chain prerouting {{
                type nat hook prerouting priority dstnat
                ip daddr {VIP} udp dport {PORT} dnat to jhash ip saddr . udp sport mod {} map {{ {backends} }}
            }}
        }}",
        BACKENDS.len()
    );
    let mut command = Command::new("nft");
    command.arg(&rules);
    let output = stage.balancer.run(command)?;
    let reason = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`nft {rules}`: {}", reason.trim());
    Ok(Box::new(Rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_the_first_number() {
        let stats = "   Total Incoming Outgoing         Incoming         Outgoing\n   \
                     Conns  Packets  Packets            Bytes            Bytes\n     \
                     400      C00        0            25800                0\n";
        assert_eq!(connections(stats).expect("it is a number"), 1024);
        assert!(connections("Total\nConns\n").is_err());
    }
}
