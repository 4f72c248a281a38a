//! The short way of `nat`: packets of known flows to the backend, in plain headers from the beginning of a frame.

use super::rewrite::{difference, udp_checksum};
use crate::{
    abi::Destination,
    frame::Window,
    wire::{checksum::Sum, ethernet, ipv4, ipv6, tcp, udp},
};

/// Translates an IPv4 packet; `false`, and nothing is changed, if this is its last hop.
#[inline(always)]
#[must_use]
pub fn translate_v4(start: impl Window, is_tcp: bool, destination: &Destination) -> bool {
    const IP: usize = ethernet::HEADER;
    const TRANSPORT: usize = ethernet::HEADER + ipv4::HEADER;
    let life = start.be16(IP + 8);
    if life < 2 << 8 {
        return false;
    }
    let address = destination.address_word(3);
    let change = difference(start.word(IP + 16), address, Sum::default());
    start.set_word(IP + 16, address);
    start.set_be16(IP + 8, life - (1 << 8));
    // The checksum covers the TTL in its word's upper half.
    start.set_be16(IP + 10, change.add(!(1_u16 << 8)).add(!start.be16(IP + 10)).finish());
    transport::<TRANSPORT>(start, is_tcp, destination, change);
    true
}

/// Translates an IPv6 packet; `false`, and nothing is changed, if this is its last hop.
#[inline(always)]
#[must_use]
pub fn translate_v6(start: impl Window, is_tcp: bool, destination: &Destination) -> bool {
    const IP: usize = ethernet::HEADER;
    const TRANSPORT: usize = ethernet::HEADER + ipv6::HEADER;
    let life = start.u8(IP + 7);
    if life < 2 {
        return false;
    }
    start.set_u8(IP + 7, life - 1);
    let mut change = Sum::default();
    for word in 0..4 {
        let at = IP + 24 + 4 * word;
        let address = destination.address_word(word);
        change = difference(start.word(at), address, change);
        start.set_word(at, address);
    }
    transport::<TRANSPORT>(start, is_tcp, destination, change);
    true
}

#[inline(always)]
fn transport<const AT: usize>(start: impl Window, is_tcp: bool, destination: &Destination, change: Sum) {
    let present = start.be16(AT + 2);
    let port = match destination.port() {
        0 => present,
        port => port,
    };
    let change = change.add(!present).add(port);
    start.set_be16(AT + 2, port);
    if is_tcp {
        start.set_be16(AT + tcp::CHECKSUM, change.add(!start.be16(AT + tcp::CHECKSUM)).finish());
        return;
    }
    let checksum = start.be16(AT + udp::CHECKSUM);
    if checksum != 0 {
        start.set_be16(AT + udp::CHECKSUM, udp_checksum(change.add(!checksum)));
    }
}
