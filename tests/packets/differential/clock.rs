//! The clock. That of the kernel goes on while a step runs, so it is read before and after: if it has not moved, memory
//! runs the step at that very tick. If it has, the program read some ticks before and some after the move, and the step is
//! run in memory for every place where the move can have been: one of them has to come to what the kernel came to.

use std::cell::Cell;

use lb_common::{
    abi::{
        ClientBucket, Control, Destination, DestinationCounters, Egress, LimitCounters, ListBound, NatBucket, NatSlots,
        NodeCounters, PassiveCounters, PoolAddress, QuicBucket, ReplyBudget, Score, Service, ServiceBucket,
        ServiceLimits, Tunnel, Word32, Word64,
    },
    environment::Environment,
    features::Features,
    flow::{FlowBucket, TICK_MASK},
    hash::HashKey,
    memory::View,
    nat::scratch::Scratch,
    quic::QuicLb,
};

/// When the clock moved: the first readings give one tick, the others a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    early: u32,
    late: u32,
    early_readings: u32,
}

/// A packet makes fewer readings of the clock than this; more only repeat what was tried.
const READINGS: u32 = 16;

impl Move {
    /// Every way in which the clock can have come from one tick to another during a packet. It jumps at most once: between
    /// two jumps there is a whole tick, and a program takes a millionth of that.
    pub(crate) fn all(before: u32, after: u32) -> impl Iterator<Item = Self> {
        let ticks = after.wrapping_sub(before) & TICK_MASK;
        let still = (0..=ticks).map(move |tick| Self::at(before.wrapping_add(tick)));
        let moved = (0..=ticks).flat_map(move |early| {
            (early + 1..=ticks).flat_map(move |late| {
                (1..READINGS).map(move |early_readings| Self {
                    early: before.wrapping_add(early),
                    late: before.wrapping_add(late),
                    early_readings,
                })
            })
        });
        still.chain(moved)
    }

    fn at(tick: u32) -> Self {
        Self { early: tick, late: tick, early_readings: 0 }
    }

    /// The tick of most readings, to make a view with.
    pub(crate) fn late(self) -> u32 {
        self.late
    }
}

/// Tables with a clock that moves between two readings.
pub(crate) struct Moving<'a> {
    view: View<'a>,
    clock: Move,
    readings: Cell<u32>,
}

impl<'a> Moving<'a> {
    pub(crate) fn new(view: View<'a>, clock: Move) -> Self {
        Self { view, clock, readings: Cell::new(0) }
    }
}

impl Environment for Moving<'_> {
    fn features(&self) -> Features {
        self.view.features()
    }

    fn limits(&self, service: u32) -> Option<&ServiceLimits> {
        self.view.limits(service)
    }

    fn list_bound(&self, index: u32) -> Option<&ListBound> {
        self.view.list_bound(index)
    }

    fn client_bucket(&self, index: u32) -> Option<&ClientBucket> {
        self.view.client_bucket(index)
    }

    fn client_mask(&self) -> u32 {
        self.view.client_mask()
    }

    fn passive_counters(&self, id: u32) -> Option<&PassiveCounters> {
        self.view.passive_counters(id)
    }

    fn limit_counters(&self, service: u32) -> Option<&LimitCounters> {
        self.view.limit_counters(service)
    }

    fn now(&self) -> u32 {
        let reading = self.readings.replace(self.readings.get() + 1);
        let now = if reading < self.clock.early_readings { self.clock.early } else { self.clock.late };
        now & TICK_MASK
    }

    fn control(&self) -> Option<&Control> {
        self.view.control()
    }

    fn service_bucket(&self, index: u32) -> Option<&ServiceBucket> {
        self.view.service_bucket(index)
    }

    fn service(&self, index: u32) -> Option<&Service> {
        self.view.service(index)
    }

    fn slot(&self, index: u32) -> Option<u32> {
        self.view.slot(index)
    }

    fn destination(&self, id: u32) -> Option<&Destination> {
        self.view.destination(id)
    }

    fn tunnel(&self, index: u32) -> Option<&Tunnel> {
        self.view.tunnel(index)
    }

    fn egress(&self, index: u32) -> Option<&Egress> {
        self.view.egress(index)
    }

    fn flow_bucket(&self, index: u32) -> Option<&FlowBucket> {
        self.view.flow_bucket(index)
    }

    fn fragment_bucket(&self, index: u32) -> Option<&FlowBucket> {
        self.view.fragment_bucket(index)
    }

    fn fragment_mask(&self) -> u32 {
        self.view.fragment_mask()
    }

    fn fragment_timeout(&self) -> u32 {
        self.view.fragment_timeout()
    }

    fn flow_mask(&self) -> u32 {
        self.view.flow_mask()
    }

    fn hash_key(&self) -> &HashKey {
        self.view.hash_key()
    }

    fn may_be_vip(&self, place: u32) -> bool {
        self.view.may_be_vip(place)
    }

    fn may_be_backend(&self, place: u32) -> bool {
        self.view.may_be_backend(place)
    }

    fn nat_bucket(&self, index: u32) -> Option<&NatBucket> {
        self.view.nat_bucket(index)
    }

    fn nat_slots(&self, index: u32) -> Option<&NatSlots> {
        self.view.nat_slots(index)
    }

    fn nat_mask(&self) -> u32 {
        self.view.nat_mask()
    }

    fn backend_set(&self, index: u32) -> Option<&Word64> {
        self.view.backend_set(index)
    }

    fn scratch(&self) -> Option<&Scratch> {
        self.view.scratch()
    }

    fn pool_address(&self, index: u32) -> Option<&PoolAddress> {
        self.view.pool_address(index)
    }

    fn quic_configuration(&self, index: u32) -> Option<impl std::ops::Deref<Target = QuicLb> + '_> {
        self.view.quic_configuration(index)
    }

    fn quic_bucket(&self, index: u32) -> Option<&QuicBucket> {
        self.view.quic_bucket(index)
    }

    fn quic_mask(&self) -> u32 {
        self.view.quic_mask()
    }

    fn ticks_per_second(&self) -> u32 {
        self.view.ticks_per_second()
    }

    fn interface_mtu(&self, ifindex: u32) -> Option<u32> {
        self.view.interface_mtu(ifindex)
    }

    fn ingress(&self) -> u32 {
        self.view.ingress()
    }

    fn node_counters(&self) -> Option<&NodeCounters> {
        Some(self.view.node_counters)
    }

    fn destination_counters(&self, id: u32) -> Option<&DestinationCounters> {
        Environment::destination_counters(&self.view, id)
    }

    fn score(&self, id: u32) -> Option<&Score> {
        self.view.score(id)
    }

    fn turn(&self, service: u32) -> Option<&Word32> {
        self.view.turn(service)
    }

    fn random(&self) -> u32 {
        self.view.random()
    }

    fn reply_budget(&self) -> Option<&ReplyBudget> {
        Some(self.view.reply_budget)
    }
}
