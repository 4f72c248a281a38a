//! What becomes of a packet, and every reason by name.
//!
//! Names are the vocabulary of counters, of the CLI and of metrics: they derive from the lists here.

use crate::{nat::NatPlace, parse::Place};

/// What the program does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Out on the interface it came from (`XDP_TX`).
    Transmit,
    /// Out on another interface: an index into the table of egress interfaces (`XDP_REDIRECT`).
    Redirect(u32),
    /// Out on another interface, by the kernel's index: where a translated flow's client is (`XDP_REDIRECT`).
    Return(u32),
    /// To the host's own stack (`XDP_PASS`), unmodified to the byte.
    Pass(PassReason),
    /// Discarded (`XDP_DROP`).
    Drop(DropReason),
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal: $help:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $(#[doc = $help] $variant,)*
        }

        impl $name {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in counters, output and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The reason with this number; the last one for a number that none has.
            #[inline(always)]
            #[must_use]
            pub const fn from_number(number: u32) -> Self {
                $(if number == Self::$variant as u32 { return Self::$variant; })*
                Self::ALL[Self::ALL.len() - 1]
            }

            /// What it means, in one line for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

pub(crate) use reasons;

reasons! {
    /// Why a packet is left to the host.
    PassReason {
        NotIp = "not-ip": "neither IPv4 nor IPv6",
        NotServed = "not-served": "no service for this address, protocol and port",
        OtherProtocol = "other-protocol": "neither TCP nor UDP: ICMP, AH, ESP, tunnels and the like",
        NotParsed = "not-parsed": "headers that do not hold together, and for no VIP",
    }
}

reasons! {
    /// Why a packet is discarded.
    DropReason {
        Malformed = "malformed": "headers of a packet for a VIP do not hold together",
        ExtensionHeaders = "ext-headers": "more IPv6 extension headers than are followed",
        Ttl = "ttl": "TTL or hop limit 0, or 1 in an ICMP error or later fragment that is translated (nat, full-nat)",
        Martian = "martian": "source is a VIP, multicast, broadcast or loopback, or the frame was sent to a group",
        Fragment = "fragment": "a later part of a datagram for a VIP whose first part has not come, or not lately",
        NoBackend = "no-backend": "the service has no backend that takes flows",
        Neighbour = "neighbour": "the next hop of the backend is not resolved",
        Egress = "egress": "the outgoing interface of the backend is gone",
        ReplyLimit = "reply-limit": "a reply of the node (reset, unreachable, too big) above their rate",
        Mtu = "mtu": "larger than what fits on its way, and nobody is to be told so",
        Headroom = "headroom": "the driver left no room in front of the packet for a tunnel's header or a VLAN tag",
        SnatPorts = "snat-ports": "no port of the pool is free for a new flow (full-nat)",
        NatTable = "nat-table": "no room for a new translated flow",
        NatCollision = "nat-collision": "the backend's replies would be those of another flow of this client (nat)",
        Hairpin = "hairpin": "a backend is a client of its own service, which only full-nat can serve (nat)",
        IcmpSpoof = "icmp-spoof": "an ICMP error for a VIP that quotes a packet which the VIP did not send",
        Denied = "denied": "the prefix lists of the service deny its client",
        LimitClient = "limit-client": "a new flow above the rate of its client's prefix",
        LimitService = "limit-service": "a new flow above the rate of its service",
        LimitConnections = "limit-connections": "a new flow, and no backend with room for one more was found",
        LimitFlood = "limit-flood": "a new flow in a flood that cannot do without being remembered (nat, full-nat)",
        Tables = "tables": "an index that no table holds: a defect, please report it",
    }
}

/// A packet's way ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is the host's.
    Pass(PassReason),
    /// It is discarded.
    Drop(DropReason),
    /// It is refused with a packet of the node's own.
    Reject,
    /// It is answered with the size that fits.
    TooBig(u32),
    /// It is answered: its last hop is here.
    Expired,
    /// It is translated on its way to this destination.
    Nat(NatPlace, u32),
    /// It may be a backend's reply that is translated back.
    Back(NatPlace),
    /// It is ICMP, which goes its own way.
    Icmp(Place),
    /// It is a later part of a datagram, likewise.
    Part(Place),
}

impl From<PassReason> for Stop {
    #[inline(always)]
    fn from(reason: PassReason) -> Self {
        Self::Pass(reason)
    }
}

impl From<DropReason> for Stop {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}
