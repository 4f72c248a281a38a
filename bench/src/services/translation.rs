//! nftables: the destination's address is translated, and answers come back through the balancer, which the backends
//! therefore have for a router.

use std::fmt::Write as _;

use anyhow::Result;
use evenkeel_tests::topology::{Topology, VIP4};

use super::stage::{DATAGRAMS, TCP_PORTS};
use crate::subjects::nftables::load;

/// Sets balancer and backends up.
pub(super) fn set_up(topology: &Topology) -> Result<()> {
    let balancer = topology.balancer();
    balancer.sysctl(&[
        ("net/ipv4/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/eth0/send_redirects", "0"),
    ])?;
    let backends: Vec<String> = topology.backends().iter().map(|backend| backend.addresses().v4.to_string()).collect();
    load(balancer, &rules(&backends))?;
    let (client, router) = (topology.client_addresses().v4, topology.balancer_addresses().v4);
    for backend in topology.backends() {
        backend.namespace().ip(&[format!("route replace {client}/32 via {router} dev eth0")])?;
    }
    Ok(())
}

fn rules(backends: &[String]) -> String {
    let mut numbered = String::new();
    for (number, backend) in backends.iter().enumerate() {
        let _ = write!(numbered, "{}{number} : {backend}", if number == 0 { "" } else { ", " });
    }
    let tcp = TCP_PORTS.map(|port| port.to_string()).join(", ");
    let to = format!("dnat to numgen inc mod {} map {{ {numbered} }}", backends.len());
    format!(
        "table ip balance {{\n chain prerouting {{\n  type nat hook prerouting priority -100;\n  \
         ip daddr {VIP4} tcp dport {{ {tcp} }} {to}\n  ip daddr {VIP4} udp dport {DATAGRAMS} {to}\n }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_take_turns() {
        let rules = rules(&["10.0.0.11".to_owned(), "10.0.0.12".to_owned()]);
        assert_eq!(rules.matches("numgen inc mod 2 map { 0 : 10.0.0.11, 1 : 10.0.0.12 }").count(), 2, "{rules}");
        assert!(rules.contains("tcp dport { 80, 7001, 7002 }"), "{rules}");
    }
}
