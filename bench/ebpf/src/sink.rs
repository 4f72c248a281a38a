//! The end of a packet's way.

use aya_ebpf::{bindings::xdp_action, btf_maps::PerCpuArray, macros::btf_map, macros::xdp, programs::XdpContext};

use crate::packet;

#[btf_map]
static ARRIVED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Counts and discards IPv4 frames; anything else that the kernel says by itself passes.
#[xdp]
pub(crate) fn sink(xdp: XdpContext) -> u32 {
    let Some(start) = packet::bytes::<14>(&xdp, 0) else { return xdp_action::XDP_PASS };
    // SAFETY: within the 14 bytes.
    if unsafe { packet::get::<u16>(start, 12) } != 0x0800_u16.to_be() {
        return xdp_action::XDP_PASS;
    }
    if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: the element is this CPU's own.
        unsafe { *arrived += 1 };
    }
    xdp_action::XDP_DROP
}
