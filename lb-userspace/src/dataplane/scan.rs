//! Reads the flow table through the mapping: no system call, and nothing that the data path notices.
//!
//! Counting looks at every entry, so it is written for that: what decides whether a flow is live is gathered first into one
//! 16-byte `Tally` for each destination, which also holds its counts. An entry then costs its own cache line, read in
//! order, and one tally; there is no branch on what an entry says.

use std::collections::HashMap;

use lb_common::{
    flow::{BUCKET_ENTRIES, FlowBucket, FlowState, FlowWord, table::is_expired},
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
#[derive(Debug, Default)]
pub struct Scan {
    tallies: Vec<Tally>,
    /// Entries that are in use, dead ones that nobody has overwritten included.
    pub used: u64,
}

impl Scan {
    /// Live flows of a destination.
    #[must_use]
    pub fn of(&self, destination: u32) -> FlowCounts {
        self.tallies.get(destination as usize).map_or_else(FlowCounts::default, |tally| FlowCounts {
            active: u64::from(tally.active),
            closing: u64::from(tally.closing),
        })
    }
}

/// Every live flow: of the present generation of its destination, and within its service's time-out.
pub fn live<'a>(tables: Slices<'a>, now: u32) -> impl Iterator<Item = LiveFlow> + 'a {
    words(tables).filter_map(move |word| judge(&tables, word, now))
}

/// Counts the live flows of each destination, on the calling thread.
#[must_use]
pub fn count(tables: Slices<'_>, now: u32) -> Scan {
    let mut judges = Judges::of(&tables);
    let used = tables.flows.iter().map(|bucket| judges.count(bucket, now)).sum();
    Scan { tallies: judges.tallies, used }
}

/// A destination while flows are counted: which of them are live, and how many there were.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Tally {
    /// The generation of live flows; [`Tally::NONE`] if there are none.
    generation: u32,
    /// Index into [`Judges::timeouts`].
    timeouts: u32,
    active: u32,
    closing: u32,
}

impl Tally {
    /// More than any generation of an entry.
    const NONE: u32 = u32::MAX;
    /// No flow of it is live.
    const DEAD: Self = Self { generation: Self::NONE, timeouts: 0, active: 0, closing: 0 };
}

/// Time-outs in ticks by the bits of a flow's state.
type Timeouts = [u32; 8];

/// By the bits of a state: whether there is such a state, whether it is an active one, whether it is closing.
const STATES: [[u32; 3]; 8] = {
    let mut states = [[0; 3]; 8];
    let mut i = 0;
    while i < FlowState::ALL.len() {
        let state = FlowState::ALL[i];
        states[state as usize] = [1, state.is_active() as u32, !state.is_active() as u32];
        i += 1;
    }
    states
};

struct Judges {
    /// By destination, and one behind them for ids that are none.
    tallies: Vec<Tally>,
    /// The different time-outs of services.
    timeouts: Vec<Timeouts>,
}

impl Judges {
    fn of(tables: &Slices<'_>) -> Self {
        let mut judges = Self { tallies: Vec::with_capacity(tables.destinations.len() + 1), timeouts: vec![[0; 8]] };
        let mut known = HashMap::new();
        let mut by_service = vec![0; tables.services.len()];
        for (index, service) in by_service.iter_mut().zip(tables.services).skip(1) {
            let mut timeouts = [0; 8];
            FlowState::ALL.into_iter().for_each(|state| timeouts[state as usize] = service.timeout(state));
            *index = *known.entry(timeouts).or_insert_with(|| {
                judges.timeouts.push(timeouts);
                judges.timeouts.len() as u32 - 1
            });
        }
        judges.tallies.extend(tables.destinations.iter().map(|destination| {
            let state = destination.state();
            match by_service.get(state.service as usize) {
                Some(timeouts) if state.service != 0 && state.holds_flows() => {
                    Tally { generation: u32::from(state.generation), timeouts: *timeouts, active: 0, closing: 0 }
                }
                _ => Tally::DEAD,
            }
        }));
        judges.tallies.push(Tally::DEAD);
        judges
    }

    /// Counts the flows of a bucket; returns how many entries are in use.
    #[inline(always)]
    fn count(&mut self, bucket: &FlowBucket, now: u32) -> u64 {
        let words: [FlowWord; BUCKET_ENTRIES] = std::array::from_fn(|i| bucket.entries[i].word());
        if words.iter().fold(0, |all, word| all | word.to_bits()) == 0 {
            return 0;
        }
        let last = self.tallies.len() - 1;
        let mut used = 0;
        for word in words {
            let [is_used, is_active, is_closing] = STATES[word.state_index()];
            let tally = &mut self.tallies[(word.destination() as usize).min(last)];
            let timeout = self.timeouts[tally.timeouts as usize][word.state_index()];
            let same = tally.generation == u32::from(word.generation());
            let live = u32::from(same & !is_expired(word, now, timeout));
            tally.active += live & is_active;
            tally.closing += live & is_closing;
            used += u64::from(is_used);
        }
        used
    }
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
        && destination.holds_flows()
        && !is_expired(word, now, service.timeout(state));
    live.then(|| LiveFlow { destination: word.destination(), state, idle: word.idle(now) })
}

#[cfg(test)]
mod tests {
    use lb_common::{
        abi::DestinationState,
        memory::{Sizes, Tables},
    };
    use proptest::prelude::*;

    use super::*;

    const SIZES: Sizes = Sizes {
        service_buckets: 2,
        services: 4,
        slots: 2,
        destinations: 6,
        flow_buckets: 16,
        nat_buckets: 64,
        fragment_buckets: 1,
        quic_buckets: 1,
        list_bounds: 256,
        client_buckets: 16,
    };
    const NOW: u32 = 5000;

    /// A destination, its state and its service; some are of no service, or of one beyond the table.
    fn destinations() -> impl Strategy<Value = Vec<DestinationState>> {
        let state = (0..4_u16, 0..3_u8, any::<bool>(), 0..6_u32).prop_map(|(generation, known, takes, service)| {
            DestinationState {
                generation,
                keeps_flows: known == 1,
                resets_flows: known == 2,
                takes_flows: takes,
                mode: lb_common::abi::Mode::DsrL2,
                second_tunnel: false,
                toa: 0,
                service,
            }
        });
        prop::collection::vec(state, SIZES.destinations)
    }

    /// Any word, but mostly one whose destination there is.
    fn words_strategy() -> impl Strategy<Value = Vec<u64>> {
        let state = prop::sample::select(FlowState::ALL.to_vec());
        let likely = (0..8_u32, 0..4_u16, state, NOW - 2500..NOW + 10)
            .prop_map(|(id, generation, state, seen)| FlowWord::new(id, generation, state, seen).to_bits());
        let word = prop_oneof![6 => likely, 1 => any::<u64>(), 2 => Just(0)];
        prop::collection::vec(word, SIZES.flow_buckets * BUCKET_ENTRIES)
    }

    proptest! {
        #[test]
        fn counting_agrees_with_listing(
            destinations in destinations(),
            words in words_strategy(),
            timeouts in prop::collection::vec(0..3000_u32, 3 * FlowState::ALL.len()),
        ) {
            let tables = Tables::new(SIZES);
            let slices = tables.slices();
            for (service, timeouts) in slices.services[1..].iter().zip(timeouts.chunks(FlowState::ALL.len())) {
                FlowState::ALL.into_iter().zip(timeouts).for_each(|(state, ticks)| service.set_timeout(state, *ticks));
            }
            slices.destinations.iter().zip(destinations).for_each(|(destination, state)| destination.set_state(state));
            let entries = slices.flows.iter().flat_map(|bucket| &bucket.entries);
            entries.zip(words).for_each(|(entry, word)| entry.store(7, FlowWord::from_bits(word)));

            let mut listed = vec![FlowCounts::default(); SIZES.destinations];
            for flow in live(slices, NOW) {
                let counts = &mut listed[flow.destination as usize];
                if flow.state.is_active() { counts.active += 1 } else { counts.closing += 1 }
            }
            let scan = count(slices, NOW);
            prop_assert_eq!(scan.used, super::words(slices).count() as u64);
            let counted: Vec<_> = (0..SIZES.destinations as u32).map(|id| scan.of(id)).collect();
            prop_assert_eq!(counted, listed);
            prop_assert_eq!(scan.of(1000), FlowCounts::default());
        }
    }
}
