//! Who is measured.

/// A way from the client to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// No balancer: the client's route leads to one of the servers.
    Direct,
    /// The daemon as users run it.
    Evenkeel,
    /// HAProxy in TCP mode.
    Haproxy,
    /// nginx with its stream module.
    Nginx,
    /// nftables: destination addresses translated, connections tracked.
    Nftables,
}

impl Subject {
    /// All, in the order in which they take turns.
    pub(super) const ALL: [Self; 5] = [Self::Direct, Self::Evenkeel, Self::Haproxy, Self::Nginx, Self::Nftables];

    /// Its name in results.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Evenkeel => "evenkeel",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Nftables => "nftables",
        }
    }

    /// Whether the short form needs it for a bar.
    pub(super) const fn in_short(self) -> bool {
        !matches!(self, Self::Nftables)
    }

    /// Whether UDP goes through it.
    pub(super) const fn takes_udp(self) -> bool {
        !matches!(self, Self::Haproxy)
    }
}
