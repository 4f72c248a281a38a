//! Reads the flow table through the mapping: no system call, and nothing that the data path notices.

use std::collections::BTreeMap;

use lb_common::{
    flow::{FlowState, FlowWord, table::is_expired},
    memory::Slices,
};

/// Flows of one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// In setup, established, or UDP.
    pub active: u64,
    /// Closing.
    pub closing: u64,
}

impl FlowCounts {
    /// Active and closing ones.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.active + self.closing
    }
}

/// A flow in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveFlow {
    /// Its destination.
    pub destination: u32,
    /// Its state.
    pub state: FlowState,
    /// Ticks since its last packet.
    pub idle: u32,
}

/// What a scan finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// By destination.
    pub by_destination: BTreeMap<u32, FlowCounts>,
    /// Entries that are in use, dead ones that nobody has overwritten included.
    pub used: u64,
}

/// Every live flow: of the present generation of its destination, and within its service's time-out.
pub fn live<'a>(tables: Slices<'a>, now: u32) -> impl Iterator<Item = LiveFlow> + 'a {
    words(tables).filter_map(move |word| judge(&tables, word, now))
}

/// Counts the live flows of each destination.
#[must_use]
pub fn count(tables: Slices<'_>, now: u32) -> Scan {
    let mut counts = vec![FlowCounts::default(); tables.destinations.len()];
    let mut used = 0;
    for word in words(tables) {
        used += 1;
        let Some(flow) = judge(&tables, word, now) else { continue };
        let counts = &mut counts[flow.destination as usize];
        if flow.state.is_active() { counts.active += 1 } else { counts.closing += 1 }
    }
    let by_destination = counts
        .into_iter()
        .enumerate()
        .filter(|(_, counts)| *counts != FlowCounts::default())
        .map(|(id, counts)| (id as u32, counts))
        .collect();
    Scan { by_destination, used }
}

fn words<'a>(tables: Slices<'a>) -> impl Iterator<Item = FlowWord> + 'a {
    tables.flows.iter().flat_map(|bucket| &bucket.entries).map(|entry| entry.word()).filter(|w| w.state().is_some())
}

/// The flow of an entry, if it is live.
pub(super) fn judge(tables: &Slices<'_>, word: FlowWord, now: u32) -> Option<LiveFlow> {
    let state = word.state()?;
    let destination = tables.destinations.get(word.destination() as usize)?.state();
    let service = tables.services.get(destination.service as usize)?;
    let live = destination.generation == word.generation()
        && destination.service != 0
        && destination.keeps_flows
        && !is_expired(word, now, service.timeout(state));
    live.then(|| LiveFlow { destination: word.destination(), state, idle: word.idle(now) })
}
