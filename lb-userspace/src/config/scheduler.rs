//! The table of schedulers: a row each, and nothing else of a scheduler is anywhere but in its own file of
//! [`lb_common::schedule`].

use lb_common::abi::Pick;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// How a new flow gets its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerKind {
    /// Weighted Maglev hashing of the flow (Eisenbud et al., NSDI 2016, section 3.4).
    Maglev,
    /// The same of the client's address: all its flows go to one backend.
    SourceHash,
    /// In turn, whatever the weights.
    RoundRobin,
    /// In turn, each backend as often as its weight says, its turns apart.
    WeightedRoundRobin,
    /// At random, by weight.
    Random,
    /// The backend with the fewest live flows for its weight.
    LeastConnections,
    /// The backend with the least traffic towards it for its weight: a moving average, in bits per second.
    LeastBandwidth,
    /// The backend with the fewest live flows for its weight, each counted with the time that its probes take to be answered.
    LeastResponseTime,
    /// Of two backends at random the one with fewer live flows for its weight.
    PowerOfTwo,
}

/// What a service's slots are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotKind {
    /// A weighted Maglev table.
    Maglev,
    /// Each backend once.
    Turns,
    /// A smooth weighted sequence.
    WeightedTurns,
    /// Each backend once, for a choice by score.
    List,
}

impl<'de> Deserialize<'de> for SchedulerKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let named = Self::ROWS.iter().find(|row| row.1 == text).map(|row| row.0);
        if let Some(kind) = named.or((text == ALIAS).then_some(Self::Maglev)) {
            return Ok(kind);
        }
        match IPVS.iter().find(|(names, _)| names.contains(&text.as_str())) {
            Some((_, instead)) => Err(de::Error::custom(format!("`{text}` is a scheduler of IPVS; {instead}"))),
            None => Err(de::Error::unknown_variant(&text, &NAMES)),
        }
    }
}

/// Another name of `maglev`.
const ALIAS: &str = "consistent-hash";

/// Schedulers of IPVS, and what comes nearest.
const IPVS: [(&[&str], &str); 9] = [
    (&["rr"], "use `round-robin`"),
    (&["wrr"], "use `weighted-round-robin`"),
    (&["lc", "wlc"], "use `least-connections`, which goes by weights"),
    (&["sh", "dh"], "use `source-hash`"),
    (&["mh"], "use `maglev`"),
    (
        &["sed", "shortest-expected-delay"],
        "use `least-connections`: it counts the new connection as well, which is the shortest expected delay",
    ),
    (&["nq", "never-queue"], "use `least-connections`: a backend without connections goes before others of its weight"),
    (&["lblc", "lblcr"], "use `source-hash`, or `least-connections` with affinity"),
    (&["fo", "ovf"], "use backends with a `priority`, or with `backup: true`"),
];

/// What the configuration takes.
const NAMES: [&str; SchedulerKind::ROWS.len() + 1] = {
    let mut names = [ALIAS; SchedulerKind::ROWS.len() + 1];
    let mut i = 0;
    while i < SchedulerKind::ROWS.len() {
        names[i] = SchedulerKind::ROWS[i].1;
        i += 1;
    }
    names
};

impl SchedulerKind {
    /// Name, slots, and how the data path picks one.
    const ROWS: [(Self, &'static str, SlotKind, Pick); 9] = [
        (Self::Maglev, "maglev", SlotKind::Maglev, Pick::FlowHash),
        (Self::SourceHash, "source-hash", SlotKind::Maglev, Pick::SourceHash),
        (Self::RoundRobin, "round-robin", SlotKind::Turns, Pick::Turn),
        (Self::WeightedRoundRobin, "weighted-round-robin", SlotKind::WeightedTurns, Pick::Turn),
        (Self::Random, "random", SlotKind::Maglev, Pick::Random),
        (Self::LeastConnections, "least-connections", SlotKind::List, Pick::Least),
        (Self::LeastBandwidth, "least-bandwidth", SlotKind::List, Pick::Least),
        (Self::LeastResponseTime, "least-response-time", SlotKind::List, Pick::Least),
        (Self::PowerOfTwo, "power-of-two", SlotKind::List, Pick::TwoChoices),
    ];

    /// All of them, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ROWS.iter().map(|row| row.0)
    }

    fn row(self) -> (&'static str, SlotKind, Pick) {
        let row = Self::ROWS.iter().find(|row| row.0 == self).expect("each has a row");
        (row.1, row.2, row.3)
    }

    /// As in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What its slots are.
    #[must_use]
    pub fn table(self) -> SlotKind {
        self.row().1
    }

    /// How the data path picks one.
    #[must_use]
    pub fn pick(self) -> Pick {
        self.row().2
    }
}
