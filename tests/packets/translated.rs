//! What `nat` and `full-nat` make of a frame, built a second time, byte by byte.

use std::{net::IpAddr, ops::Range};

use lb_common::abi::Mode;

use crate::{
    oracle, outer,
    world::{Backend, POOL, POOL6},
};

/// How a service's packets are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    /// `nat` or `full-nat`.
    pub(crate) mode: Mode,
    /// The port of its backends; 0: that of the packet.
    pub(crate) port: u16,
}

/// The frame that `frame` becomes on its way to a backend. The port that the flow has in `full-nat` is taken from `seen`.
///
/// # Errors
///
/// If that is outside of its range, or a packet with right checksums becomes one with wrong ones.
pub(crate) fn translated(
    frame: &[u8],
    seen: &[u8],
    backend: Backend,
    translation: Translation,
) -> Result<Vec<u8>, String> {
    let link = outer::link(frame);
    let mut whole =
        [&backend.mac()[..], &backend.egress_mac(), &backend.tags(&frame[12..link - 2]), &frame[link - 2..]].concat();
    let network = whole.len() + link - frame.len();
    let packet = Headers::of(&whole, network);
    let target = backend.address(packet.family());
    let pool = if packet.v4 { POOL } else { POOL6 };
    let is_full = translation.mode == Mode::FullNat;
    if packet.is_error() {
        let inner = Headers::of(&whole, packet.transport + 8);
        let port = pool_port(seen, inner.transport + 2, is_full)?;
        // The quoted packet went the other way.
        let before = whole.clone();
        inner.set_address(&mut whole, Place::Source, target);
        set_port(&mut whole, inner.transport, translation.port);
        if is_full {
            inner.set_address(&mut whole, Place::Destination, pool);
            set_port(&mut whole, inner.transport + 2, port);
        }
        inner.renew(&before, &mut whole);
        packet.set_address(&mut whole, Place::Destination, target);
        packet.take_hop(&mut whole);
        packet.renew(&before, &mut whole);
    } else {
        let before = whole.clone();
        packet.set_address(&mut whole, Place::Destination, target);
        if is_full {
            packet.set_address(&mut whole, Place::Source, pool);
        }
        if !packet.is_part {
            set_port(&mut whole, packet.transport + 2, translation.port);
            if is_full {
                let port = pool_port(seen, packet.transport, true)?;
                set_port(&mut whole, packet.transport, port);
            }
        }
        packet.take_hop(&mut whole);
        packet.renew(&before, &mut whole);
    }
    if oracle::checksums_are_right(frame).is_ok() {
        oracle::checksums_are_right(&whole)?;
    }
    Ok(whole)
}

fn pool_port(seen: &[u8], at: usize, is_full: bool) -> Result<u16, String> {
    let bytes = seen.get(at..at + 2).ok_or("no port")?;
    match u16::from_be_bytes([bytes[0], bytes[1]]) {
        port if is_full && port < 1024 => Err(format!("port {port}")),
        port => Ok(port),
    }
}

/// 0 leaves the port as it is.
fn set_port(frame: &mut [u8], at: usize, port: u16) {
    if port != 0 {
        frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
    }
}

#[derive(Clone, Copy)]
enum Place {
    Source,
    Destination,
}

/// Where the headers of a packet are.
#[derive(Clone, Copy)]
struct Headers {
    v4: bool,
    network: usize,
    transport: usize,
    protocol: u8,
    /// A later part of a datagram.
    is_part: bool,
}

impl Headers {
    fn of(frame: &[u8], network: usize) -> Self {
        let be16 = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        if frame[network] >> 4 == 4 {
            let is_part = be16(network + 6) & 0x1fff != 0;
            let transport = network + usize::from(frame[network] & 15) * 4;
            return Self { v4: true, network, transport, protocol: frame[network + 9], is_part };
        }
        let (mut protocol, mut transport, mut is_part) = (frame[network + 6], network + 40, false);
        while matches!(protocol, 0 | 43 | 44 | 60) {
            let length = if protocol == 44 { 8 } else { 8 + 8 * usize::from(frame[transport + 1]) };
            is_part |= protocol == 44 && be16(transport + 2) >> 3 != 0;
            protocol = frame[transport];
            transport += length;
        }
        Self { v4: false, network, transport, protocol, is_part }
    }

    fn family(self) -> lb_common::parse::Family {
        if self.v4 { lb_common::parse::Family::V4 } else { lb_common::parse::Family::V6 }
    }

    /// Its TTL or hop limit goes down by one.
    fn take_hop(self, frame: &mut [u8]) {
        frame[self.network + if self.v4 { 8 } else { 7 }] -= 1;
    }

    fn is_error(self) -> bool {
        matches!(self.protocol, 1 | 58) && !self.is_part
    }

    /// Where its addresses lie.
    fn addresses(self) -> Range<usize> {
        if self.v4 { self.network + 12..self.network + 20 } else { self.network + 8..self.network + 40 }
    }

    fn set_address(self, frame: &mut [u8], place: Place, address: IpAddr) {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let at = self.addresses().start + if matches!(place, Place::Source) { 0 } else { octets.len() };
        frame[at..at + octets.len()].copy_from_slice(&octets);
    }

    /// Makes up in the checksums for what has changed, as far as they were right.
    fn renew(self, before: &[u8], frame: &mut [u8]) {
        if self.v4 {
            let header = self.network..self.network + usize::from(frame[self.network] & 15) * 4;
            renew(before, frame, self.network + 10, &[header]);
        }
        let field = match self.protocol {
            6 => self.transport + 16,
            17 => self.transport + 6,
            _ => self.transport + 2,
        };
        if self.is_part || field + 2 > before.len() || self.protocol == 17 && before[field..field + 2] == [0, 0] {
            return;
        }
        let segment = self.transport..frame.len();
        // ICMP alone has no pseudo-header.
        if self.v4 && self.protocol == 1 {
            renew(before, frame, field, &[segment]);
        } else {
            renew(before, frame, field, &[self.addresses(), segment]);
        }
        if self.protocol == 17 && frame[field..field + 2] == [0, 0] {
            frame[field..field + 2].fill(0xff);
        }
    }
}

/// Makes up in the checksum at `field` for what has changed in what it covers (RFC 1624, equation 3).
fn renew(before: &[u8], frame: &mut [u8], field: usize, covered: &[Range<usize>]) {
    let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes.get(at + 1).copied().unwrap_or(0)]);
    let words = covered.iter().flat_map(|range| range.clone().step_by(2)).filter(|at| *at != field);
    let mut sum = u64::from(!word(before, field))
        + words.map(|at| u64::from(!word(before, at)) + u64::from(word(frame, at))).sum::<u64>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[field..field + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
