//! The kernel's own ways to send packets on: routing and nftables.

use anyhow::Result;
use evenkeel_tests::namespace::Namespace;

use super::line::RECEIVER_MAC;
use crate::subjects::{
    nftables::load,
    packets::{PORT, VIP4},
};

/// What the balancer's namespace is set up as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rival {
    /// Sends on by the routing table, addresses as they are.
    Routing,
    /// Sends on at the ingress of the device, by nftables' `fwd`.
    Forward,
    /// Spreads new flows over four backends, by nftables' `dnat`, with connection tracking.
    Translate,
}

/// Sets the namespace up, at whose device `in` packets arrive, to send them on by `back`, which may be the same.
pub(super) fn set_up(balancer: &Namespace, rival: Rival, back: &str) -> Result<()> {
    balancer.sysctl(&[
        ("net/ipv4/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/in/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/in/send_redirects", "0"),
    ])?;
    balancer.ip(&["addr add 10.200.0.1/24 dev in".into(), format!("addr add 10.201.0.1/24 dev {back}")])?;
    let mut lines = vec![format!("route add {VIP4}/32 via 10.201.0.11 dev {back}")];
    lines.extend(
        (11..=14).map(|host| format!("neigh add 10.201.0.{host} lladdr {RECEIVER_MAC} nud permanent dev {back}")),
    );
    balancer.ip(&lines)?;
    match rival {
        Rival::Routing => Ok(()),
        Rival::Forward => load(
            balancer,
            &format!(
                "table netdev balance {{\n chain ingress {{\n  type filter hook ingress device \"in\" priority 0;\n  \
                 ether type ip fwd to \"{back}\"\n }}\n}}\n"
            ),
        ),
        Rival::Translate => load(
            balancer,
            &format!(
                "table ip balance {{\n chain prerouting {{\n  type nat hook prerouting priority -100;\n  \
                 ip daddr {VIP4} udp dport {PORT} dnat to numgen inc mod 4 map {{ 0 : 10.201.0.11, 1 : 10.201.0.12, \
                 2 : 10.201.0.13, 3 : 10.201.0.14 }}\n }}\n}}\n"
            ),
        ),
    }
}
