//! A TCP reset (RFC 9293, section 3.10.7.1: what a closed port answers).

use super::link;
use crate::{
    frame::{Frame, Window},
    parse::{Family, Parsed},
    wire::{
        checksum::Sum,
        ip::Protocol,
        ipv4, ipv6,
        tcp::{ACK, FIN, HEADER, RST, SYN},
    },
};

/// Sequence number, acknowledgment number and flags of a reset.
struct Reset {
    sequence: u32,
    acknowledgment: u32,
    flags: u8,
}

/// Makes the reset in place of the segment.
#[inline(always)]
pub(super) fn make<F: Frame>(packet: &Parsed, frame: &mut F) -> Option<()> {
    let reset = answer(packet, frame)?;
    link::turn(frame)?;
    let at = match packet.family {
        Family::V4 => {
            let header = frame.window::<{ ipv4::HEADER }>(packet.network)?;
            let total = (ipv4::HEADER + HEADER) as u16;
            ipv4::emit(header, total, Protocol::Tcp as u8, packet.destination[0], packet.source[0]);
            packet.network + ipv4::HEADER
        }
        Family::V6 => {
            let header = frame.window::<{ ipv6::HEADER }>(packet.network)?;
            ipv6::emit(header, HEADER as u16, Protocol::Tcp as u8, &packet.destination, &packet.source);
            packet.network + ipv6::HEADER
        }
    };
    emit(packet, &reset, frame.window::<HEADER>(at)?);
    frame.set_len(at + HEADER).then_some(())
}

/// With an acknowledgment the reset takes its number; without, it acknowledges everything the segment occupied.
#[inline(always)]
fn answer<F: Frame>(packet: &Parsed, frame: &F) -> Option<Reset> {
    let segment = frame.window::<HEADER>(packet.transport)?;
    if packet.tcp_flags & ACK != 0 {
        return Some(Reset { sequence: segment.be32(8), acknowledgment: 0, flags: RST });
    }
    let header = (segment.u8(12) >> 4) as usize * 4;
    let data = packet.end.saturating_sub(packet.transport + header) as u32;
    let controls = (packet.tcp_flags & SYN != 0) as u32 + (packet.tcp_flags & FIN != 0) as u32;
    let acknowledgment = segment.be32(4).wrapping_add(data).wrapping_add(controls);
    Some(Reset { sequence: 0, acknowledgment, flags: RST | ACK })
}

#[inline(always)]
fn emit(packet: &Parsed, reset: &Reset, header: impl Window) {
    let ports = packet.ports.rotate_left(16);
    header.set_word(0, ports);
    header.set_be32(4, reset.sequence);
    header.set_be32(8, reset.acknowledgment);
    header.set_be16(12, 0x5000 | reset.flags as u16);
    header.set_be16(14, 0);
    header.set_be32(16, 0);
    let sum = Sum::default()
        .add_address(&packet.source)
        .add_address(&packet.destination)
        .add(Protocol::Tcp as u16)
        .add(HEADER as u16)
        .add_word(ports)
        .add_word(reset.sequence.to_be())
        .add_word(reset.acknowledgment.to_be())
        .add(0x5000 | reset.flags as u16);
    header.set_be16(16, sum.finish());
}
