//! CPUs that find, refresh, insert and replace flows in the same few buckets at once. A flow's identity is its
//! destination's id, so a word of another flow that is accepted for a tag shows.

use std::{
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
};

use lb_common::{
    abi::{DestinationState, Word64},
    features::Features,
    flow::{FlowEntry, FlowState, FlowWord, find, insert, table},
    hash::{FlowHash, finish},
    memory::{Constants, Sizes, Tables, View},
};

/// Buckets that everybody fights for.
const BUCKETS: usize = 4;
/// Flows, twice as many as there are places.
const FLOWS: u64 = 32;
/// Operations of all threads together.
const OPERATIONS: u64 = 10_000_000;
/// Longest time-out, in ticks.
const TIMEOUT: u32 = 900;

/// The flow that goes to destination `id`, in a table of many flows with one bucket.
fn hash_of(id: u64) -> FlowHash {
    FlowHash { tag: finish(id ^ 0x5eed), index: finish(!id) }
}

/// Each flow goes to a destination of its own, with a generation of its own.
fn word_of(id: u64, state: FlowState, seen: u32) -> FlowWord {
    FlowWord::new(id as u32, id as u16 * 7 + 1, state, seen)
}

fn is_of(word: FlowWord, id: u64) -> bool {
    word.destination() == id as u32 && word.generation() == id as u16 * 7 + 1
}

fn tables() -> Tables {
    let destinations = FLOWS as usize + 1;
    let tables = Tables::new(Sizes {
        service_buckets: 1,
        services: 2,
        slots: 1,
        destinations,
        flow_buckets: BUCKETS,
        nat_buckets: 64,
        fragment_buckets: 1,
        quic_buckets: 1,
        list_bounds: 256,
        client_buckets: 16,
    });
    for state in FlowState::ALL {
        tables.slices().services[1].set_timeout(state, TIMEOUT);
        tables.slices().control.set_longest_timeout(state, TIMEOUT);
    }
    for id in 1..=FLOWS {
        let generation = word_of(id, FlowState::Udp, 0).generation();
        let state = DestinationState {
            generation,
            keeps_flows: true,
            resets_flows: false,
            takes_flows: true,
            mode: lb_common::abi::Mode::DsrL2,
            second_tunnel: false,
            toa: 0,
            service: 1,
        };
        tables.slices().destinations[id as usize].set_state(state);
    }
    tables
}

/// What a thread saw.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    found: u64,
    inserted: u64,
    replaced: u64,
    strangers: u64,
}

impl Seen {
    fn plus(self, other: Self) -> Self {
        Self {
            found: self.found + other.found,
            inserted: self.inserted + other.inserted,
            replaced: self.replaced + other.replaced,
            strangers: self.strangers + other.strangers,
        }
    }
}

/// One CPU's packets.
fn run(view: &View<'_>, operations: u64, seed: u64) -> Seen {
    let mut seen = Seen::default();
    for operation in 0..operations {
        let random = finish((seed << 32) | operation);
        let id = random % FLOWS + 1;
        let hash = hash_of(id);
        let state = FlowState::ALL[(random >> 8) as usize % FlowState::ALL.len()];
        let now = view.now.wrapping_add((random >> 16) as u32 % 64);
        match find(view, hash) {
            Some((entry, word)) => {
                seen.found += 1;
                seen.strangers += u64::from(!is_of(word, id));
                if random >> 60 < 4 {
                    replace(entry, random, &mut seen)
                } else {
                    entry.refresh(word.refreshed(state, now))
                }
            }
            None => {
                seen.inserted += 1;
                insert(view, hash, word_of(id, state, now));
            }
        }
    }
    seen
}

/// Gives the entry to another flow, as an insert does that finds it free.
fn replace(entry: &FlowEntry, random: u64, seen: &mut Seen) {
    let other = (random >> 24) % FLOWS;
    seen.replaced += 1;
    entry.store(hash_of(other + 1).tag, word_of(other + 1, FlowState::Closing, 0));
}

fn cpus() -> u64 {
    thread::available_parallelism().map_or(2, |count| count.get() as u64).clamp(2, 8)
}

#[test]
fn no_thread_accepts_the_word_of_another_flow() {
    let tables = tables();
    let constants = Constants { hash_key: [0; 20], ticks_per_second: 1, fragment_timeout: 30, features: Features::ALL };
    let all = thread::scope(|scope| {
        let threads: Vec<_> = (0..cpus())
            .map(|cpu| {
                let view = tables.view(constants, 1000 + cpu as u32, 1);
                scope.spawn(move || run(&view, OPERATIONS.div_ceil(cpus()), cpu + 1))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).fold(Seen::default(), Seen::plus)
    });
    println!("{} threads: {all:?}", cpus());
    assert_eq!(all.strangers, 0);
    assert!(all.found > OPERATIONS / 10 && all.inserted > OPERATIONS / 100 && all.replaced > OPERATIONS / 100);
}

#[test]
fn the_flows_share_their_buckets() {
    let mask = BUCKETS as u32 - 1;
    let first = |id| table::first_bucket(hash_of(id), mask);
    for bucket in 0..BUCKETS as u32 {
        let flows = (1..=FLOWS)
            .filter(|id| first(*id) == bucket || table::other_bucket(first(*id), hash_of(*id).tag, mask) == bucket);
        assert!(flows.count() > lb_common::flow::BUCKET_ENTRIES, "bucket {bucket}");
    }
}

/// An entry of two words, as the table has it or otherwise.
trait TwoWords: Sync {
    fn load(&self) -> (u64, FlowWord);
    fn store(&self, tag: u64, word: FlowWord);
}

impl TwoWords for FlowEntry {
    fn load(&self) -> (u64, FlowWord) {
        self.load()
    }

    fn store(&self, tag: u64, word: FlowWord) {
        self.store(tag, word);
    }
}

/// An entry that holds the tag itself, so a reader cannot see that tag and word belong to different flows.
#[derive(Default)]
struct Unchecked {
    tag: Word64,
    word: Word64,
}

impl TwoWords for Unchecked {
    fn load(&self) -> (u64, FlowWord) {
        (self.tag.load(), FlowWord::from_bits(self.word.load()))
    }

    fn store(&self, tag: u64, word: FlowWord) {
        self.tag.store(tag);
        self.word.store(word.to_bits());
    }
}

/// Two threads write two flows by turns while this one reads. Returns (flows accepted, strangers among them), after
/// `enough` reads, or at the first stranger if there is one.
fn read_while_written(entry: &impl TwoWords, enough: u64) -> (u64, u64) {
    let stop = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    thread::scope(|scope| {
        for writer in 0..2 {
            let (stop, written) = (&stop, &written);
            scope.spawn(move || {
                for turn in 0.. {
                    let id = (turn + writer) % 2 + 1;
                    entry.store(hash_of(id).tag, word_of(id, FlowState::Established, 0));
                    written.store(turn, Relaxed);
                    if stop.load(SeqCst) {
                        break;
                    }
                }
            });
        }
        let (mut reads, mut accepted, mut strangers) = (0, 0, 0);
        while (reads < enough || written.load(Relaxed) == 0) && strangers == 0 {
            let id = reads % 2 + 1;
            let (tag, word) = entry.load();
            if tag == hash_of(id).tag {
                accepted += 1;
                strangers += u64::from(!is_of(word, id));
            }
            reads += 1;
        }
        stop.store(true, SeqCst);
        (accepted, strangers)
    })
}

#[test]
fn a_reader_never_takes_a_torn_entry() {
    let (accepted, strangers) = read_while_written(&FlowEntry::default(), OPERATIONS);
    assert!(accepted > 0);
    assert_eq!(strangers, 0);
}

/// That the tests above can fail: without the check a reader does take the word of another flow.
#[test]
fn without_the_check_a_reader_takes_a_torn_entry() {
    let (_, strangers) = read_while_written(&Unchecked::default(), 100 * OPERATIONS);
    assert_eq!(strangers, 1);
}
