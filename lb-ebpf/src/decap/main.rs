//! The decapsulator for tunnel backends: its entry point and its maps.
//!
//! All decisions are [`lb_common::decap`]'s. `evenkeel decap run` loads and attaches it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
#[path = "../frame.rs"]
mod frame;
#[cfg(target_arch = "bpf")]
mod maps;

/// Whether the kernel knows frames in several buffers: set before the object is loaded.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
static LONG_FRAMES: u32 = 0;

/// Whether frames may lie in several buffers.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn has_long_frames() -> bool {
    // SAFETY: the pointer comes from a reference.
    unsafe { core::ptr::read_volatile(&raw const LONG_FRAMES) != 0 }
}

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
    use lb_common::decap::{self, Verdict};

    use crate::{
        frame::Context,
        maps::{self, Maps},
    };

    #[xdp(frags)]
    pub(crate) fn evenkeel_decap(xdp: XdpContext) -> u32 {
        let mut frame = Context::<true>::new(xdp.ctx);
        let bytes = frame.length();
        let verdict = decap::process(&Maps, &mut frame);
        if let Some(counters) = maps::COUNTERS.get(0) {
            counters.book(verdict, bytes);
        }
        match verdict {
            Verdict::Unpacked(_) | Verdict::Pass(_) => xdp_action::XDP_PASS,
            Verdict::Drop(_) => xdp_action::XDP_DROP,
        }
    }

    /// Lets programs call helpers that the kernel gives only to those compatible with the GPL.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// Nothing in the program panics; the language asks for a handler all the same.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
