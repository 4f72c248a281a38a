//! An echo reply (RFC 792; RFC 4443, section 4.2): the request itself, turned.
//!
//! Only what has to change does: addresses, type, TTL, and the checksums by these differences, so the data is not even read.
//! Identification and DF stay: together with the addresses they are as unique as the client made them. The traffic class
//! stays, too (RFC 1349, section 5.1).

use super::link;
use crate::{
    frame::{Frame, Window},
    parse::{Family, Parsed},
    wire::{checksum::Sum, icmp, ipv4, ipv6},
};

const TTL: u8 = 64;

/// Makes the reply in place of a request without IPv4 options or extension headers.
#[inline(always)]
pub(super) fn make<F: Frame>(packet: &Parsed, frame: &mut F) -> Option<()> {
    link::turn(frame)?;
    match packet.family {
        Family::V4 => {
            let header = frame.window::<{ ipv4::HEADER }>(packet.network)?;
            let (old, new) = (header.be16(8), (TTL as u16) << 8 | icmp::PROTOCOL_V4 as u16);
            header.set_be16(8, new);
            header.set_be16(10, Sum::updated(header.be16(10), old, new));
            header.set_word(12, packet.destination[0]);
            header.set_word(16, packet.source[0]);
            turn_message(frame, packet.network + ipv4::HEADER, icmp::ECHO_V4)?;
        }
        Family::V6 => {
            let header = frame.window::<{ ipv6::HEADER }>(packet.network)?;
            header.set_u8(7, TTL);
            for i in 0..4 {
                header.set_word(8 + 4 * i, packet.destination[i]);
                header.set_word(24 + 4 * i, packet.source[i]);
            }
            turn_message(frame, packet.network + ipv6::HEADER, icmp::ECHO_V6)?;
        }
    }
    // Padding is no part of the packet.
    frame.set_len(packet.end).then_some(())
}

#[inline(always)]
fn turn_message<F: Frame>(frame: &F, at: usize, (request, reply): (u8, u8)) -> Option<()> {
    let header = frame.window::<{ icmp::HEADER }>(at)?;
    header.set_u8(0, reply);
    let sum = Sum::updated(header.be16(2), (request as u16) << 8, (reply as u16) << 8);
    // If all the rest is zero, 0 does not add up. Of the two zeros of the sum, 0xffff always does.
    header.set_be16(2, if sum == 0 { 0xffff } else { sum });
    Some(())
}
