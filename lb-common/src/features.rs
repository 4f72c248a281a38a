//! What a configuration uses. The program is loaded with it as a constant, so the verifier removes the rest: a node pays
//! for no feature that it does not use.
//!
//! User space asks for what the tables need *before* it writes them ([`Features::of`]), so a program never meets a table that it cannot
//! serve.

use crate::parse::Family;
#[cfg(feature = "std")]
use crate::{abi::Scheduling, memory::Slices};

/// The largest MTU whose frames surely lie in one buffer: a page less the room in front and the kernel's own record at its end
/// (`XDP_PACKET_HEADROOM`, `skb_shared_info`), and headers.
pub const ONE_BUFFER_MTU: u32 = 3_400;

/// A set of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    /// No service at all.
    pub const NONE: Self = Self(0);
    /// Services with an IPv4 VIP; else every IPv4 packet is the host's.
    pub const IPV4: Self = Self(1);
    /// Services with an IPv6 VIP; else every IPv6 packet is the host's.
    pub const IPV6: Self = Self(1 << 1);
    /// Services with a prefix for a VIP, or with more than one port.
    pub const SHAPES: Self = Self(1 << 2);
    /// Packets leave by another interface than the one they came from.
    pub const REDIRECT: Self = Self(1 << 3);
    /// Destinations behind a tunnel.
    pub const TUNNEL: Self = Self(1 << 4);
    /// Tunnels in UDP among them.
    pub const GUE: Self = Self(1 << 5);
    /// The node answers echo requests to VIPs; else they are the host's.
    pub const ICMP_ECHO: Self = Self(1 << 6);
    /// Destinations whose packets are translated, and their replies.
    pub const NAT: Self = Self(1 << 7);
    /// Services that choose by the addresses alone where fragments lack their first.
    pub const FRAGMENTS_BY_HASH: Self = Self(1 << 8);
    /// Packets leave in a VLAN of the node's.
    pub const VLAN: Self = Self(1 << 9);
    /// Frames too long for one buffer; else they are malformed. Since Linux 5.18.
    pub const LONG_FRAMES: Self = Self(1 << 10);
    /// Services whose packets go where their QUIC connection id says.
    pub const QUIC: Self = Self(1 << 11);
    /// Destinations whose backends are told their clients in a TCP option ([`crate::nat::toa`]).
    pub const TOA: Self = Self(1 << 12);
    /// Services that choose otherwise than by the flow's hash.
    pub const SCHEDULERS: Self = Self(1 << 13);
    /// What packets tell of backends is counted ([`crate::passive`]).
    pub const PASSIVE_HEALTH: Self = Self(1 << 14);
    /// Limits of new flows: rates, connections of a backend, floods ([`crate::limits`]).
    pub const LIMITS: Self = Self(1 << 15);
    /// Services with lists of prefixes that are allowed or denied.
    pub const PREFIX_LISTS: Self = Self(1 << 16);
    /// Services that hold a client's flows together.
    pub const AFFINITY: Self = Self(1 << 17);
    /// Everything.
    pub const ALL: Self = Self((1 << 18) - 1);

    /// Names, in the order of the bits.
    #[cfg(feature = "std")]
    const NAMES: [&'static str; 18] = [
        "ipv4",
        "ipv6",
        "prefixes-or-ranges",
        "several-interfaces",
        "tunnels",
        "gue",
        "icmp-echo",
        "nat",
        "fragments-by-hash",
        "vlan",
        "long-frames",
        "quic",
        "toa",
        "schedulers",
        "passive-health",
        "limits",
        "prefix-lists",
        "affinity",
    ];

    /// From the program's constant.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// As the program's constant.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of these are in it.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, features: Self) -> bool {
        self.0 & features.0 == features.0
    }

    /// Whether services of a family are.
    #[inline(always)]
    #[must_use]
    pub const fn has_family(self, family: Family) -> bool {
        self.has(Self::of_family(family))
    }

    /// The feature of a family.
    #[inline(always)]
    #[must_use]
    pub const fn of_family(family: Family) -> Self {
        match family {
            Family::V4 => Self::IPV4,
            Family::V6 => Self::IPV6,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The first without the second.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names of what is in it.
    #[cfg(feature = "std")]
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 != 0).map(|(_, name)| name)
    }

    /// What a service needs.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn of_service(identity: &crate::abi::ServiceIdentity) -> Self {
        let shapes = if identity.is_single() { Self::NONE } else { Self::SHAPES };
        let fragments =
            if identity.fragments == crate::abi::FRAGMENTS_HASH { Self::FRAGMENTS_BY_HASH } else { Self::NONE };
        let quic = if identity.quic == 0 { Self::NONE } else { Self::QUIC };
        let scheduling = identity.scheduling;
        let without = Scheduling { affinity_seconds: 0, ..scheduling };
        let plain = Scheduling { source_prefix: without.source_prefix, ..Scheduling::default() };
        let schedulers = if without == plain { Self::NONE } else { Self::SCHEDULERS };
        let affinity = if scheduling.affinity_seconds == 0 { Self::NONE } else { Self::AFFINITY };
        Self::of_family(identity.family).with(shapes).with(fragments).with(quic).with(schedulers).with(affinity)
    }

    /// What limits of a service need.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn of_limits(settings: &crate::abi::LimitSettings) -> Self {
        let limits = if settings.has_limits() { Self::LIMITS } else { Self::NONE };
        if settings.list.is_empty() { limits } else { limits.with(Self::PREFIX_LISTS) }
    }

    /// What a limit of a destination's flows needs; 0: there is none.
    #[cfg(feature = "std")]
    #[must_use]
    pub const fn of_most_flows(most: u32) -> Self {
        if most == 0 { Self::NONE } else { Self::LIMITS }
    }

    /// What an interface and a VLAN (0: none) that lead to backends need, if packets come from these interfaces.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn of_egress(ifindex: u32, vlan: u16, mtu: u32, ingress: &[u32]) -> Self {
        let long = if mtu > ONE_BUFFER_MTU { Self::LONG_FRAMES } else { Self::NONE };
        let redirect = if ifindex == 0 || ingress == [ifindex] { Self::NONE } else { Self::REDIRECT };
        // Another VLAN has an MTU of its own.
        let vlan = if vlan == 0 { Self::NONE } else { Self::VLAN };
        redirect.with(vlan).with(long)
    }

    /// What a destination in this mode needs.
    #[cfg(feature = "std")]
    #[must_use]
    pub const fn of_mode(mode: crate::abi::Mode) -> Self {
        match mode {
            crate::abi::Mode::DsrL2 => Self::NONE,
            crate::abi::Mode::Ipip => Self::TUNNEL,
            crate::abi::Mode::Nat | crate::abi::Mode::FullNat => Self::NAT,
            crate::abi::Mode::Gue => Self::TUNNEL.with(Self::GUE),
        }
    }

    /// What a destination needs.
    #[cfg(feature = "std")]
    #[must_use]
    pub const fn of_destination(state: crate::abi::DestinationState) -> Self {
        let toa = if state.toa() == 0 { Self::NONE } else { Self::TOA };
        Self::of_mode(state.mode).with(toa)
    }

    /// Whether new flows are given their destination by a function apart.
    #[inline(always)]
    #[must_use]
    pub const fn picks_apart(self) -> bool {
        self.0 & (Self::QUIC.0 | Self::SCHEDULERS.0 | Self::LIMITS.0 | Self::AFFINITY.0) != 0
    }

    /// Whether services may choose otherwise than by the flow's hash.
    #[inline(always)]
    #[must_use]
    pub const fn chooses_otherwise(self) -> bool {
        self.0 & (Self::SCHEDULERS.0 | Self::AFFINITY.0) != 0
    }

    /// Whether live flows are counted by destination.
    #[inline(always)]
    #[must_use]
    pub const fn counts_live_flows(self) -> bool {
        self.0 & (Self::SCHEDULERS.0 | Self::LIMITS.0) != 0
    }

    /// Whether somebody asks which flows begin.
    #[inline(always)]
    #[must_use]
    pub const fn tells_beginnings(self) -> bool {
        self.counts_live_flows() || self.0 & (Self::PASSIVE_HEALTH.0 | Self::AFFINITY.0) != 0
    }

    /// Whether a packet may be larger than what leads to its destination takes: it leaves by another interface, or wrapped, or
    /// in another VLAN.
    #[inline(always)]
    #[must_use]
    pub const fn checks_mtu(self) -> bool {
        self.0 & (Self::REDIRECT.0 | Self::TUNNEL.0 | Self::VLAN.0) != 0
    }

    /// What tables need, if packets come from these interfaces.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn of(tables: &Slices<'_>, ingress: &[u32]) -> Self {
        let services = tables.services.iter().filter_map(|service| service.identity());
        let services = services.map(|(_, identity)| Self::of_service(&identity));
        let egress =
            tables.egress.iter().map(|egress| Self::of_egress(egress.ifindex(), egress.vlan(), egress.mtu(), ingress));
        let modes = tables.destinations.iter().map(|destination| Self::of_destination(destination.state()));
        let limits = tables.limits.iter().map(|limits| Self::of_limits(&limits.settings()));
        let most = tables.scores.iter().map(|score| Self::of_most_flows(score.most()));
        services.chain(egress).chain(modes).chain(limits).chain(most).fold(Self::NONE, Self::with)
    }
}
