//! Next hops: by which interface and to which MAC address a backend is reached, through netlink.
//!
//! ```text
//!   set_targets ─▶ worker ◀─ events (neighbour, route, rule, link, address) ─ netlink
//!                  │  │  └─── dumps, route look-ups, solicitations ──────────▶ netlink
//!                  │  └─▶ solicit: whom the kernel should ask, and when   (pure)
//!                  └────▶ table: links, neighbours, routes → resolutions  (pure)
//!                            └─▶ subscribe
//! ```

use std::{net::IpAddr, sync::Arc};

use imbl::OrdMap;

mod netlink;
mod netlink_message;
#[cfg(test)]
mod netns;
mod resolver;
#[cfg(test)]
mod resolver_tests;
mod solicit;
mod table;
mod worker;

pub use netlink::Error;
pub use resolver::Resolver;

/// How frames get to a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Index of the interface that frames leave by; where a VLAN device leads to the target, of the one below it.
    pub ifindex: u32,
    /// Name of the interface that the route names.
    pub ifname: String,
    /// The VLAN (IEEE 802.1Q) in which frames leave.
    pub vlan: Option<u16>,
    /// Its MAC address: the source of the frames.
    pub source_mac: [u8; 6],
    /// MAC address of the gateway or, on the link, of the target: the destination of the frames.
    pub mac: [u8; 6],
    /// Its MTU, bytes of IP packet; a lower MTU of the route or path is not considered.
    pub mtu: u32,
    /// The router on the way; `None` if the target is on the link. IPv4 can go through an IPv6 router (RFC 8950).
    pub gateway: Option<IpAddr>,
}

/// Whether a target can be reached on the link layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// It can, so.
    Resolved(NextHop),
    /// It cannot: the reason, in the words of an operator.
    Unresolved(String),
}

/// The resolutions of all targets at one moment. It shares what did not change with those before it, so that the difference
/// of the two is found without reading them.
pub type NextHops = OrdMap<IpAddr, Arc<Resolution>>;
