//! Namespaces joined by veth pairs.

use anyhow::{Context, Result};
use evenkeel_tests::{names::unique, namespace::Namespace};
use nix::net::if_::if_nametoindex;

/// `XDP_FLAGS_DRV_MODE`: in the driver or not at all.
pub(super) const IN_DRIVER: u32 = 4;

/// The MAC address that packets of [`crate::subjects::packets::Shape`] go to.
const BALANCER_MAC: &str = "02:00:00:00:00:ee";
/// The MAC address behind the balancer.
pub(super) const RECEIVER_MAC: &str = "02:00:00:00:00:0a";

/// One end of a pair.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) device: &'a str,
    pub(super) mac: &'a str,
}

/// A namespace that says nothing by itself.
pub(super) fn namespace(role: &str) -> Result<Namespace> {
    let namespace = Namespace::create(&format!("{}-{role}", unique()))?;
    namespace.sysctl(&[("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1")])?;
    Ok(namespace)
}

/// The end from which packets are sent: `out`.
pub(super) fn sender(namespace: &Namespace) -> End<'_> {
    End { namespace, device: "out", mac: "02:00:00:00:00:01" }
}

/// The end at which packets arrive: `in`.
pub(super) fn balancer(namespace: &Namespace) -> End<'_> {
    End { namespace, device: "in", mac: BALANCER_MAC }
}

/// The end at which packets arrive that left the balancer by a second interface: `in`.
pub(super) fn receiver(namespace: &Namespace) -> End<'_> {
    End { namespace, device: "in", mac: RECEIVER_MAC }
}

/// Joins two ends. Both poll (NAPI, by GRO), without which frames that XDP sends are lost, and have no offloads that
/// hardware would not have for forwarded packets.
///
/// GRO is on before either is up: what an end can take is noted at the other one when that is brought up.
pub(super) fn join(a: End<'_>, b: End<'_>) -> Result<()> {
    a.namespace.ip(&[format!(
        "link add {} address {} type veth peer name {} address {} netns {}",
        a.device,
        a.mac,
        b.device,
        b.mac,
        b.namespace.name()
    )])?;
    for end in [a, b] {
        end.namespace.exec("ethtool", ["-K", end.device, "gro", "on", "tx", "off"])?;
    }
    for end in [a, b] {
        end.namespace.ip(&[format!("link set {} up", end.device)])?;
    }
    Ok(())
}

/// The index of an end's device in its namespace.
pub(super) fn index(end: End<'_>) -> Result<u32> {
    let device = end.device;
    end.namespace.enter(|| if_nametoindex(device))?.with_context(|| format!("there is no {device}"))
}
