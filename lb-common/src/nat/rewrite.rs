//! Other addresses and ports in a packet, with right checksums (RFC 1624; RFC 3022, section 4).

use crate::{
    frame::{Frame, Window},
    parse::{Family, Parsed},
    verdict::DropReason,
    wire::{checksum::Sum, ip::Protocol, ipv4, ipv6, tcp, udp},
};

/// The addresses and ports that a packet is to have, as in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Source address.
    pub source: [u32; 4],
    /// Destination address.
    pub destination: [u32; 4],
    /// Both ports.
    pub ports: u32,
}

/// Rewrites a packet and takes one from its TTL. Its checksum stays wrong if it was, and 0 if it was 0 (RFC 768).
///
/// # Errors
///
/// [`DropReason::Tables`] if the headers are not where they were found: a defect.
#[inline(always)]
pub fn rewrite<F: Frame>(frame: &F, packet: &Parsed, ends: &Ends) -> Result<(), DropReason> {
    let change = addresses(frame, packet, packet.network, ends, 1).ok_or(DropReason::Tables)?;
    transport(frame, packet, ends, change).ok_or(DropReason::Tables)
}

/// Changes the addresses of the IP header at `at`, and takes so many from its TTL. Returns how the sum over the addresses
/// changes: that of a pseudo-header.
#[inline(always)]
pub(super) fn addresses<F: Frame>(frame: &F, packet: &Parsed, at: usize, ends: &Ends, hops: u16) -> Option<Sum> {
    match packet.family {
        Family::V4 => {
            let header = frame.window::<{ ipv4::HEADER }>(at)?;
            let change = difference(header.word(12), ends.source[0], Sum::default());
            let change = difference(header.word(16), ends.destination[0], change);
            header.set_word(12, ends.source[0]);
            header.set_word(16, ends.destination[0]);
            let life = header.be16(8);
            let lived = life.wrapping_sub(hops << 8);
            header.set_be16(8, lived);
            header.set_be16(10, change.add(!life).add(lived).add(!header.be16(10)).finish());
            Some(change)
        }
        Family::V6 => {
            let header = frame.window::<{ ipv6::HEADER }>(at)?;
            let mut change = Sum::default();
            for word in 0..4 {
                change = difference(header.word(8 + 4 * word), ends.source[word], change);
                change = difference(header.word(24 + 4 * word), ends.destination[word], change);
                header.set_word(8 + 4 * word, ends.source[word]);
                header.set_word(24 + 4 * word, ends.destination[word]);
            }
            header.set_u8(7, header.u8(7).wrapping_sub(hops as u8));
            Some(change)
        }
    }
}

#[inline(always)]
fn transport<F: Frame>(frame: &F, packet: &Parsed, ends: &Ends, change: Sum) -> Option<()> {
    match packet.protocol {
        Protocol::Tcp => {
            let header = frame.window::<{ tcp::HEADER }>(packet.transport)?;
            let change = difference(packet.ports, ends.ports, change);
            header.set_word(0, ends.ports);
            header.set_be16(tcp::CHECKSUM, change.add(!header.be16(tcp::CHECKSUM)).finish());
        }
        Protocol::Udp => {
            let header = frame.window::<{ udp::HEADER }>(packet.transport)?;
            let change = difference(packet.ports, ends.ports, change);
            header.set_word(0, ends.ports);
            let present = header.be16(udp::CHECKSUM);
            if present != 0 {
                header.set_be16(udp::CHECKSUM, udp_checksum(change.add(!present)));
            }
        }
    }
    Some(())
}

/// 0 would say that there is none.
#[inline(always)]
pub(super) const fn udp_checksum(sum: Sum) -> u16 {
    match sum.finish() {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// A sum after one of its words has changed.
#[inline(always)]
pub(super) const fn difference(old: u32, new: u32, sum: Sum) -> Sum {
    sum.add_word(!old).add_word(new)
}
