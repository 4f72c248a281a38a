//! The states of a flow, as far as direct server return lets the balancer see them.

use crate::wire::{
    ip::Protocol,
    tcp::{FIN, RST, SYN},
};

/// State of a flow. 0 is an entry that is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowState {
    /// TCP: the client's SYN was seen, no ACK yet.
    Setup = 1,
    /// TCP: the client acknowledged.
    Established = 2,
    /// TCP: FIN or RST was seen from the client.
    Closing = 3,
    /// UDP: one packet was seen.
    UdpSingle = 4,
    /// UDP: more than one.
    Udp = 5,
}

impl FlowState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Setup, Self::Established, Self::Closing, Self::UdpSingle, Self::Udp];

    /// The name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::UdpSingle => "udp-single",
            Self::Udp => "udp",
        }
    }

    /// The state of three bits. Not four: as an index it then stays inside a table of eight for the verifier, too.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match bits & 7 {
            1 => Some(Self::Setup),
            2 => Some(Self::Established),
            3 => Some(Self::Closing),
            4 => Some(Self::UdpSingle),
            5 => Some(Self::Udp),
            _ => None,
        }
    }

    /// Index into a table of eight.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether the flow counts as active.
    #[inline(always)]
    #[must_use]
    pub const fn is_active(self) -> bool {
        !matches!(self, Self::Closing)
    }

    /// The state of a flow whose first packet this is; `None` for a packet that makes no state: RST, and FIN of a flow
    /// that is not known.
    #[inline(always)]
    #[must_use]
    pub const fn of_first(protocol: Protocol, tcp_flags: u8) -> Option<Self> {
        match protocol {
            Protocol::Udp => Some(Self::UdpSingle),
            Protocol::Tcp if tcp_flags & (FIN | RST) != 0 => None,
            Protocol::Tcp if tcp_flags & SYN != 0 => Some(Self::Setup),
            Protocol::Tcp => Some(Self::Established),
        }
    }

    /// The state after another packet.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, tcp_flags: u8) -> Self {
        match self {
            Self::UdpSingle | Self::Udp => Self::Udp,
            Self::Closing => Self::Closing,
            Self::Setup | Self::Established if tcp_flags & (FIN | RST) != 0 => Self::Closing,
            Self::Setup if tcp_flags & SYN != 0 => Self::Setup,
            Self::Setup | Self::Established => Self::Established,
        }
    }
}
