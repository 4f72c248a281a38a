//! The packet function in this process, over vectors.

use std::collections::BTreeSet;

use evenkeel::dataplane::kernel::Clock;
use lb_common::{
    abi::{DestinationCounters, NodeCounters},
    account,
    environment::Environment,
    features::Features,
    flow::TICK_MASK,
    memory::{Constants, Packet, Sizes, Slices, Tables, View},
    packet, steady,
    verdict::{DropReason, Verdict},
};

use crate::machine::{Action, FRAGMENT_TIMEOUT, INGRESS, Machine, PassiveCounts, hash_key};

/// Shortly before the clock of 24 bits begins again, so that time-outs reach over its end.
const START: u32 = TICK_MASK - 50;

/// Tables in vectors and a clock that is stepped.
pub(crate) struct InMemory {
    tables: Tables,
    /// Egress indices that have a device; the kernel's device map in the program's place.
    devices: BTreeSet<u32>,
    sizes: Sizes,
    now: u32,
    constants: Constants,
}

impl InMemory {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self::specialised(sizes, Features::ALL)
    }

    /// The same with no other features than these.
    pub(crate) fn specialised(sizes: Sizes, features: Features) -> Self {
        let clock = Clock::of_this_kernel().expect("the coarse clock's resolution is readable");
        let constants = Constants {
            hash_key: hash_key(),
            ticks_per_second: clock.ticks_per_second(),
            fragment_timeout: clock.ticks(FRAGMENT_TIMEOUT),
            features,
        };
        Self { tables: Tables::new(sizes), devices: BTreeSet::new(), sizes, now: START, constants }
    }

    /// What the packet function sees at a tick.
    pub(crate) fn view(&self, now: u32) -> View<'_> {
        self.tables.view(self.constants, now, INGRESS)
    }

    /// Runs a frame where the tables are those of [`Self::view`].
    pub(crate) fn run_in(&self, env: &impl Environment, frame: &[u8]) -> (Action, Vec<u8>) {
        let mut packet = Packet::new(frame);
        let mut outcome = packet::process(env, &mut packet);
        // What `bpf_redirect_map` says of an empty place, and what the program's entry point makes of it.
        if matches!(outcome.verdict, Verdict::Redirect(egress) if !self.devices.contains(&egress)) {
            outcome = Verdict::Drop(DropReason::Egress).into();
        }
        account::book(env, outcome, frame.len() as u64);
        let action = match outcome.verdict {
            Verdict::Transmit => Action::Transmit,
            Verdict::Redirect(_) | Verdict::Return(_) => Action::Redirect,
            Verdict::Pass(_) => Action::Pass,
            Verdict::Drop(_) => Action::Drop,
        };
        (action, packet.into_bytes())
    }
}

impl Machine for InMemory {
    const NAME: &'static str = "memory";
    const SHORTEST: usize = 0;

    fn reset(&mut self) {
        self.tables = Tables::new(self.sizes);
        self.now = START;
    }

    fn tables(&self) -> Slices<'_> {
        self.tables.slices()
    }

    fn constants(&self) -> Constants {
        self.constants
    }

    fn publish_filter(&mut self) {}

    fn set_device(&mut self, egress: u32, _: u32) {
        self.devices.insert(egress);
    }

    fn run(&mut self, frame: &[u8]) -> (Action, Vec<u8>) {
        // As whoever writes tables does.
        steady::publish_all(&self.tables.slices());
        self.run_in(&self.view(self.now), frame)
    }

    fn now(&self) -> u32 {
        self.now & TICK_MASK
    }

    fn advance(&mut self, ticks: u32) {
        self.now += ticks;
    }

    fn node_counters(&self) -> NodeCounters {
        self.tables.node_counters()
    }

    fn passive_counters(&self, id: u32) -> PassiveCounts {
        self.tables.passive_counters()[id as usize].words()
    }

    fn destination_counters(&self, id: u32) -> DestinationCounters {
        self.tables.destination_counters()[id as usize].copy()
    }
}
