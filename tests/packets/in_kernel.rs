//! The loaded program, run by `BPF_PROG_TEST_RUN`.

use evenkeel::dataplane::kernel::{LoadOptions, Loaded};
use lb_common::{
    abi::{Destination, DestinationCounters, DestinationState, NodeCounters, ReplyBudget, SlotRange},
    features::Features,
    flow::FlowWord,
    memory::{Constants, Sizes, Slices},
    reply::REPLIES_PER_SECOND,
    steady,
};

use crate::{
    limits,
    machine::{Action, FRAGMENT_TIMEOUT, INGRESS, Machine, PassiveCounts, hash_key},
};

/// The real program with maps of its own, which end with this value.
pub(crate) struct InKernel {
    loaded: Loaded,
}

impl InKernel {
    /// `None` where programs cannot be loaded because this is not root.
    pub(crate) fn new(sizes: Sizes) -> Option<Self> {
        Self::specialised(sizes, Features::ALL)
    }

    /// The same with a program that has no other features than these.
    pub(crate) fn specialised(sizes: Sizes, features: Features) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: loading the program needs root");
            return None;
        }
        let options = LoadOptions {
            sizes,
            hash_key: hash_key(),
            fragment_timeout: FRAGMENT_TIMEOUT,
            pins: None,
            features,
            flows_writable: true,
            one_buffer: false,
        };
        Some(Self { loaded: Loaded::load(&options).expect("the kernel takes the program") })
    }

    /// The budget for replies of a CPU.
    pub(crate) fn reply_budget(&self, cpu: usize) -> ReplyBudget {
        self.loaded.reply_budgets().expect("the budgets are readable").swap_remove(cpu)
    }

    /// Gives every CPU the same budget for replies.
    pub(crate) fn set_reply_budget(&mut self, budget: &ReplyBudget) {
        self.loaded.set_reply_budgets(budget).expect("the budgets are writable");
    }

    /// As [`Machine::run`], but packets to some destinations take the long way.
    pub(crate) fn run_without_short_way(
        &mut self,
        frame: &[u8],
        to: impl Fn(&Destination) -> bool,
    ) -> (Action, Vec<u8>) {
        let tables = self.loaded.tables();
        steady::publish_all(&tables);
        tables.destinations.iter().filter(|destination| to(destination)).for_each(Destination::void_steady);
        self.run_here(frame)
    }

    /// [`Machine::run`], for several CPUs at once.
    pub(crate) fn run_here(&self, frame: &[u8]) -> (Action, Vec<u8>) {
        let (action, bytes) = self.loaded.run(frame, Some(INGRESS)).expect("the kernel runs the program");
        let action = match action {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Transmit,
            4 => Action::Redirect,
            other => panic!("XDP action {other}"),
        };
        (action, bytes)
    }
}

impl Machine for InKernel {
    const NAME: &'static str = "kernel";
    /// `BPF_PROG_TEST_RUN` wants an Ethernet header.
    const SHORTEST: usize = 14;

    fn reset(&mut self) {
        // Rows that are repeated for every length of a packet are answered more often than the node would in the time.
        let full = ReplyBudget::default();
        full.set(u64::from(REPLIES_PER_SECOND), 0);
        self.set_reply_budget(&full);
        let tables = self.loaded.tables();
        for entry in tables.flows.iter().chain(tables.fragments).flat_map(|bucket| &bucket.entries) {
            entry.store(0, FlowWord::EMPTY);
        }
        for word in tables.nat_buckets.iter().flat_map(|bucket| &bucket.words) {
            word.store(0);
        }
        for destination in tables.destinations {
            destination.set_state(DestinationState::default());
            destination.set_next_hop(lb_common::abi::NextHop::default());
        }
        for slot in tables.slots {
            slot.store(0);
        }
        for word in tables.quic_servers.iter().flat_map(|bucket| &bucket.words) {
            word.store(0);
        }
        limits::reset(self);
        for egress in tables.egress {
            egress.set([0; 6], 0, 0);
        }
        for service in tables.services {
            service.set_slots(SlotRange::default());
            service.clear();
        }
    }

    fn tables(&self) -> Slices<'_> {
        self.loaded.tables()
    }

    fn constants(&self) -> Constants {
        self.loaded.constants()
    }

    fn publish_filter(&mut self) {
        self.loaded.publish_filter().expect("the program's filter is writable");
    }

    fn set_device(&mut self, egress: u32, ifindex: u32) {
        self.loaded.set_device(egress, ifindex).expect("the loopback can stand in for any device");
    }

    fn run(&mut self, frame: &[u8]) -> (Action, Vec<u8>) {
        // As whoever writes tables does.
        steady::publish_all(&self.loaded.tables());
        self.run_here(frame)
    }

    fn now(&self) -> u32 {
        self.loaded.now().expect("the clock program runs")
    }

    /// The kernel's clock cannot be set, so every flow grows older instead.
    fn advance(&mut self, ticks: u32) {
        let now = self.now();
        let tables = self.loaded.tables();
        for entry in tables.flows.iter().chain(tables.fragments).flat_map(|bucket| &bucket.entries) {
            let word = entry.word();
            if let Some(state) = word.state() {
                let seen = now.wrapping_sub(word.idle(now)).wrapping_sub(ticks);
                entry.refresh(word.refreshed(state, seen));
            }
        }
        limits::age(self, ticks);
        for place in tables.nat_buckets.iter().flat_map(|bucket| &bucket.words) {
            let word = FlowWord::from_bits(place.load());
            if let Some(state) = word.state() {
                let seen = now.wrapping_sub(word.idle(now)).wrapping_sub(ticks);
                place.store(word.refreshed(state, seen).to_bits());
            }
        }
    }

    fn node_counters(&self) -> NodeCounters {
        // All ids: tests also write states that the daemon would not.
        let sum = self.loaded.own_counters().expect("the counters are readable");
        let all = self.loaded.tables().destinations.len() as u32;
        self.loaded.add_sent(&sum, all).expect("the counters are readable");
        sum
    }

    fn passive_counters(&self, id: u32) -> PassiveCounts {
        self.loaded.passive_counters(id).expect("the counters are readable").words()
    }

    fn destination_counters(&self, id: u32) -> DestinationCounters {
        self.loaded.destination_counters(id).expect("the counters are readable")
    }
}
