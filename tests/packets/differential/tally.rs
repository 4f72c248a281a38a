//! What the steps led to: a difference can only be found on a way that was gone.

use std::{collections::BTreeMap, fmt};

use lb_common::{
    flow::FlowWord,
    verdict::{DropReason, PassReason},
};

use crate::{machine::Action, runner::Outcome};

/// How often what happened, by name.
#[derive(Clone, Debug)]
pub(super) struct Tally(BTreeMap<String, u64>);

/// What happens to the flow table, and which the books tell.
const PLACEMENTS: [(&str, usize); 6] = [
    ("replies", 0),
    ("flows created", 1),
    ("flows evicted", 2),
    ("flows displaced", 3),
    ("flows untracked", 4),
    ("clients not told", 6),
];
/// An entry of its own that no longer counts is overwritten.
const RENEWED: &str = "flows renewed";
/// Another flow's entry is, because that flow has timed out or its destination is gone.
const RECLAIMED: &str = "flows reclaimed";
/// Packets during which the clock moved, perhaps.
const MOVED: &str = "ticks passed";
const TRANSMITTED: &str = "transmitted";
const REDIRECTED: &str = "redirected";

impl Default for Tally {
    fn default() -> Self {
        let fixed = [RENEWED, RECLAIMED, MOVED, TRANSMITTED, REDIRECTED];
        let names = fixed.into_iter().chain(PLACEMENTS.map(|(name, _)| name)).map(String::from);
        let passed = PassReason::ALL.iter().copied().map(passed);
        // Test runs always have room in front of the packet, and these services have no limits: rates go by times that the two
        // machines do not share ([`crate::limits`] has rows for them).
        let limits = ["denied", "limit-client", "limit-connections", "limit-flood", "limit-service"];
        let possible = |reason: &DropReason| *reason != DropReason::Headroom && !limits.contains(&reason.name());
        let dropped = DropReason::ALL.iter().copied().filter(possible).map(dropped);
        Self(names.chain(passed).chain(dropped).map(|name| (name, 0)).collect())
    }
}

fn passed(reason: PassReason) -> String {
    format!("passed {}", reason.name())
}

fn dropped(reason: DropReason) -> String {
    format!("dropped {}", reason.name())
}

impl Tally {
    /// Counts a packet; with the flow table before and after it.
    pub(super) fn packet(
        &mut self,
        outcome: &Outcome,
        before: &[(u64, FlowWord)],
        after: &[(u64, FlowWord)],
        moved: bool,
    ) {
        let books = &outcome.books;
        for (name, index) in PLACEMENTS {
            self.count(name, books.other[index]);
        }
        self.count(MOVED, u64::from(moved));
        self.count(TRANSMITTED, u64::from(outcome.action == Action::Transmit));
        self.count(REDIRECTED, u64::from(outcome.action == Action::Redirect));
        books.passed.iter().for_each(|(reason, count)| self.count(&passed(*reason), *count));
        books.dropped.iter().for_each(|(reason, count)| self.count(&dropped(*reason), *count));
        let [_, created, evicted, displaced, ..] = books.other;
        if created > evicted + displaced {
            let changed = before.iter().zip(after).find(|(before, after)| before != after);
            if let Some(((tag, word), (new_tag, _))) = changed.filter(|((_, word), _)| word.state().is_some()) {
                self.count(if tag == new_tag { RENEWED } else { RECLAIMED }, u64::from(word.state().is_some()));
            }
        }
    }

    fn count(&mut self, name: &str, times: u64) {
        if times > 0 {
            *self.0.entry(name.to_owned()).or_default() += times;
        }
    }

    /// Adds another.
    pub(super) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, times)| self.count(name, *times));
    }

    /// What never happened although it should.
    pub(super) fn missed(&self) -> Vec<&str> {
        self.0.iter().filter(|(_, times)| **times == 0).map(|(name, _)| name.as_str()).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(|(name, times)| format!("{times} {name}")).collect();
        f.write_str(&parts.join(", "))
    }
}
