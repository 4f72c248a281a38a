//! The kernel settings of the machines. A new namespace inherits IPv4 settings of the host, so all that matter are set.

use anyhow::Result;

use crate::namespace::Namespace;

/// No duplicate address detection and no router solicitation: addresses work at once. No source
/// validation and no forwarding: a DSR backend gets on one link what it answers on another,
/// and nothing reaches a backend by the balancer's own stack.
const MACHINE: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/autoconf", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv4/conf/all/forwarding", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// Ports for tens of thousands of connections to one VIP.
const CLIENT: &[(&str, &str)] = &[("net/ipv4/ip_local_port_range", "1024 65000")];

/// The VIP is on `lo`: ARP answers only for addresses of the interface that was asked, and asks with one of its own.
/// Neighbour discovery needs no setting: it answers for the receiving interface's addresses only (RFC 4861, section 7.2.3).
const BACKEND: &[(&str, &str)] = &[("net/ipv4/conf/all/arp_ignore", "1"), ("net/ipv4/conf/all/arp_announce", "2")];

/// The switch has no addresses and says nothing by itself.
const SWITCH: &[(&str, &str)] = &[("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1")];

/// Bridged frames do not pass the packet filter. Only there when the kernel has br_netfilter.
const BRIDGE_FILTER: &[&str] = &["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

pub(super) fn machine(namespace: &Namespace) -> Result<()> {
    namespace.sysctl(MACHINE)
}

pub(super) fn client(namespace: &Namespace) -> Result<()> {
    namespace.sysctl(CLIENT)
}

pub(super) fn backend(namespace: &Namespace) -> Result<()> {
    namespace.sysctl(BACKEND)
}

pub(super) fn switch(namespace: &Namespace) -> Result<()> {
    namespace.sysctl(SWITCH)?;
    let present = namespace.enter(|| std::path::Path::new("/proc/sys/net/bridge").exists())?;
    if present {
        for key in BRIDGE_FILTER {
            namespace.sysctl(&[(key, "0")])?;
        }
    }
    Ok(())
}
