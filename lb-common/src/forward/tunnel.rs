//! `ipip` and `gue`: the packet in an IP packet of its own, to the destination's own address.
//!
//! ```text
//! before                 | Ethernet, tags |                        | IP | TCP or UDP …
//! ipip       | Ethernet, tags | outer IP  |                        | IP | TCP or UDP …
//! gue        | Ethernet, tags | outer IP  | UDP | GUE              | IP | TCP or UDP …
//! ```
//!
//! The outer header (RFC 2003, 2473, 4213): traffic class copied, TTL 64, DF set, ID 0 (RFC 6864), the source varied by the flow where a
//! prefix is configured, so that receivers spread flows over their queues. IPv6 carries the flow in its label as well
//! (RFC 6438). The packet inside stays as it is, its TTL included.
//!
//! UDP checksum of `gue`: 0 over IPv4. Over IPv6 it is right without a look at the payload wherever the checksums inside
//! are: a TCP or UDP segment with a right checksum and its pseudo-header add up to zero, so what is left are headers. If
//! the one inside is wrong, the packet is discarded at the tunnel's end in place of the endpoint. Where there is none
//! inside (UDP over IPv4 with checksum 0) or extension headers come before it, it is 0 (RFC 6935, RFC 6936).

use crate::{
    abi::{GUE_HEADER, Mode, Tunnel, inner_protocol},
    features::Features,
    frame::{Frame, Window},
    parse::Family,
    verdict::DropReason,
    wire::{checksum::Sum, ethernet, ipv4, ipv6, udp},
};

/// What the outer header takes from the packet.
#[derive(Clone, Copy)]
pub struct Inner {
    /// Its family.
    pub family: Family,
    /// Traffic class.
    pub class: u8,
    /// Length of the IP packet.
    pub length: u16,
    /// The sum over it, where headers tell ([`sum_v4`], [`sum_v6`]); `None`: no checksum.
    pub sum: Option<Sum>,
}

/// The sum over an IPv4 packet with right checksums: minus its pseudo-header.
#[inline(always)]
#[must_use]
pub fn sum_v4(source: u32, destination: u32, protocol: u8, segment: u16) -> Sum {
    Sum::default().add_word(source).add_word(destination).add(protocol as u16).add(segment).negated()
}

/// The sum over an IPv6 packet without extension headers and with a right checksum: addresses and length cancel out.
/// `first` is the header's first word, as in memory.
#[inline(always)]
#[must_use]
pub fn sum_v6(first: u32, next: u8, hop_limit: u8) -> Sum {
    Sum::default().add(next as u16).negated().add_word(first).add((next as u16) << 8 | hop_limit as u16)
}

/// Wraps a packet whose IP header begins at `network`. `flow` is a keyed hash of the flow. The Ethernet addresses are left to
/// the caller.
///
/// # Errors
///
/// [`DropReason::Headroom`] if the driver left no room in front of the packet.
#[inline(always)]
pub fn push<F: Frame>(
    features: Features,
    frame: &mut F,
    tunnel: &Tunnel,
    network: usize,
    inner: Inner,
    flow: u32,
) -> Result<(), DropReason> {
    const GUE: usize = udp::HEADER + GUE_HEADER;
    const LINK: usize = ethernet::HEADER;
    let is_gue = features.has(Features::GUE) && matches!(tunnel.mode(), Mode::Gue);
    match tunnel.family() {
        Family::V4 if is_gue => {
            push_v4::<F, { ipv4::HEADER + GUE }, { LINK + ipv4::HEADER + GUE }>(frame, tunnel, network, inner, flow)
        }
        Family::V4 => push_v4::<F, { ipv4::HEADER }, { LINK + ipv4::HEADER }>(frame, tunnel, network, inner, flow),
        Family::V6 if is_gue => {
            push_v6::<F, { ipv6::HEADER + GUE }, { LINK + ipv6::HEADER + GUE }>(frame, tunnel, network, inner, flow)
        }
        Family::V6 => push_v6::<F, { ipv6::HEADER }, { LINK + ipv6::HEADER }>(frame, tunnel, network, inner, flow),
    }
}

#[inline(always)]
fn push_v4<F: Frame, const N: usize, const M: usize>(
    frame: &mut F,
    tunnel: &Tunnel,
    network: usize,
    inner: Inner,
    flow: u32,
) -> Result<(), DropReason> {
    if network == ethernet::HEADER {
        let start = open::<F, N, M>(frame)?;
        start.set_be16(12, ethernet::IPV4);
        emit_v4::<N>(start, ethernet::HEADER, tunnel, inner, flow);
    } else {
        let header = open_behind_tags::<F, N>(frame, network, ethernet::IPV4)?;
        emit_v4::<N>(header, 0, tunnel, inner, flow);
    }
    Ok(())
}

#[inline(always)]
fn push_v6<F: Frame, const N: usize, const M: usize>(
    frame: &mut F,
    tunnel: &Tunnel,
    network: usize,
    inner: Inner,
    flow: u32,
) -> Result<(), DropReason> {
    if network == ethernet::HEADER {
        let start = open::<F, N, M>(frame)?;
        start.set_be16(12, ethernet::IPV6);
        emit_v6::<N>(start, ethernet::HEADER, tunnel, inner, flow);
    } else {
        let header = open_behind_tags::<F, N>(frame, network, ethernet::IPV6)?;
        emit_v6::<N>(header, 0, tunnel, inner, flow);
    }
    Ok(())
}

/// Makes room for `N` bytes behind an Ethernet header without tags; returns the header and the room.
#[inline(always)]
fn open<F: Frame, const N: usize, const M: usize>(frame: &mut F) -> Result<F::Window<'_, M>, DropReason> {
    if !frame.move_head(-(N as i32)) {
        return Err(DropReason::Headroom);
    }
    frame.window::<M>(0).ok_or(DropReason::Tables)
}

/// Makes room for `N` bytes behind the tags, which move to the front; returns the room.
#[inline(always)]
fn open_behind_tags<F: Frame, const N: usize>(
    frame: &mut F,
    network: usize,
    ethertype: u16,
) -> Result<F::Window<'_, N>, DropReason> {
    if !frame.move_head(-(N as i32)) {
        return Err(DropReason::Headroom);
    }
    for at in [12, 16] {
        if at + 2 < network {
            let tag = frame.window::<4>(N + at).ok_or(DropReason::Tables)?.word(0);
            frame.window::<4>(at).ok_or(DropReason::Tables)?.set_word(0, tag);
        }
    }
    frame.window::<2>(network - 2).ok_or(DropReason::Tables)?.set_be16(0, ethertype);
    frame.window::<N>(network).ok_or(DropReason::Tables)
}

/// Writes `N` bytes of outer headers at `at`.
#[inline(always)]
fn emit_v4<const N: usize>(header: impl Window, at: usize, tunnel: &Tunnel, inner: Inner, flow: u32) {
    let total = inner.length + N as u16;
    let varied = flow & tunnel.varying();
    // Version and length 0x45, class, total length; ID 0, DF; TTL 64, protocol, checksum.
    let protocol = if N > ipv4::HEADER { 17 } else { inner_protocol(inner.family) };
    let sum = tunnel.sum().add(inner.class as u16).add(total).add_word(varied);
    header.set_be32(at, 0x4500_0000 | (inner.class as u32) << 16 | total as u32);
    header.set_be32(at + 4, 0x0000_4000);
    header.set_be32(at + 8, (64 << 8 | protocol as u32) << 16 | sum.finish() as u32);
    header.set_word(at + 12, tunnel.source(0) | varied);
    header.set_word(at + 16, tunnel.destination(0));
    if N > ipv4::HEADER {
        emit_gue(header, at + ipv4::HEADER, tunnel.port(), inner, flow, 0);
    }
}

/// Writes `N` bytes of outer headers at `at`.
#[inline(always)]
fn emit_v6<const N: usize>(header: impl Window, at: usize, tunnel: &Tunnel, inner: Inner, flow: u32) {
    let payload = inner.length + (N - ipv6::HEADER) as u16;
    let next = if N > ipv6::HEADER { 17 } else { inner_protocol(inner.family) };
    header.set_be32(at, 0x6000_0000 | (inner.class as u32) << 20 | (flow >> 12));
    header.set_be32(at + 4, (payload as u32) << 16 | (next as u32) << 8 | 64);
    let last = tunnel.source(3) | flow & tunnel.varying();
    for word in 0..3 {
        header.set_word(at + 8 + 4 * word, tunnel.source(word));
    }
    header.set_word(at + 20, last);
    for word in 0..4 {
        header.set_word(at + 24 + 4 * word, tunnel.destination(word));
    }
    if N > ipv6::HEADER {
        let checksum = inner.sum.map_or(0, |sum| checksum(sum, tunnel, payload, last, inner, flow));
        emit_gue(header, at + ipv6::HEADER, tunnel.port(), inner, flow, checksum);
    }
}

/// The UDP checksum over IPv6: `sum` is that of the packet inside.
#[inline(always)]
fn checksum(sum: Sum, tunnel: &Tunnel, length: u16, last: u32, inner: Inner, flow: u32) -> u16 {
    // The length stands in the pseudo-header and in the UDP header, the protocol number in the GUE header's first word.
    let mut sum = sum.add_host_word(ports(tunnel.port(), flow)).add(length).add(length).add(17);
    sum = sum.add(inner_protocol(inner.family) as u16).add_word(last);
    for word in 0..3 {
        sum = sum.add_word(tunnel.source(word));
    }
    for word in 0..4 {
        sum = sum.add_word(tunnel.destination(word));
    }
    match sum.finish() {
        // 0 says that there is none.
        0 => 0xffff,
        sum => sum,
    }
}

/// Source and destination port: the source from the dynamic ports (RFC 6335), chosen by the flow.
#[inline(always)]
const fn ports(destination: u16, flow: u32) -> u32 {
    (0xc000 | flow >> 18) << 16 | destination as u32
}

#[inline(always)]
fn emit_gue(header: impl Window, at: usize, port: u16, inner: Inner, flow: u32, checksum: u16) {
    let length = inner.length + (udp::HEADER + GUE_HEADER) as u16;
    header.set_be32(at, ports(port, flow));
    header.set_be32(at + 4, (length as u32) << 16 | checksum as u32);
    // Variant 0, no control message, no optional fields; protocol; no flags.
    header.set_be32(at + 8, (inner_protocol(inner.family) as u32) << 16);
}
