//! The XDP context as a frame: the only raw pointers into packets. Shared by the programs of this package.

use core::ptr;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
};
use lb_common::frame::{Frame, Window};

/// Above every offset that parsing can reach: link layer, IPv6 header and its extension headers are under 12 500 bytes.
const OFFSET_MASK: usize = 0x3fff;

/// A packet in the driver: the kernel's own context. Without `LONG` the first buffer is the whole packet, for what is never longer and
/// has no stack to ask.
pub(crate) struct Context<const LONG: bool = true>(pub(crate) *mut xdp_md);

impl<const LONG: bool> Context<LONG> {
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

impl<const LONG: bool> Frame for Context<LONG> {
    type Window<'a, const N: usize> = Bytes<N>;

    #[inline(always)]
    fn len(&self) -> usize {
        if LONG && crate::has_long_frames() {
            // SAFETY: the context is valid.
            return unsafe { bpf_xdp_get_buff_len(self.0) as usize };
        }
        self.linear_len()
    }

    #[inline(always)]
    fn linear_len(&self) -> usize {
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
