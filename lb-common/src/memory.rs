//! Tables and packets in user space: the same packet function as in the kernel, over slices.
//!
//! [`Slices`] are tables wherever they lie: in vectors ([`Tables`]) or in mappings of the kernel's maps. [`View`] adds what a
//! program has besides tables and implements [`Environment`]. [`Packet`] is a frame in a buffer.

use std::{cell::RefCell, ops::Deref};

use crate::{
    abi::{
        ClientBucket, Control, Destination, DestinationCounters, Egress, LimitCounters, ListBound, MAX_EGRESS,
        MAX_POOL, NatBucket, NatSlots, NodeCounters, PassiveCounters, PoolAddress, QUIC_PLACES, QuicBucket, QuicRecord,
        ReplyBudget, Score, Service, ServiceBucket, ServiceLimits, Tunnel, Word8, Word32, Word64,
    },
    environment::Environment,
    features::Features,
    flow::FlowBucket,
    frame::{Frame, Window},
    hash::{HashKey, finish},
    nat::{hairpin, scratch::Scratch},
    quic::QuicLb,
    service::filter::{self, FILTER_BYTES},
};

/// The tables.
#[derive(Clone, Copy, Debug)]
pub struct Slices<'a> {
    /// The control record.
    pub control: &'a Control,
    /// Which addresses may be VIPs ([`crate::service::filter`]).
    pub vip_filter: &'a [Word8],
    /// Buckets of the service tables.
    pub service_buckets: &'a [ServiceBucket],
    /// Services by index; the first is not used.
    pub services: &'a [Service],
    /// Slots of all services.
    pub slots: &'a [Word32],
    /// Destinations by id; the first is not used.
    pub destinations: &'a [Destination],
    /// Outer headers, two for each destination.
    pub tunnels: &'a [Tunnel],
    /// Interfaces that lead to backends; the first is not used.
    pub egress: &'a [Egress],
    /// The flow table: a power of two of buckets. Not to be written by user space where it is the kernel's.
    pub flows: &'a [FlowBucket],
    /// Translated flows: a power of two of buckets. Not to be written by user space where it is the kernel's.
    pub nat_buckets: &'a [NatBucket],
    /// Their slots.
    pub nat_slots: &'a [NatSlots],
    /// Source addresses of `full-nat`: [`MAX_POOL`] for each family.
    pub nat_pool: &'a [PoolAddress],
    /// The set of backends ([`crate::nat::hairpin`]).
    pub backend_set: &'a [Word64],
    /// The table of fragments: a power of two of buckets.
    pub fragments: &'a [FlowBucket],
    /// Configurations of QUIC-LB, by [`quic_index`](crate::abi::quic_index).
    pub quic_configurations: &'a [QuicRecord],
    /// Their server ids: a power of two of buckets.
    pub quic_servers: &'a [QuicBucket],
    /// What destinations have to do, by id.
    pub scores: &'a [Score],
    /// Limits by service.
    pub limits: &'a [ServiceLimits],
    /// Bounds of all prefix lists ([`crate::limits::list`]).
    pub list_bounds: &'a [ListBound],
    /// Client prefixes: a power of two of buckets.
    pub clients: &'a [ClientBucket],
}

/// Sizes of tables in memory.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Buckets for two service tables.
    pub service_buckets: usize,
    /// Services, the unused first one included.
    pub services: usize,
    /// Slots.
    pub slots: usize,
    /// Destinations, the unused first one included.
    pub destinations: usize,
    /// Flow buckets, a power of two.
    pub flow_buckets: usize,
    /// Buckets of translated flows, a power of two.
    pub nat_buckets: usize,
    /// Buckets of the table of fragments, a power of two.
    pub fragment_buckets: usize,
    /// Buckets of the table of server ids, a power of two.
    pub quic_buckets: usize,
    /// Bounds of prefix lists.
    pub list_bounds: usize,
    /// Buckets of client prefixes, a power of two.
    pub client_buckets: usize,
}

/// Tables in vectors.
#[derive(Debug)]
pub struct Tables {
    control: Box<Control>,
    vip_filter: Vec<Word8>,
    service_buckets: Vec<ServiceBucket>,
    services: Vec<Service>,
    slots: Vec<Word32>,
    destinations: Vec<Destination>,
    tunnels: Vec<Tunnel>,
    egress: Vec<Egress>,
    flows: Vec<FlowBucket>,
    nat_buckets: Vec<NatBucket>,
    nat_slots: Vec<NatSlots>,
    nat_pool: Vec<PoolAddress>,
    backend_set: Vec<Word64>,
    fragments: Vec<FlowBucket>,
    quic_configurations: Vec<QuicRecord>,
    quic_servers: Vec<QuicBucket>,
    scores: Vec<Score>,
    limits: Vec<ServiceLimits>,
    list_bounds: Vec<ListBound>,
    clients: Vec<ClientBucket>,
    limit_counters: Vec<LimitCounters>,
    turns: Vec<Word32>,
    random: Word64,
    node_counters: NodeCounters,
    destination_counters: Vec<DestinationCounters>,
    passive_counters: Vec<PassiveCounters>,
    reply_budget: ReplyBudget,
    scratch: Scratch,
}

fn zeroed<T: Default>(count: usize) -> Vec<T> {
    std::iter::repeat_with(T::default).take(count).collect()
}

impl Tables {
    /// Empty tables.
    #[must_use]
    pub fn new(sizes: Sizes) -> Self {
        Self {
            control: Box::default(),
            vip_filter: zeroed(FILTER_BYTES),
            service_buckets: zeroed(sizes.service_buckets),
            services: zeroed(sizes.services),
            slots: zeroed(sizes.slots),
            destinations: zeroed(sizes.destinations),
            tunnels: zeroed(2 * sizes.destinations),
            egress: zeroed(MAX_EGRESS as usize),
            flows: zeroed(sizes.flow_buckets),
            nat_buckets: zeroed(sizes.nat_buckets),
            nat_slots: zeroed(sizes.nat_buckets),
            nat_pool: zeroed(2 * MAX_POOL as usize),
            backend_set: zeroed(hairpin::size_for(sizes.destinations)),
            fragments: zeroed(sizes.fragment_buckets),
            quic_configurations: zeroed(QUIC_PLACES as usize),
            quic_servers: zeroed(sizes.quic_buckets),
            scores: zeroed(sizes.destinations),
            limits: zeroed(sizes.services),
            list_bounds: zeroed(sizes.list_bounds),
            clients: zeroed(sizes.client_buckets),
            limit_counters: zeroed(sizes.services),
            turns: zeroed(sizes.services),
            random: Word64::new(0),
            node_counters: NodeCounters::default(),
            destination_counters: zeroed(sizes.destinations),
            passive_counters: zeroed(sizes.destinations),
            reply_budget: ReplyBudget::default(),
            scratch: Scratch::default(),
        }
    }

    /// The tables.
    #[must_use]
    pub fn slices(&self) -> Slices<'_> {
        Slices {
            control: &self.control,
            vip_filter: &self.vip_filter,
            service_buckets: &self.service_buckets,
            services: &self.services,
            slots: &self.slots,
            destinations: &self.destinations,
            tunnels: &self.tunnels,
            egress: &self.egress,
            flows: &self.flows,
            nat_buckets: &self.nat_buckets,
            nat_slots: &self.nat_slots,
            nat_pool: &self.nat_pool,
            backend_set: &self.backend_set,
            fragments: &self.fragments,
            quic_configurations: &self.quic_configurations,
            quic_servers: &self.quic_servers,
            scores: &self.scores,
            limits: &self.limits,
            list_bounds: &self.list_bounds,
            clients: &self.clients,
        }
    }

    /// What a program sees of them.
    #[must_use]
    pub fn view(&self, constants: Constants, now: u32, ingress: u32) -> View<'_> {
        View {
            tables: self.slices(),
            constants,
            now,
            ingress,
            node_counters: &self.node_counters,
            destination_counters: &self.destination_counters,
            passive_counters: &self.passive_counters,
            reply_budget: &self.reply_budget,
            scratch: &self.scratch,
            turns: &self.turns,
            limit_counters: &self.limit_counters,
            random: &self.random,
        }
    }

    /// The counters of the one CPU that there is, with what went to destinations.
    #[must_use]
    pub fn node_counters(&self) -> NodeCounters {
        let sum = self.node_counters.copy();
        self.destination_counters.iter().for_each(|destination| sum.add_sent(destination));
        sum
    }

    /// What was refused, by service.
    #[must_use]
    pub fn limit_counters(&self) -> &[LimitCounters] {
        &self.limit_counters
    }

    /// What was seen of the destinations' connections.
    #[must_use]
    pub fn passive_counters(&self) -> &[PassiveCounters] {
        &self.passive_counters
    }

    /// The counters of the destinations.
    #[must_use]
    pub fn destination_counters(&self) -> &[DestinationCounters] {
        &self.destination_counters
    }
}

/// What the kernel's program has as read-only globals.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// Key of the flow hash.
    pub hash_key: HashKey,
    /// Ticks in a second.
    pub ticks_per_second: u32,
    /// Ticks after which the first part of a datagram is forgotten.
    pub fragment_timeout: u32,
    /// What the program has in it.
    pub features: Features,
}

/// What a CPU has for itself, for those who ask the tables outside the data path: nothing in it is anybody's afterwards.
#[derive(Debug, Default)]
pub struct Own {
    /// Its counters.
    pub node_counters: NodeCounters,
    /// Its budget for replies, which is empty at first.
    pub reply_budget: ReplyBudget,
    /// Where its random numbers are.
    pub random: Word64,
    /// Its memory for a packet that is translated.
    pub scratch: Scratch,
}

/// Tables, constants, the clock and where a packet came from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The tables.
    pub tables: Slices<'a>,
    /// The constants.
    pub constants: Constants,
    /// The clock in ticks.
    pub now: u32,
    /// Interface of arrival.
    pub ingress: u32,
    /// This CPU's counters.
    pub node_counters: &'a NodeCounters,
    /// This CPU's counters by destination; shorter than the destinations where nobody counts.
    pub destination_counters: &'a [DestinationCounters],
    /// What this CPU saw of connections, by destination; shorter than the destinations where nobody counts.
    pub passive_counters: &'a [PassiveCounters],
    /// This CPU's budget for replies.
    pub reply_budget: &'a ReplyBudget,
    /// This CPU's memory for a packet that is translated.
    pub scratch: &'a Scratch,
    /// This CPU's turns by service.
    pub turns: &'a [Word32],
    /// What this CPU refused, by service; shorter than the services where nobody counts.
    pub limit_counters: &'a [LimitCounters],
    /// Where its random numbers are.
    pub random: &'a Word64,
}

impl<'a> View<'a> {
    /// Of tables outside the data path: nobody counts but `own`.
    #[must_use]
    pub fn outside(tables: Slices<'a>, constants: Constants, now: u32, own: &'a Own) -> Self {
        Self {
            tables,
            constants,
            now,
            ingress: 0,
            node_counters: &own.node_counters,
            destination_counters: &[],
            passive_counters: &[],
            reply_budget: &own.reply_budget,
            scratch: &own.scratch,
            turns: &[],
            limit_counters: &[],
            random: &own.random,
        }
    }
}

impl Environment for View<'_> {
    fn features(&self) -> Features {
        self.constants.features
    }

    fn control(&self) -> Option<&Control> {
        Some(self.tables.control)
    }

    fn may_be_vip(&self, place: u32) -> bool {
        self.tables.vip_filter.get(place as usize).is_some_and(|byte| byte.load() & filter::VIP != 0)
    }

    fn may_be_backend(&self, place: u32) -> bool {
        self.tables.vip_filter.get(place as usize).is_some_and(|byte| byte.load() & filter::BACKEND != 0)
    }

    fn nat_bucket(&self, index: u32) -> Option<&NatBucket> {
        self.tables.nat_buckets.get(index as usize)
    }

    fn nat_slots(&self, index: u32) -> Option<&NatSlots> {
        self.tables.nat_slots.get(index as usize)
    }

    fn nat_mask(&self) -> u32 {
        self.tables.nat_buckets.len() as u32 - 1
    }

    fn backend_set(&self, index: u32) -> Option<&Word64> {
        let set = self.tables.backend_set;
        set.get(index as usize & (set.len() - 1))
    }

    fn scratch(&self) -> Option<&Scratch> {
        Some(self.scratch)
    }

    fn pool_address(&self, index: u32) -> Option<&PoolAddress> {
        self.tables.nat_pool.get(index as usize)
    }

    fn quic_configuration(&self, index: u32) -> Option<impl Deref<Target = QuicLb> + '_> {
        self.tables.quic_configurations.get(index as usize).map(|record| Box::new(record.load()))
    }

    fn quic_bucket(&self, index: u32) -> Option<&QuicBucket> {
        self.tables.quic_servers.get(index as usize)
    }

    fn quic_mask(&self) -> u32 {
        self.tables.quic_servers.len() as u32 - 1
    }

    fn service_bucket(&self, index: u32) -> Option<&ServiceBucket> {
        self.tables.service_buckets.get(index as usize)
    }

    fn service(&self, index: u32) -> Option<&Service> {
        self.tables.services.get(index as usize)
    }

    fn slot(&self, index: u32) -> Option<u32> {
        self.tables.slots.get(index as usize).map(Word32::load)
    }

    fn destination(&self, id: u32) -> Option<&Destination> {
        self.tables.destinations.get(id as usize)
    }

    fn tunnel(&self, index: u32) -> Option<&Tunnel> {
        self.tables.tunnels.get(index as usize)
    }

    fn egress(&self, index: u32) -> Option<&Egress> {
        self.tables.egress.get(index as usize)
    }

    fn flow_bucket(&self, index: u32) -> Option<&FlowBucket> {
        self.tables.flows.get(index as usize)
    }

    fn flow_mask(&self) -> u32 {
        self.tables.flows.len() as u32 - 1
    }

    fn fragment_bucket(&self, index: u32) -> Option<&FlowBucket> {
        self.tables.fragments.get(index as usize)
    }

    fn fragment_mask(&self) -> u32 {
        self.tables.fragments.len() as u32 - 1
    }

    fn fragment_timeout(&self) -> u32 {
        self.constants.fragment_timeout
    }

    fn hash_key(&self) -> &HashKey {
        &self.constants.hash_key
    }

    fn now(&self) -> u32 {
        self.now & crate::flow::TICK_MASK
    }

    fn ticks_per_second(&self) -> u32 {
        self.constants.ticks_per_second
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn score(&self, id: u32) -> Option<&Score> {
        self.tables.scores.get(id as usize)
    }

    fn limits(&self, service: u32) -> Option<&ServiceLimits> {
        self.tables.limits.get(service as usize)
    }

    fn list_bound(&self, index: u32) -> Option<&ListBound> {
        self.tables.list_bounds.get(index as usize)
    }

    fn client_bucket(&self, index: u32) -> Option<&ClientBucket> {
        self.tables.clients.get(index as usize)
    }

    fn client_mask(&self) -> u32 {
        self.tables.clients.len() as u32 - 1
    }

    fn limit_counters(&self, service: u32) -> Option<&LimitCounters> {
        self.limit_counters.get(service as usize)
    }

    fn turn(&self, service: u32) -> Option<&Word32> {
        self.turns.get(service as usize)
    }

    /// Steele, Lea and Flood's SplitMix64 (OOPSLA 2014).
    fn random(&self) -> u32 {
        self.random.add(0x9e37_79b9_7f4a_7c15);
        (finish(self.random.load()) >> 32) as u32
    }

    /// As the interfaces say that lead to backends.
    fn interface_mtu(&self, ifindex: u32) -> Option<u32> {
        self.tables.egress.iter().find(|egress| egress.ifindex() == ifindex).map(Egress::mtu)
    }

    fn node_counters(&self) -> Option<&NodeCounters> {
        Some(self.node_counters)
    }

    fn destination_counters(&self, id: u32) -> Option<&DestinationCounters> {
        self.destination_counters.get(id as usize)
    }

    fn passive_counters(&self, id: u32) -> Option<&PassiveCounters> {
        self.passive_counters.get(id as usize)
    }

    fn reply_budget(&self) -> Option<&ReplyBudget> {
        Some(self.reply_budget)
    }
}

/// A frame in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet(RefCell<Vec<u8>>);

impl Packet {
    /// From bytes, beginning with the Ethernet header.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(RefCell::new(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner()
    }
}

impl Frame for Packet {
    type Window<'a, const N: usize> = Bytes<'a, N>;

    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    fn window<const N: usize>(&self, at: usize) -> Option<Bytes<'_, N>> {
        (at.checked_add(N)? <= self.len()).then_some(Bytes { buffer: &self.0, at })
    }

    fn move_head(&mut self, by: i32) -> bool {
        let bytes = self.0.get_mut();
        if by < 0 {
            // Not zero, so that a byte that a program forgets to write is seen.
            bytes.splice(..0, std::iter::repeat_n(0xff, by.unsigned_abs() as usize));
            return true;
        }
        let fits = by as usize <= bytes.len();
        if fits {
            bytes.drain(..by as usize);
        }
        fits
    }

    fn set_len(&mut self, len: usize) -> bool {
        self.0.get_mut().resize(len, 0);
        true
    }
}

/// `N` bytes of a [`Packet`]. Access outside of them panics: it is a mistake in the program.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a, const N: usize> {
    buffer: &'a RefCell<Vec<u8>>,
    at: usize,
}

impl<const N: usize> Bytes<'_, N> {
    fn get<const M: usize>(self, at: usize) -> [u8; M] {
        assert!(at + M <= N, "{M} bytes at {at} of a window of {N}");
        std::array::from_fn(|i| self.buffer.borrow()[self.at + at + i])
    }

    fn set<const M: usize>(self, at: usize, bytes: [u8; M]) {
        assert!(at + M <= N, "{M} bytes at {at} of a window of {N}");
        self.buffer.borrow_mut()[self.at + at..][..M].copy_from_slice(&bytes);
    }
}

impl<const N: usize> Window for Bytes<'_, N> {
    fn u8(self, at: usize) -> u8 {
        self.get::<1>(at)[0]
    }

    fn be16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.get(at))
    }

    fn be32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.get(at))
    }

    fn word(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.get(at))
    }

    fn set_u8(self, at: usize, value: u8) {
        self.set(at, [value]);
    }

    fn set_be16(self, at: usize, value: u16) {
        self.set(at, value.to_be_bytes());
    }

    fn set_be32(self, at: usize, value: u32) {
        self.set(at, value.to_be_bytes());
    }

    fn set_word(self, at: usize, value: u32) {
        self.set(at, value.to_ne_bytes());
    }

    fn set_word64(self, at: usize, value: u64) {
        self.set(at, value.to_ne_bytes());
    }
}
