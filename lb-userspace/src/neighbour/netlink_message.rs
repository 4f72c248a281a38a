//! Netlink messages into what the table knows.

use std::{net::IpAddr, time::Duration};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{
        InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, VlanProtocol,
    },
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
};
use nix::errno::Errno;

use super::table::{Family, Hop, Link, LinkKind, Report, Route, Vlan};

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Link(Link),
    LinkGone(u32),
    Neighbour(Hop, Report),
    /// A route, a rule or an address: every route look-up can have another result.
    Routing,
    /// Events were lost.
    Overrun,
}

/// What a multicast message means; `None` if nothing to us.
pub(super) fn event(message: RouteNetlinkMessage) -> Option<Event> {
    match message {
        RouteNetlinkMessage::NewLink(message) => link(&message).map(Event::Link),
        // A port that leaves a bridge is announced as a deleted link of family AF_BRIDGE.
        RouteNetlinkMessage::DelLink(message) => {
            (message.header.interface_family == AddressFamily::Unspec).then_some(Event::LinkGone(message.header.index))
        }
        RouteNetlinkMessage::NewNeighbour(message) => {
            neighbour(&message).map(|(hop, report)| Event::Neighbour(hop, report))
        }
        RouteNetlinkMessage::DelNeighbour(message) => {
            neighbour(&message).map(|(hop, _)| Event::Neighbour(hop, Report::Absent))
        }
        RouteNetlinkMessage::NewRoute(_)
        | RouteNetlinkMessage::DelRoute(_)
        | RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::NewRule(_)
        | RouteNetlinkMessage::DelRule(_) => Some(Event::Routing),
        _ => None,
    }
}

/// The interface in a message; `None` for what bridges say about their ports.
pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let header = &message.header;
    if header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let (mut name, mut mac, mut mtu, mut lower, mut info) = (None, None, 0, 0, &[][..]);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value.clone()),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            LinkAttribute::Mtu(value) => mtu = *value,
            LinkAttribute::Link(index) => lower = *index,
            LinkAttribute::LinkInfo(value) => info = value,
            _ => {}
        }
    }
    let kind = match (header.link_layer_type, mac) {
        _ if header.flags.contains(LinkFlags::Loopback) => LinkKind::Loopback,
        (LinkLayerType::Ether, Some(mac)) => LinkKind::Ethernet { mac },
        _ => LinkKind::Other,
    };
    let (up, carrier) = (header.flags.contains(LinkFlags::Up), header.flags.contains(LinkFlags::LowerUp));
    Some(Link { index: header.index, name: name?, kind, mtu, up, carrier, vlan: vlan(info, lower) })
}

/// What a VLAN device says of itself.
fn vlan(info: &[LinkInfo], on: u32) -> Option<Vlan> {
    let data = info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    });
    let data = data.filter(|_| info.contains(&LinkInfo::Kind(InfoKind::Vlan)))?;
    let (mut id, mut is_customer) = (None, true);
    for item in data {
        match item {
            InfoVlan::Id(value) => id = Some(*value),
            InfoVlan::Protocol(protocol) => is_customer = *protocol == VlanProtocol::Ieee8021Q,
            _ => {}
        }
    }
    Some(Vlan { id: id?, is_customer, on })
}

/// The neighbour entry in a message; `None` for proxies, for bridges' forwarding entries and for other families.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(Hop, Report)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    let mut kept = message.header.flags.contains(NeighbourFlags::ExtLearned);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::ExtFlags(flags) => kept |= flags.contains(NeighbourExtFlags::Managed),
            NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => address = Some(IpAddr::V4(*value)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(value)) => address = Some(IpAddr::V6(*value)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    let hop = Hop { ifindex: message.header.ifindex, address: address? };
    Some((hop, report(message.header.state, kept, mac)))
}

/// `kept`: the kernel (`managed`) or another program (`extern_learn`) looks after the entry, and a request of ours would end that.
fn report(state: NeighbourState, kept: bool, mac: Option<[u8; 6]>) -> Report {
    use NeighbourState as State;
    // Entries of interfaces without ARP have a MAC address of zeros.
    match (state, mac.filter(|mac| *mac != [0; 6])) {
        (State::Reachable | State::Stale | State::Delay | State::Probe, Some(mac)) if kept => Report::Usable(mac),
        (State::Permanent | State::Noarp, Some(mac)) => Report::Usable(mac),
        (State::Probe, Some(mac)) => Report::Asked(mac),
        (State::Reachable, Some(mac)) => Report::Reachable(mac),
        (State::Stale | State::Delay, Some(mac)) => Report::Stale(mac),
        (State::Failed, _) => Report::Failed,
        _ => Report::Pending,
    }
}

/// For how long an interface's neighbours are taken for reachable, at the mean; `None` for the figures of a whole table.
pub(super) fn reachable_time(message: &NeighbourTableMessage) -> Option<((Family, u32), Duration)> {
    let family = match message.header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let (mut ifindex, mut time) = (None, None);
    let parameters = message.attributes.iter().filter_map(|attribute| match attribute {
        NeighbourTableAttribute::Parms(parameters) => Some(parameters),
        _ => None,
    });
    for parameter in parameters.flatten() {
        match parameter {
            NeighbourTableParameter::Ifindex(value) => ifindex = Some(*value),
            NeighbourTableParameter::BaseReachableTime(value) => time = Some(Duration::from_millis(*value)),
            _ => {}
        }
    }
    Some(((family, ifindex?), time?))
}

/// The answer to a route look-up.
pub(super) fn route(target: IpAddr, message: &RouteMessage) -> Route {
    let unusable = |reason: &str| Route::Unusable(format!("{target} {reason}"));
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return unusable("is an address of this node"),
        RouteType::Broadcast => return unusable("is a broadcast address"),
        RouteType::Multicast => return unusable("is a multicast address"),
        RouteType::Anycast => return unusable("is an anycast address of this node"),
        kind => return unusable(&format!("has a route of type {kind:?}").to_lowercase()),
    }
    let (mut ifindex, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            _ => {}
        }
    }
    ifindex.map_or_else(|| unusable("has a route without an interface"), |ifindex| Route::Via { ifindex, gateway })
}

/// The refusal of a route look-up; `code` is the kernel's, negative.
pub(super) fn refusal(target: IpAddr, code: i32) -> Route {
    Route::Unusable(match Errno::from_raw(code.saturating_neg()) {
        Errno::ENETUNREACH => format!("no route to {target}"),
        Errno::EHOSTUNREACH => format!("the route to {target} says unreachable"),
        Errno::EACCES => format!("the route to {target} says prohibit"),
        Errno::EINVAL => format!("the route to {target} says blackhole"),
        error => format!("no route to {target}: {}", error.desc()),
    })
}

#[cfg(test)]
#[path = "netlink_message_tests.rs"]
mod tests;
