//! The maps as the environment, and the context's own fields.

use core::{ops::Deref, ptr};

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_check_mtu, bpf_get_prandom_u32, bpf_jiffies64},
};
use lb_common::{
    abi::{
        ClientBucket, Control, Destination, DestinationCounters, Egress, LimitCounters, ListBound, NatBucket, NatSlots,
        NodeCounters, PassiveCounters, PoolAddress, QuicBucket, ReplyBudget, Score, Service, ServiceBucket,
        ServiceLimits, SlotRange, Tunnel, Word32, Word64,
    },
    environment::Environment,
    features::Features,
    flow::{FlowBucket, FlowState, FlowWord, Placement, TICK_MASK},
    frame::Frame,
    hash::HashKey,
    nat::{NatPlace, scratch::Scratch},
    passive::Sight,
    quic::QuicLb,
    schedule::pick::{self, Chooser},
    service::filter::{BACKEND, VIP},
};

pub(crate) use crate::frame::Context;
use crate::{apart, constants, filter, maps};

/// The maps, constants and clock, for a packet.
pub(crate) struct Maps(*mut xdp_md);

impl Maps {
    #[inline(always)]
    pub(crate) fn of<const LONG: bool>(frame: &Context<LONG>) -> Self {
        Self(frame.0)
    }

    /// For work that does not ask where a packet came from.
    pub(crate) const fn without_packet() -> Self {
        Self(ptr::null_mut())
    }
}

impl Environment for Maps {
    #[inline(always)]
    fn features(&self) -> Features {
        constants::features()
    }

    #[inline(always)]
    fn control(&self) -> Option<&Control> {
        maps::CONTROL.get(0)
    }

    #[inline(always)]
    fn may_be_vip(&self, place: u32) -> bool {
        filter::byte(place) & VIP != 0
    }

    #[inline(always)]
    fn may_be_backend(&self, place: u32) -> bool {
        filter::byte(place) & BACKEND != 0
    }

    #[inline(always)]
    fn nat_bucket(&self, index: u32) -> Option<&NatBucket> {
        maps::NAT_BUCKETS.get(index)
    }

    #[inline(always)]
    fn nat_slots(&self, index: u32) -> Option<&NatSlots> {
        maps::NAT_SLOTS.get(index)
    }

    #[inline(always)]
    fn nat_mask(&self) -> u32 {
        constants::nat_mask()
    }

    #[inline(always)]
    fn backend_set(&self, index: u32) -> Option<&Word64> {
        maps::BACKEND_SET.get(index & constants::backend_mask())
    }

    #[inline(always)]
    fn is_backend(&self, service: u32) -> bool {
        apart::is_backend(service) != 0
    }

    #[inline(always)]
    fn scratch(&self) -> Option<&Scratch> {
        maps::NAT_SCRATCH.get(0)
    }

    #[inline(always)]
    fn pool_address(&self, index: u32) -> Option<&PoolAddress> {
        maps::NAT_POOL.get(index)
    }

    #[inline(always)]
    fn quic_configuration(&self, index: u32) -> Option<impl Deref<Target = QuicLb> + '_> {
        maps::QUIC_CONFIGURATIONS.get(index)
    }

    #[inline(always)]
    fn quic_bucket(&self, index: u32) -> Option<&QuicBucket> {
        maps::QUIC_SERVERS.get(index)
    }

    #[inline(always)]
    fn quic_mask(&self) -> u32 {
        constants::quic_mask()
    }

    #[inline(always)]
    fn service_bucket(&self, index: u32) -> Option<&ServiceBucket> {
        maps::SERVICE_BUCKETS.get(index)
    }

    #[inline(always)]
    fn service(&self, index: u32) -> Option<&Service> {
        maps::SERVICES.get(index)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<u32> {
        Some(maps::SLOTS.get(index / 2)?.slot(index))
    }

    #[inline(always)]
    fn destination(&self, id: u32) -> Option<&Destination> {
        maps::DESTINATIONS.get(id)
    }

    #[inline(always)]
    fn tunnel(&self, index: u32) -> Option<&Tunnel> {
        maps::TUNNELS.get(index)
    }

    #[inline(always)]
    fn egress(&self, index: u32) -> Option<&Egress> {
        maps::EGRESS.get(index)
    }

    #[inline(always)]
    fn flow_bucket(&self, index: u32) -> Option<&FlowBucket> {
        maps::FLOWS.get(index)
    }

    #[inline(always)]
    fn flow_mask(&self) -> u32 {
        constants::flow_mask()
    }

    #[inline(always)]
    fn fragment_bucket(&self, index: u32) -> Option<&FlowBucket> {
        maps::FRAGMENTS.get(index)
    }

    #[inline(always)]
    fn fragment_mask(&self) -> u32 {
        constants::fragment_mask()
    }

    #[inline(always)]
    fn fragment_timeout(&self) -> u32 {
        constants::fragment_timeout()
    }

    #[inline(always)]
    fn hash_key(&self) -> &HashKey {
        constants::hash_key()
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        now()
    }

    #[inline(always)]
    fn ticks_per_second(&self) -> u32 {
        constants::ticks_per_second()
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the context is valid for as long as its packet is processed; without a packet nobody asks.
        unsafe { (*self.0).ingress_ifindex }
    }

    #[inline(always)]
    fn score(&self, id: u32) -> Option<&Score> {
        maps::SCORES.get(id)
    }

    #[inline(always)]
    fn limits(&self, service: u32) -> Option<&ServiceLimits> {
        maps::LIMITS.get(service)
    }

    #[inline(always)]
    fn list_bound(&self, index: u32) -> Option<&ListBound> {
        maps::LIST_BOUNDS.get(index)
    }

    #[inline(always)]
    fn client_bucket(&self, index: u32) -> Option<&ClientBucket> {
        maps::CLIENTS.get(index)
    }

    #[inline(always)]
    fn client_mask(&self) -> u32 {
        constants::client_mask()
    }

    #[inline(always)]
    fn limit_counters(&self, service: u32) -> Option<&LimitCounters> {
        maps::LIMIT_COUNTERS.get(service)
    }

    #[inline(always)]
    fn turn(&self, service: u32) -> Option<&Word32> {
        maps::TURNS.get(service)
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper has no arguments and no preconditions.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn interface_mtu(&self, ifindex: u32) -> Option<u32> {
        let mut mtu = 0;
        // SAFETY: the context is valid, and the helper writes the interface's MTU to where it is told, or fails.
        let checked = unsafe { bpf_check_mtu(self.0.cast(), ifindex, &raw mut mtu, 0, 0) };
        (checked >= 0).then_some(mtu)
    }

    #[inline(always)]
    fn node_counters(&self) -> Option<&NodeCounters> {
        maps::NODE_COUNTERS.get(0)
    }

    #[inline(always)]
    fn destination_counters(&self, id: u32) -> Option<&DestinationCounters> {
        maps::DESTINATION_COUNTERS.get(id)
    }

    #[inline(always)]
    fn passive_counters(&self, id: u32) -> Option<&PassiveCounters> {
        maps::PASSIVE_COUNTERS.get(id)
    }

    #[inline(always)]
    fn saw(&self, id: u32, sight: Sight) {
        apart::saw(id, sight.bits());
    }

    #[inline(always)]
    fn reply_budget(&self) -> Option<&ReplyBudget> {
        maps::REPLY_BUDGET.get(0)
    }

    #[inline(always)]
    fn make_room(&self, tag: u64, first: u32, second: u32, word: FlowWord) -> Placement {
        Placement::from_bits(apart::make_room(tag, first, second, word.to_bits()))
    }

    #[inline(always)]
    fn nat_survey(&self, bucket: u32, tag: u64) -> u32 {
        apart::nat_survey(bucket, tag)
    }

    #[inline(always)]
    fn nat_is_reply(&self, slot: u32) -> bool {
        apart::nat_is_reply(slot) != 0
    }

    #[inline(always)]
    fn nat_judge(&self, slot: u32) -> u32 {
        apart::nat_judge(slot)
    }

    #[inline(always)]
    fn nat_turn(&self, turn: u32, claims: bool) -> u64 {
        apart::nat_turn(turn, claims as u32)
    }

    #[inline(always)]
    fn nat_candidate(&self, turn: u32) -> u64 {
        apart::nat_candidate(turn)
    }

    #[inline(always)]
    fn hide_options<F: Frame>(&self, _: &F, transport: u32) {
        apart::hide_options(self.0, transport);
    }

    #[inline(always)]
    fn move_headers<F: Frame>(&self, _: &F, transport: u32, by: u32) -> bool {
        apart::move_headers(self.0, transport, by) != 0
    }

    #[inline(always)]
    fn hide_option<F: Frame>(&self, _: &F, transport: u32, at: u32) -> u32 {
        apart::hide_option(self.0, transport, at)
    }

    #[inline(always)]
    fn set_tag<F: Frame>(&self, _: &mut F, payload: usize, vlan: u16) -> bool {
        apart::set_tag(self.0, payload as u32, u32::from(vlan)) != 0
    }

    #[inline(always)]
    fn cheapest(&self, index: u32) -> u64 {
        apart::cheapest(index)
    }

    #[inline(always)]
    fn displace(&self, index: u32, tag: u64, word: FlowWord) -> bool {
        apart::displace(index, tag, word.to_bits()) != 0
    }

    #[inline(always)]
    fn note_fragment<F: Frame>(&self, _: &F, id: u32) -> Option<u32> {
        let noted = apart::note_fragment(self.0, id);
        (noted & apart::NOTED != 0).then_some(noted as u32)
    }

    #[inline(always)]
    fn fragment_word(&self, id: u32) -> u64 {
        apart::fragment_word(id)
    }

    #[inline(always)]
    fn spread_by_addresses<F: Frame>(&self, _: &F) -> u64 {
        apart::spread_by_addresses(self.0)
    }

    #[inline(always)]
    fn read_quic<F: Frame>(&self, _: &F, place: NatPlace, service: u32) -> u32 {
        apart::read_quic(self.0, place.bits(), service)
    }

    #[inline(always)]
    fn decode_quic(&self, configuration: u32, service: u32) {
        apart::decode_quic(configuration, service);
    }

    #[inline(always)]
    fn least(&self, slots: SlotRange) -> Option<u32> {
        match apart::least(slots.offset, slots.size) {
            u32::MAX => None,
            id => Some(id),
        }
    }

    #[inline(always)]
    fn affinity(&self, service: u32) -> Option<u32> {
        match apart::find_affinity(service) {
            u32::MAX => None,
            id => Some(id),
        }
    }

    #[inline(always)]
    fn note_affinity(&self, service: u32, id: u32) {
        apart::note_affinity(service, id);
    }

    #[inline(always)]
    fn is_denied(&self, service: u32) -> bool {
        apart::is_denied(service) != 0
    }

    #[inline(always)]
    fn limit(&self, service: u32) -> u32 {
        apart::limit(service)
    }

    #[inline(always)]
    fn find_room(&self, service: u32) -> u32 {
        apart::find_room(service)
    }

    #[inline(always)]
    fn begun(&self, service: u32, id: u32, placement: Placement, state: FlowState) -> u32 {
        apart::begun(service, id, placement as u32, state as u32)
    }

    #[inline(always)]
    fn closed(&self, id: u32) {
        apart::closed(id);
    }

    #[inline(always)]
    fn pick(&self, service: u32, chooser: Chooser) -> Option<u32> {
        pick::note(self, chooser);
        self.pick_noted(service)
    }

    #[inline(always)]
    fn pick_noted(&self, service: u32) -> Option<u32> {
        match apart::pick(service) {
            u32::MAX => None,
            id => Some(id),
        }
    }

    #[inline(always)]
    fn place(&self, service: u32, chooser: Chooser) -> Option<u32> {
        pick::note(self, chooser);
        match apart::place(service) {
            u32::MAX => None,
            id => Some(id),
        }
    }

    #[inline(always)]
    fn follow_quic<F: Frame>(&self, _: &F, place: NatPlace) {
        apart::follow_quic(self.0, place.bits());
    }

    #[inline(always)]
    fn find_by_key(&self, [ab, cd, rest]: [u64; 3]) -> u32 {
        apart::find_by_key(ab, cd, rest)
    }

    #[inline(always)]
    fn find_by_shape(&self, [ab, cd, rest]: [u64; 3]) -> u32 {
        apart::find_by_shape(ab, cd, rest)
    }
}

/// The clock: jiffies, a plain load, and not the 30 ns of the nanosecond clock.
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: the helper has no arguments and no preconditions.
    let jiffies = unsafe { bpf_jiffies64() };
    (jiffies >> constants::tick_shift()) as u32 & TICK_MASK
}
