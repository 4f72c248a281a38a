//! The least that a program of each kind can do.

use aya_ebpf::{bindings::xdp_action, helpers::bpf_xdp_adjust_head, macros::xdp, programs::XdpContext};

use crate::packet;

/// Discards the packet.
#[xdp]
pub(crate) fn drop(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Leaves the packet to the host.
#[xdp]
pub(crate) fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Swaps the MAC addresses and sends the packet back.
#[xdp]
pub(crate) fn mac_swap(xdp: XdpContext) -> u32 {
    let Some(start) = packet::bytes::<14>(&xdp, 0) else { return xdp_action::XDP_DROP };
    // SAFETY: within the 14 bytes.
    unsafe {
        let to: (u32, u16) = (packet::get(start, 0), packet::get(start, 4));
        let from: (u16, u32) = (packet::get(start, 6), packet::get(start, 8));
        packet::set(start, 0, from.0);
        packet::set(start, 2, from.1);
        packet::set(start, 6, to.0);
        packet::set(start, 10, to.1);
    }
    xdp_action::XDP_TX
}

/// Puts an IPv4 header of 20 bytes in front of the packet (RFC 2003) and sends it back.
#[xdp]
pub(crate) fn ipip_push(xdp: XdpContext) -> u32 {
    let inner = packet::len(&xdp) - 14;
    // SAFETY: the context is valid; the helper checks the room.
    if unsafe { bpf_xdp_adjust_head(xdp.ctx, -20) } != 0 {
        return xdp_action::XDP_DROP;
    }
    let Some(start) = packet::bytes::<34>(&xdp, 0) else { return xdp_action::XDP_DROP };
    let total = (inner + 20) as u16;
    // Header words that do not change from packet to packet, summed beforehand (RFC 1071).
    let sum = 0x4500_u32 + 0x4000 + 0x4004 + 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + u32::from(total);
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    // SAFETY: within the 34 bytes.
    unsafe {
        packet::set(start, 0, 0x0002_0100_0000_0002_u64);
        packet::set(start, 8, 0x0200_0000_u32);
        packet::set(start, 12, 0x0800_u16.to_be());
        packet::set(start, 14, 0x4500_u16.to_be());
        packet::set(start, 16, total.to_be());
        packet::set(start, 18, 0_u16);
        packet::set(start, 20, 0x4000_u16.to_be());
        packet::set(start, 22, 0x4004_u16.to_be());
        packet::set(start, 24, checksum.to_be());
        packet::set(start, 26, 0x0a00_0001_u32.to_be());
        packet::set(start, 30, 0x0a00_0002_u32.to_be());
    }
    xdp_action::XDP_TX
}
