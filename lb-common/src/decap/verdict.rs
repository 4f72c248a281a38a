//! What becomes of a packet at a tunnel's end, and every reason by name.

use crate::{parse::Family, verdict::reasons};

/// What the decapsulator does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The inner packet goes to the host's stack (`XDP_PASS`).
    Unpacked(Kind),
    /// To the host's stack, unmodified to the byte.
    Pass(PassReason),
    /// Discarded (`XDP_DROP`).
    Drop(DropReason),
}

reasons! {
    /// What a tunnelled packet was.
    Kind {
        Ipip4In4 = "ipip-4-in-4": "IPv4 in IPv4",
        Ipip6In4 = "ipip-6-in-4": "IPv6 in IPv4",
        Ipip4In6 = "ipip-4-in-6": "IPv4 in IPv6",
        Ipip6In6 = "ipip-6-in-6": "IPv6 in IPv6",
        Gue4In4 = "gue-4-in-4": "IPv4 in GUE over IPv4",
        Gue6In4 = "gue-6-in-4": "IPv6 in GUE over IPv4",
        Gue4In6 = "gue-4-in-6": "IPv4 in GUE over IPv6",
        Gue6In6 = "gue-6-in-6": "IPv6 in GUE over IPv6",
    }
}

reasons! {
    /// Why a packet is left to the host.
    PassReason {
        NotIp = "not-ip": "neither IPv4 nor IPv6",
        NotTunnel = "not-tunnel": "neither IPIP nor UDP to the GUE port",
        OtherEnd = "other-end": "tunnelled, but to an address that is no tunnel end",
        NotParsed = "not-parsed": "headers that do not hold together, and not known to be tunnelled to an end",
    }
}

reasons! {
    /// Why a packet is discarded. Each was sent to a tunnel end.
    DropReason {
        Source = "source": "tunnelled by a source that is not allowed",
        Fragment = "fragment": "a fragment of a tunnelled packet",
        Malformed = "malformed": "outer, UDP, GUE or inner header and the lengths do not hold together",
        Gue = "gue": "GUE of another version, with flags, a control message, or without an IP packet",
        ExtensionHeaders = "ext-headers": "more IPv6 extension headers than are followed",
        Congestion = "congestion": "marked for congestion, and the inner packet's sender knows of no marks",
        Tables = "tables": "the control record is missing: a defect, please report it",
    }
}

/// How packets are tunnelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// One IP header directly behind another; the protocol number says which.
    Ipip(Family),
    /// In UDP.
    Gue,
    /// Perhaps: the extension headers could not be followed.
    Unknown,
}

impl Kind {
    #[inline(always)]
    pub(super) const fn of(carrier: Carrier, outer: Family, inner: Family) -> Self {
        match (carrier, outer, inner) {
            (Carrier::Ipip(_), Family::V4, Family::V4) => Self::Ipip4In4,
            (Carrier::Ipip(_), Family::V4, Family::V6) => Self::Ipip6In4,
            (Carrier::Ipip(_), Family::V6, Family::V4) => Self::Ipip4In6,
            (Carrier::Ipip(_), Family::V6, Family::V6) => Self::Ipip6In6,
            (_, Family::V4, Family::V4) => Self::Gue4In4,
            (_, Family::V4, Family::V6) => Self::Gue6In4,
            (_, Family::V6, Family::V4) => Self::Gue4In6,
            (_, Family::V6, Family::V6) => Self::Gue6In6,
        }
    }
}

/// A packet's way ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is the host's.
    Pass(PassReason),
    /// It is discarded.
    Drop(DropReason),
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
