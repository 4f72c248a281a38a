//! ICMP errors: port unreachable (RFC 792; RFC 4443, section 3.1), and how much fits (RFC 1191; RFC 4443, section 3.2).
//!
//! The quoted packet is cut at [`QUOTE`] bytes. RFC 1812 and RFC 4443 allow more; receivers need the IP header and eight
//! bytes, and a short quote keeps what a forged source can make us send small.

use super::link;
use crate::{
    frame::{Frame, Window},
    parse::{Family, Parsed},
    wire::{checksum::Sum, icmp, ipv4, ipv6},
};

/// Most bytes of the original packet that are quoted; a multiple of four.
const QUOTE: usize = 128;

/// Type and code of a message over IPv4 and over IPv6.
#[derive(Clone, Copy)]
pub(super) struct Message(u16, u16);

/// Nobody takes packets for this port.
pub(super) const PORT_UNREACHABLE: Message = Message(icmp::PORT_UNREACHABLE_V4, icmp::PORT_UNREACHABLE_V6);
/// The packet does not fit; the message's argument is the MTU that does.
pub(super) const TOO_BIG: Message = Message(icmp::FRAGMENTATION_NEEDED_V4, icmp::PACKET_TOO_BIG_V6);

/// The packet's last hop was here.
pub(super) const TIME_EXCEEDED: Message = Message(icmp::TIME_EXCEEDED_V4, icmp::TIME_EXCEEDED_V6);

/// Makes the message: headers in front of the original packet, which is cut.
#[inline(always)]
pub(super) fn make<F: Frame>(packet: &Parsed, frame: &mut F, kind: Message, argument: u32) -> Option<()> {
    let quote = (packet.end - packet.network).min(QUOTE);
    let ip = match packet.family {
        Family::V4 => ipv4::HEADER,
        Family::V6 => ipv6::HEADER,
    };
    let room = ip + icmp::HEADER;
    if !frame.set_len(packet.network + quote) || !frame.move_head(-(room as i32)) {
        return None;
    }
    link::copy_turned(frame, room, 0)?;
    link::copy_types(frame, room, packet.network)?;
    let sum = sum_of_quote(frame, packet.network + room, quote)?;
    let message = packet.network + ip;
    match packet.family {
        Family::V4 => {
            let header = frame.window::<{ ipv4::HEADER }>(packet.network)?;
            let total = (room + quote) as u16;
            ipv4::emit(header, total, icmp::PROTOCOL_V4, packet.destination[0], packet.source[0]);
            emit(frame.window::<{ icmp::HEADER }>(message)?, kind.0, argument, sum);
        }
        Family::V6 => {
            let header = frame.window::<{ ipv6::HEADER }>(packet.network)?;
            let length = (icmp::HEADER + quote) as u16;
            ipv6::emit(header, length, icmp::PROTOCOL_V6, &packet.destination, &packet.source);
            // ICMPv6 covers a pseudo-header (RFC 8200, section 8.1).
            let sum = sum
                .add_address(&packet.source)
                .add_address(&packet.destination)
                .add(length)
                .add(icmp::PROTOCOL_V6 as u16);
            emit(frame.window::<{ icmp::HEADER }>(message)?, kind.1, argument, sum);
        }
    }
    Some(())
}

#[inline(always)]
fn emit(header: impl Window, type_and_code: u16, argument: u32, sum: Sum) {
    header.set_be16(0, type_and_code);
    header.set_be16(2, sum.add(type_and_code).add_host_word(argument).finish());
    header.set_be32(4, argument);
}

/// Sum over the quoted bytes; an odd one at the end counts as the high half of a word.
#[inline(always)]
fn sum_of_quote<F: Frame>(frame: &F, at: usize, quote: usize) -> Option<Sum> {
    let mut sum = Sum::default();
    for i in 0..QUOTE / 4 {
        if 4 * i + 4 > quote {
            break;
        }
        sum = sum.add_word(frame.window::<4>(at + 4 * i)?.word(0));
    }
    let whole = quote & !3;
    if quote & 2 != 0 {
        sum = sum.add(frame.window::<2>(at + whole)?.be16(0));
    }
    if quote & 1 != 0 {
        // Two bytes are checked: a check for one becomes `<`, which the verifier does not take for a bound.
        sum = sum.add((frame.window::<2>(at + quote - 2)?.u8(1) as u16) << 8);
    }
    Some(sum)
}
