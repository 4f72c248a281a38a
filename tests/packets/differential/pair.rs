//! Both machines, in step.

use lb_common::{
    abi::{ReplyBudget, Translated},
    flow::{BUCKET_ENTRIES, FlowEntry, FlowWord, TICK_MASK},
    wire::ip::Protocol,
};

use super::{
    clock::{Move, Moving},
    setting::{SERVICES, services, sizes},
    step::{Step, apply},
    tally::Tally,
};
use crate::{
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Books, Machine},
    runner::{self, Outcome, same_outcome},
    world,
};

/// A flow table, entry by entry.
type Flows = Vec<(u64, FlowWord)>;

/// The two machines and what they have counted so far.
pub(super) struct Pair {
    kernel: InKernel,
    memory: InMemory,
    cpu: usize,
    kernel_counted: Counted,
    memory_counted: Counted,
    steps: usize,
    tally: Tally,
}

/// Every counter of a machine.
#[derive(Clone)]
struct Counted {
    books: Books,
    destinations: Vec<[u64; 4]>,
}

/// What a packet came to.
#[derive(PartialEq)]
struct Seen {
    outcome: Outcome,
    destinations: Vec<[u64; 4]>,
    flows: Flows,
    /// The table of fragments.
    fragments: Flows,
    nat: Slots,
    /// Tokens, and when they were filled up.
    budget: [u64; 2],
}

impl Counted {
    fn of(machine: &impl Machine) -> Self {
        Self { books: Books::of(machine), destinations: runner::destinations(machine, SERVICES) }
    }

    /// By destination, what was counted since.
    fn destinations_since(&self, before: &Self) -> Vec<[u64; 4]> {
        let pairs = self.destinations.iter().zip(&before.destinations);
        pairs.map(|(now, before)| std::array::from_fn(|i| now[i] - before[i])).collect()
    }
}

impl Pair {
    /// Two machines with so many flow buckets, of which the kernel's runs on this CPU; `None` where it cannot be loaded.
    pub(super) fn new(flow_buckets: usize, cpu: usize) -> Option<Self> {
        let kernel = InKernel::new(sizes(flow_buckets))?;
        let memory = InMemory::new(sizes(flow_buckets));
        let (kernel_counted, memory_counted) = (Counted::of(&kernel), Counted::of(&memory));
        Some(Self { kernel, memory, cpu, kernel_counted, memory_counted, steps: 0, tally: Tally::default() })
    }

    /// Steps that were run.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// What they led to.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Begins again with the configuration of [`super::setting`] and no flow.
    pub(super) fn begin(&mut self) {
        world::install(&mut self.kernel, &services());
        world::install(&mut self.memory, &services());
        self.set_budget(0, self.kernel.now());
        self.kernel_counted = Counted::of(&self.kernel);
        self.memory_counted = Counted::of(&self.memory);
    }

    /// Runs a step in both.
    ///
    /// # Errors
    ///
    /// What differs afterwards.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), String> {
        self.steps += 1;
        match step {
            Step::Packet(recipe) => return self.packet(&recipe.frame()),
            Step::Budget { tokens, age } => {
                let filled = self.kernel.now().wrapping_sub(*age);
                self.set_budget(u64::from(*tokens), filled);
            }
            _ => {
                let now = self.kernel.now();
                apply(step, &mut self.kernel, now);
                apply(step, &mut self.memory, now);
            }
        }
        same_flows(&flows(&self.memory), &flows(&self.kernel))
    }

    fn set_budget(&mut self, tokens: u64, filled: u32) {
        let budget = self.memory.view(0).reply_budget;
        budget.set(tokens, u64::from(filled));
        self.kernel.set_reply_budget(budget);
    }

    fn packet(&mut self, frame: &[u8]) -> Result<(), String> {
        let fragments_before = fragments(&self.memory);
        let nat_before = nat(&self.memory);
        let before = self.kernel.now();
        // The short way of `nat` looks at the slot of a flow once in a tick only, and steps take slots away within one.
        let (action, bytes) = self.kernel.run_without_short_way(frame, |destination| destination.state().mode.is_nat());
        let after = self.kernel.now();
        let counted = Counted::of(&self.kernel);
        let kernel = Seen {
            outcome: Outcome { action, bytes, books: counted.books.since(&self.kernel_counted.books) },
            destinations: counted.destinations_since(&self.kernel_counted),
            flows: flows(&self.kernel),
            fragments: fragments(&self.kernel),
            nat: nat(&self.kernel),
            budget: words(&self.kernel.reply_budget(self.cpu)),
        };
        self.kernel_counted = counted;
        let flows_before = flows(&self.memory);
        self.tally.packet(&kernel.outcome, &flows_before, &kernel.flows, before != after);
        let budget = words(self.memory.view(0).reply_budget);
        let mut difference = None;
        for clock in Move::all(before, after) {
            restore(&self.memory, &flows_before, &fragments_before, budget);
            restore_nat(&self.memory, &nat_before);
            match compare(&self.packet_in_memory(frame, clock), &kernel) {
                Ok(()) => return Ok(()),
                Err(message) => difference.get_or_insert(format!("at tick {clock:?}: {message}")),
            };
        }
        Err(difference.unwrap_or_default())
    }

    /// Always the long way, whereas the kernel takes the short one where it can: the two must come to the same.
    fn packet_in_memory(&mut self, frame: &[u8], clock: Move) -> Seen {
        for destination in self.memory.tables().destinations {
            destination.void_steady();
        }
        let view = self.memory.view(clock.late());
        let (action, bytes) = self.memory.run_in(&Moving::new(view, clock), frame);
        let counted = Counted::of(&self.memory);
        let seen = Seen {
            outcome: Outcome { action, bytes, books: counted.books.since(&self.memory_counted.books) },
            destinations: counted.destinations_since(&self.memory_counted),
            flows: flows(&self.memory),
            fragments: fragments(&self.memory),
            nat: nat(&self.memory),
            budget: words(self.memory.view(0).reply_budget),
        };
        self.memory_counted = counted;
        seen
    }
}

fn words(budget: &ReplyBudget) -> [u64; 2] {
    [budget.tokens.get(), budget.refilled.get()]
}

fn flows(machine: &impl Machine) -> Flows {
    machine.tables().flows.iter().flat_map(|bucket| &bucket.entries).map(FlowEntry::load).collect()
}

fn fragments(machine: &impl Machine) -> Flows {
    machine.tables().fragments.iter().flat_map(|bucket| &bucket.entries).map(FlowEntry::load).collect()
}

/// A slot of translated flows: its word, and what its record says of the ends and of the connection.
type Slots = Vec<(u64, Option<(Translated, (bool, bool), bool)>)>;

/// Translated flows.
fn nat(machine: &impl Machine) -> Slots {
    let tables = machine.tables();
    let words = tables.nat_buckets.iter().flat_map(|bucket| &bucket.words);
    let records = tables.nat_slots.iter().flat_map(|bucket| &bucket.records);
    let slots = words.zip(records).map(|(word, record)| {
        let said = Translated {
            client: std::array::from_fn(|i| record.client(i)),
            vip: std::array::from_fn(|i| record.vip(i)),
            ports: record.ports(),
            protocol: if record.is(Protocol::Udp) { Protocol::Udp } else { Protocol::Tcp },
            source: record.source(),
            destination: record.destination().identity_bits(),
            hop: record.hop(),
        };
        let bits = word.load();
        // What a slot says that is not used does not matter.
        (bits, (bits != 0).then_some((said, record.finished(), record.is_answered())))
    });
    slots.collect()
}

/// Takes back what a packet did to them in memory.
fn restore_nat(memory: &InMemory, slots: &Slots) {
    let tables = memory.tables();
    let words = tables.nat_buckets.iter().flat_map(|bucket| &bucket.words);
    let records = tables.nat_slots.iter().flat_map(|bucket| &bucket.records);
    for ((word, record), (bits, said)) in words.zip(records).zip(slots) {
        if let Some((said, (client, backend), is_answered)) = said {
            record.set(said);
            record.set_finished(*client, *backend);
            if *is_answered {
                record.set_answered();
            }
        }
        word.store(*bits);
    }
}

/// Takes back what a packet did in memory, but for the counters, of which only differences matter.
fn restore(memory: &InMemory, flows: &Flows, fragments: &Flows, budget: [u64; 2]) {
    let tables = memory.tables();
    let entries = tables.flows.iter().flat_map(|bucket| &bucket.entries);
    entries.zip(flows).for_each(|(entry, (tag, word))| entry.store(*tag, *word));
    let entries = tables.fragments.iter().flat_map(|bucket| &bucket.entries);
    entries.zip(fragments).for_each(|(entry, (tag, word))| entry.store(*tag, *word));
    memory.view(0).reply_budget.set(budget[0], budget[1]);
}

fn compare(memory: &Seen, kernel: &Seen) -> Result<(), String> {
    if memory == kernel {
        return Ok(());
    }
    same_outcome(&memory.outcome, &kernel.outcome).map_err(|message| format!("memory first, {message}"))?;
    let mut destinations = memory.destinations.iter().zip(&kernel.destinations).enumerate();
    if let Some((index, (memory, kernel))) = destinations.find(|(_, (memory, kernel))| memory != kernel) {
        let what = format!("destination {} [packets, bytes, new, closed]", index + 1);
        return Err(format!("{what}:\n  memory {memory:?}\n  kernel {kernel:?}"));
    }
    same_flows(&memory.flows, &kernel.flows)?;
    same_flows(&memory.fragments, &kernel.fragments)?;
    if let Some((index, (memory, kernel))) = memory.nat.iter().zip(&kernel.nat).enumerate().find(|(_, (a, b))| a != b) {
        return Err(format!("slot {index} of translated flows:\n  memory {memory:?}\n  kernel {kernel:?}"));
    }
    Err(format!("budget [tokens, filled]:\n  memory {:?}\n  kernel {:?}", memory.budget, kernel.budget))
}

fn same_flows(memory: &Flows, kernel: &Flows) -> Result<(), String> {
    let differing = memory.iter().zip(kernel).enumerate().filter(|(_, (memory, kernel))| memory != kernel);
    let lines = differing.map(|(index, (memory, kernel))| {
        let (bucket, entry) = (index / BUCKET_ENTRIES, index % BUCKET_ENTRIES);
        format!("\n  bucket {bucket}, entry {entry}: memory {}, kernel {}", describe(memory), describe(kernel))
    });
    let lines = lines.collect::<String>();
    if lines.is_empty() { Ok(()) } else { Err(format!("the flow tables differ:{lines}")) }
}

fn describe((tag, word): &(u64, FlowWord)) -> String {
    let Some(state) = word.state() else { return "free".to_owned() };
    let seen = word.to_bits() as u32 & TICK_MASK;
    format!("{tag:016x} → {}.{} {} at {seen}", word.destination(), word.generation(), state.name())
}
