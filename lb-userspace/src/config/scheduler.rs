//! The table of schedulers: a row each, and nothing else of a scheduler is anywhere but in its own file of
//! [`lb_common::schedule`].

use lb_common::abi::Pick;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a new flow gets its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerKind {
    /// Weighted Maglev hashing of the flow (Eisenbud et al., NSDI 2016, section 3.4).
    #[serde(alias = "consistent-hash")]
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

impl SchedulerKind {
    /// Name, slots, and how the data path picks one.
    const ROWS: [(Self, &'static str, SlotKind, Pick); 7] = [
        (Self::Maglev, "maglev", SlotKind::Maglev, Pick::FlowHash),
        (Self::SourceHash, "source-hash", SlotKind::Maglev, Pick::SourceHash),
        (Self::RoundRobin, "round-robin", SlotKind::Turns, Pick::Turn),
        (Self::WeightedRoundRobin, "weighted-round-robin", SlotKind::WeightedTurns, Pick::Turn),
        (Self::Random, "random", SlotKind::Maglev, Pick::Random),
        (Self::LeastConnections, "least-connections", SlotKind::List, Pick::Least),
        (Self::PowerOfTwo, "power-of-two", SlotKind::List, Pick::TwoChoices),
    ];

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
