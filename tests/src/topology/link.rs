//! Bridges and veth pairs.

use anyhow::Result;

use super::address::{Host, Subnet};
use crate::namespace::Namespace;

/// One end of a machine's cable: the interface in the machine and the bridge it leads to.
pub(super) struct Leg<'a> {
    /// The interface's name in the machine.
    pub(super) device: &'a str,
    /// The link, which also names the bridge.
    pub(super) subnet: Subnet,
    /// The machine's number on it.
    pub(super) host: Host,
}

/// The bridge of a link.
fn bridge(subnet: Subnet) -> &'static str {
    match subnet {
        Subnet::Front => "br-front",
        Subnet::Back => "br-back",
    }
}

/// The bridge's port towards a machine, in the switch's namespace.
pub(super) fn port(subnet: Subnet, host: Host) -> String {
    let side = match subnet {
        Subnet::Front => "front",
        Subnet::Back => "back",
    };
    format!("{side}{}", host.0)
}

/// Makes a bridge without multicast snooping, which would want a querier before it passes neighbour solicitations.
pub(super) fn add_bridge(switch: &Namespace, subnet: Subnet) -> Result<()> {
    let name = bridge(subnet);
    switch.ip(&[format!("link add {name} type bridge mcast_snooping 0 stp_state 0"), format!("link set {name} up")])
}

/// Joins a machine to a bridge and gives it its addresses.
pub(super) fn attach(switch: &Namespace, machine: &Namespace, leg: &Leg<'_>) -> Result<()> {
    let (port, device) = (port(leg.subnet, leg.host), leg.device);
    let address = leg.host.on(leg.subnet);
    switch.ip(&[
        format!("link add {port} type veth peer name {device} netns {}", machine.name()),
        format!("link set {port} master {} up", bridge(leg.subnet)),
    ])?;
    like_hardware(switch, &port)?;
    like_hardware(machine, device)?;
    machine.ip(&[
        format!("addr add {}/24 dev {device}", address.v4),
        format!("addr add {}/64 dev {device} nodad", address.v6),
        format!("link set {device} up"),
    ])
}

/// Makes a veth end behave as a network card for XDP.
///
/// - GRO on switches on NAPI, without which frames that XDP sends from the other end are lost.
/// - Transmit checksums off: veth would hand frames over with L4 checksums unfilled, and as 64 KiB segments.
fn like_hardware(machine: &Namespace, device: &str) -> Result<()> {
    machine.exec("ethtool", ["-K", device, "gro", "on", "tx", "off"]).map(drop)
}
