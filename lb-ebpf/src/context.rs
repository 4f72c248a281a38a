//! The XDP context as a frame, and the maps as the environment: the only raw pointers of the data path.

use core::ptr;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_jiffies64, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
};
use lb_common::{
    abi::{
        Control, Destination, DestinationCounters, Egress, NodeCounters, ReplyBudget, Service, ServiceBucket, Tunnel,
    },
    environment::Environment,
    features::Features,
    flow::{FlowBucket, FlowWord, Placement, TICK_MASK},
    frame::{Frame, Window},
    hash::HashKey,
    service::Key,
};

use crate::{apart, constants, filter, maps};

/// Above every offset that parsing can reach: link layer, IPv6 header and its extension headers are under 12 500 bytes.
const OFFSET_MASK: usize = 0x3fff;

/// A packet in the driver.
pub(crate) struct Context(*mut xdp_md);

impl Context {
    pub(crate) fn new(context: *mut xdp_md) -> Self {
        Self(context)
    }

    #[inline(always)]
    fn data(&self) -> usize {
        // SAFETY: the kernel passes a valid context, and it outlives the program.
        unsafe { (*self.0).data as usize }
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        // SAFETY: as for `data`.
        unsafe { (*self.0).data_end as usize }
    }

    /// [`Frame::len`] as a counter takes it.
    #[inline(always)]
    pub(crate) fn length(&self) -> u64 {
        self.len() as u64
    }
}

impl Frame for Context {
    type Window<'a, const N: usize> = Bytes<N>;

    #[inline(always)]
    fn len(&self) -> usize {
        self.data_end() - self.data()
    }

    #[inline(always)]
    fn window<const N: usize>(&self, at: usize) -> Option<Bytes<N>> {
        // An offset that was on the stack has lost its bounds to the verifier; the mask is gone where it is a constant.
        let start = self.data() + (at & OFFSET_MASK);
        // The form that the verifier understands: pointer plus constant against the end.
        if start + N > self.data_end() {
            return None;
        }
        Some(Bytes(start as *mut u8))
    }

    #[inline(always)]
    fn move_head(&mut self, by: i32) -> bool {
        // SAFETY: the context is valid; the helper checks the room.
        unsafe { bpf_xdp_adjust_head(self.0, by) == 0 }
    }

    #[inline(always)]
    fn set_len(&mut self, len: usize) -> bool {
        let by = len as i64 - self.len() as i64;
        // SAFETY: the context is valid; the helper checks the room.
        by == 0 || unsafe { bpf_xdp_adjust_tail(self.0, by as i32) == 0 }
    }
}

/// `N` bytes of a packet whose presence was checked when this was made; the verifier checks it again.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<const N: usize>(*mut u8);

impl<const N: usize> Bytes<N> {
    #[inline(always)]
    fn get<T>(self, at: usize) -> T {
        // SAFETY: `at` is a constant within the window, and `data_end` was compared with its end. A frame that moves
        // makes the verifier refuse pointers from before. The access is written as an aligned one although it may not
        // be: `read_unaligned` becomes a load for each byte, and the code generator's own feature for misaligned access
        // also misaligns the stack, which the verifier refuses. The verifier checks packet access with the
        // alignment that the machine needs (none where XDP drivers exist), so a program that loads is right.
        unsafe { ptr::read(self.0.add(at).cast()) }
    }

    #[inline(always)]
    fn set<T>(self, at: usize, value: T) {
        // SAFETY: as for `get`; nobody else holds this packet.
        unsafe { ptr::write(self.0.add(at).cast(), value) }
    }
}

impl<const N: usize> Window for Bytes<N> {
    #[inline(always)]
    fn u8(self, at: usize) -> u8 {
        self.get(at)
    }

    #[inline(always)]
    fn be16(self, at: usize) -> u16 {
        u16::from_be(self.get(at))
    }

    #[inline(always)]
    fn be32(self, at: usize) -> u32 {
        u32::from_be(self.get(at))
    }

    #[inline(always)]
    fn word(self, at: usize) -> u32 {
        self.get(at)
    }

    #[inline(always)]
    fn set_u8(self, at: usize, value: u8) {
        self.set(at, value);
    }

    #[inline(always)]
    fn set_be16(self, at: usize, value: u16) {
        self.set(at, value.to_be());
    }

    #[inline(always)]
    fn set_be32(self, at: usize, value: u32) {
        self.set(at, value.to_be());
    }

    #[inline(always)]
    fn set_word(self, at: usize, value: u32) {
        self.set(at, value);
    }

    #[inline(always)]
    fn set_word64(self, at: usize, value: u64) {
        self.set(at, value);
    }
}

/// The maps, constants and clock, for a packet.
pub(crate) struct Maps(*mut xdp_md);

impl Maps {
    #[inline(always)]
    pub(crate) fn of(frame: &Context) -> Self {
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
        filter::byte(place) != 0
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
    fn tunnel(&self, id: u32) -> Option<&Tunnel> {
        maps::TUNNELS.get(id)
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
    fn node_counters(&self) -> Option<&NodeCounters> {
        maps::NODE_COUNTERS.get(0)
    }

    #[inline(always)]
    fn destination_counters(&self, id: u32) -> Option<&DestinationCounters> {
        maps::DESTINATION_COUNTERS.get(id)
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
    fn find_by_shape(&self, key: &Key) -> u32 {
        let [ab, cd, rest] = key.pack();
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
