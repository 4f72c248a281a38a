//! The XDP context as the frame that the balancer's own code reads; it changes nothing.

use aya_ebpf::bindings::xdp_md;
use lb_common::frame::{Frame, Window};

use crate::packet;

/// Above every place that is read here.
const OFFSET_MASK: usize = 0x3fff;

/// A packet in the driver.
pub(crate) struct Context(pub(crate) *mut xdp_md);

impl Frame for Context {
    type Window<'a, const N: usize> = Bytes<N>;

    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the kernel passes a valid context, and it outlives the program.
        unsafe { (*self.0).data_end as usize - (*self.0).data as usize }
    }

    #[inline(always)]
    fn window<const N: usize>(&self, at: usize) -> Option<Bytes<N>> {
        // SAFETY: as for `len`.
        let (data, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        let start = data + (at & OFFSET_MASK);
        if start + N > end { None } else { Some(Bytes(start as *mut u8)) }
    }

    fn move_head(&mut self, _: i32) -> bool {
        false
    }

    fn set_len(&mut self, _: usize) -> bool {
        false
    }
}

/// Checked bytes of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<const N: usize>(*mut u8);

macro_rules! access {
    ($($get:ident $set:ident $type:ty, $from:path, $to:path;)*) => {
        $(
            #[inline(always)]
            fn $get(self, at: usize) -> $type {
                // SAFETY: a window is asked for constants within it only; the verifier checks that again.
                $from(unsafe { packet::get(self.0, at) })
            }

            #[inline(always)]
            fn $set(self, at: usize, value: $type) {
                // SAFETY: as for reading.
                unsafe { packet::set(self.0, at, $to(value)) }
            }
        )*
    };
}

impl<const N: usize> Window for Bytes<N> {
    access! {
        u8 set_u8 u8, core::convert::identity, core::convert::identity;
        be16 set_be16 u16, u16::from_be, u16::to_be;
        be32 set_be32 u32, u32::from_be, u32::to_be;
        word set_word u32, core::convert::identity, core::convert::identity;
    }

    #[inline(always)]
    fn set_word64(self, at: usize, value: u64) {
        // SAFETY: as for reading.
        unsafe { packet::set(self.0, at, value) }
    }
}
