//! Passive health, checked.

use std::time::Duration;

/// How backends are judged by the packets of their clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassiveHealth {
    /// Whether a backend that stands out gets no new flows; else it is only told of.
    pub ejects: bool,
    /// How often backends are judged, 1 s to 10 min.
    pub interval: Duration,
    /// With fewer new connections in an interval a backend is not judged, 1 to 1 000 000.
    pub min_connections: u32,
    /// By so many points its share of connections that were not answered is above that of the others, 1 to 100 %.
    pub failure_margin: u8,
    /// How long it is ejected for the first time, 1 s to 1 h; each time in succession adds as much.
    pub eject_for: Duration,
    /// How long at most, `eject_for` to 24 h.
    pub eject_at_most: Duration,
    /// The share of the service's weight that is ejected at a time, 1 to 100 %. A single backend may always be that has no more than half
    /// of it.
    pub max_ejected: u8,
}

impl Default for PassiveHealth {
    fn default() -> Self {
        Self {
            ejects: false,
            interval: Duration::from_secs(10),
            min_connections: 20,
            failure_margin: 30,
            eject_for: Duration::from_secs(30),
            eject_at_most: Duration::from_secs(300),
            max_ejected: 30,
        }
    }
}

impl PassiveHealth {
    /// How long a backend is ejected that is so for the n-th time in succession, from 1.
    #[must_use]
    pub fn ejection(&self, times: u32) -> Duration {
        self.eject_for.saturating_mul(times.max(1)).min(self.eject_at_most)
    }
}
