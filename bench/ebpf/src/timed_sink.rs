//! The end of the way: counts what arrives, says when, and discards it.

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::Array,
    helpers::bpf_ktime_get_ns,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use bench_ebpf::{SINK_SPAN, SINK_STAMPS};

use crate::packet;

#[btf_map]
static SUNK: Array<u64, 1> = Array::new();
#[btf_map]
static STAMPS: Array<u64, { SINK_STAMPS as usize }> = Array::new();

/// IP in IP, and UDP.
const TAKEN: [u8; 2] = [4, 17];

/// Takes the generator's packets, also those in a tunnel; ARP and whatever else the machines say goes on to the stack.
#[xdp]
pub(crate) fn timed_sink(xdp: XdpContext) -> u32 {
    let Some(start) = packet::bytes::<34>(&xdp, 0) else { return xdp_action::XDP_PASS };
    // SAFETY: within the 34 bytes.
    let (ethertype, protocol) = unsafe { (packet::get::<u16>(start, 12), packet::get::<u8>(start, 23)) };
    if ethertype != 0x0800_u16.to_be() || !TAKEN.contains(&protocol) {
        return xdp_action::XDP_PASS;
    }
    let Some(count) = SUNK.get_ptr_mut(0) else { return xdp_action::XDP_PASS };
    // SAFETY: the element is valid, and one packet is taken at a time.
    let arrived = unsafe {
        *count += 1;
        *count
    };
    if arrived % SINK_SPAN == 0
        && let Some(stamp) = STAMPS.get_ptr_mut((arrived / SINK_SPAN - 1) as u32)
    {
        // SAFETY: the helper has no preconditions; the element is valid, and one packet is taken at a time.
        unsafe { *stamp = bpf_ktime_get_ns() };
    }
    xdp_action::XDP_DROP
}
