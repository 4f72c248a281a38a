//! Who has which address. Every topology uses the same ones: its namespaces see nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 VIP that every backend holds from the start (RFC 5737).
pub const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The IPv6 VIP that every backend holds from the start (RFC 3849).
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x10);
/// What the client routes to the balancer: room for more VIPs.
pub const VIP_NETWORK4: &str = "192.0.2.0/24";
/// What the client routes to the balancer: room for more VIPs.
pub const VIP_NETWORK6: &str = "2001:db8:ff::/64";

/// The most backends a topology has.
pub const MAX_BACKENDS: usize = 200;

/// A link: 10.0.*n*.0/24 and 2001:db8:*n*+1::/64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subnet {
    /// Where the client is.
    Front = 0,
    /// Where the backends are, when the balancer has two interfaces.
    Back = 1,
}

/// A machine's number on its links, the last part of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host(pub(super) u8);

/// The client: `.1`.
pub(super) const CLIENT: Host = Host(1);
/// The balancer: `.2`.
pub(super) const BALANCER: Host = Host(2);

/// A machine's addresses on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// In a /24.
    pub v4: Ipv4Addr,
    /// In a /64.
    pub v6: Ipv6Addr,
}

impl Host {
    /// Backend `index`, counted from 0: `.11` and up.
    pub(super) fn backend(index: usize) -> Self {
        Self(u8::try_from(index + 11).expect("MAX_BACKENDS leaves room"))
    }

    /// Its addresses on a link.
    pub(super) fn on(self, subnet: Subnet) -> Addresses {
        let net = subnet as u8;
        Addresses {
            v4: Ipv4Addr::new(10, 0, net, self.0),
            v6: Ipv6Addr::new(0x2001, 0xdb8, u16::from(net) + 1, 0, 0, 0, 0, self.0.into()),
        }
    }
}

impl Addresses {
    /// The one of the same family as `other`, for example as a VIP.
    pub fn like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }

    /// Both.
    pub fn both(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}
