//! Outer headers of `ipip` and `gue`, built a second time: what a wrapped packet must look like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    abi::{Mode, TunnelEnds},
    parse::Family,
};

use crate::{oracle, wire, world::Backend};

/// Lowest and highest outer source of the node; the flow chooses one between.
const SOURCES: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 66, 0, 0), Ipv4Addr::new(10, 66, 255, 255));
const SOURCES6: (Ipv6Addr, Ipv6Addr) =
    (Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0), Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0xffff, 0xffff));
/// Not the default, so that it matters.
const GUE_PORT: u16 = 6666;

/// How a service's backends are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outer {
    pub(crate) mode: Mode,
    /// The family of their addresses.
    pub(crate) v6: bool,
}

impl Outer {
    /// All there are.
    pub(crate) const fn all(mode: Mode) -> [Self; 2] {
        [Self { mode, v6: false }, Self { mode, v6: true }]
    }

    /// Bytes in front of the packet.
    pub(crate) const fn overhead(self) -> usize {
        (if self.v6 { 40 } else { 20 }) + if matches!(self.mode, Mode::Gue) { 12 } else { 0 }
    }

    /// The record that the tables have of it.
    pub(crate) fn ends(self, backend: Backend, inner: Family) -> TunnelEnds {
        let words = |address: IpAddr| match address {
            IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
            IpAddr::V6(address) => {
                let octets = address.octets();
                [0, 4, 8, 12].map(|at| u32::from_ne_bytes(octets[at..at + 4].try_into().expect("four bytes")))
            }
        };
        let source: IpAddr = if self.v6 { SOURCES6.0.into() } else { SOURCES.0.into() };
        TunnelEnds {
            mode: self.mode,
            family: if self.v6 { Family::V6 } else { Family::V4 },
            source: words(source),
            varying: if self.v6 { u32::MAX } else { 0xffff_u32.to_be() },
            destination: words(self.address(backend)),
            port: if self.mode == Mode::Gue { GUE_PORT } else { 0 },
            inner,
        }
    }

    /// A backend's own address.
    fn address(self, backend: Backend) -> IpAddr {
        let host = backend as u8 + 1;
        if self.v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, host.into()).into()
        } else {
            Ipv4Addr::new(10, 0, 0, host).into()
        }
    }
}

/// What the flow chose of an outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choice {
    pub(crate) source: IpAddr,
    /// UDP source port, or 0.
    pub(crate) port: u16,
    /// IPv6 flow label, or 0.
    pub(crate) label: u32,
}

/// Length of an Ethernet header with its tags.
pub(crate) fn link(frame: &[u8]) -> usize {
    let is_tag = |at: usize| matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8]));
    (0..2).fold(14, |link, _| if is_tag(link - 2) { link + 4 } else { link })
}

/// The frame that `frame` becomes on its way to a backend, with what the flow chose taken from `seen`.
///
/// # Errors
///
/// If that is outside of its range, or there is no outer header.
pub(crate) fn wrapped(frame: &[u8], seen: &[u8], backend: Backend, outer: Outer) -> Result<(Vec<u8>, Choice), String> {
    let link = link(frame);
    let tags = backend.tags(&frame[12..link - 2]);
    let inner = &frame[link..];
    let v4 = inner[0] >> 4 == 4;
    let be16 = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let length = usize::from(be16(inner, if v4 { 2 } else { 4 })) + if v4 { 0 } else { 40 };
    let class = if v4 { inner[1] } else { inner[0] << 4 | inner[1] >> 4 };
    let wrapped = 14 + tags.len();
    let header = seen.get(wrapped..wrapped + outer.overhead()).ok_or("no outer header")?;
    let choice = choice(header, outer)?;
    let proto = if v4 { 4 } else { 41 };
    let (source, destination) = (choice.source.to_string(), outer.address(backend).to_string());
    let mut wire = if outer.mode == Mode::Gue {
        wire::udp((&source, choice.port), (&destination, GUE_PORT))
            .payload(&[&[0, proto, 0, 0], &inner[..length]].concat())
    } else {
        wire::raw(&source, &destination, proto, &inner[..length])
    };
    (wire.class, wire.ttl, wire.id, wire.fragment) = (class, 64, 0, 0x4000);
    let mut packet = wire.packet();
    if outer.v6 {
        packet[1] |= (choice.label >> 16) as u8;
        packet[2..4].copy_from_slice(&(choice.label as u16).to_be_bytes());
    }
    if outer.mode == Mode::Gue {
        let at = if outer.v6 { 46 } else { 26 };
        match checksum(frame, inner, outer) {
            Checksum::None => packet[at..at + 2].fill(0),
            Checksum::Right => {}
            // It is as wrong as the one inside.
            Checksum::Wrong => packet[at..at + 2].copy_from_slice(&seen[wrapped + at..wrapped + at + 2]),
        }
    }
    let kind: [u8; 2] = if outer.v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let mut whole = [&backend.mac()[..], &backend.egress_mac(), &tags, &kind].concat();
    whole.extend(packet);
    whole.extend(&inner[length..]);
    Ok((whole, choice))
}

/// What the checksum in front of a packet must be.
enum Checksum {
    None,
    Right,
    Wrong,
}

/// RFC 6935: none over IPv4, and none where the headers inside do not tell it.
fn checksum(frame: &[u8], inner: &[u8], outer: Outer) -> Checksum {
    let is_told = if inner[0] >> 4 == 4 {
        let udp = usize::from(inner[0] & 15) * 4;
        let is_whole = u16::from_be_bytes([inner[6], inner[7]]) & 0x3fff == 0;
        is_whole && (matches!(inner[9], 1 | 6) || inner[9] == 17 && inner[udp + 6..udp + 8] != [0, 0])
    } else {
        matches!(inner[6], 6 | 17 | 58)
    };
    match (outer.v6 && is_told, oracle::checksums_are_right(frame).is_ok()) {
        (false, _) => Checksum::None,
        (true, true) => Checksum::Right,
        (true, false) => Checksum::Wrong,
    }
}

fn choice(header: &[u8], outer: Outer) -> Result<Choice, String> {
    let source: IpAddr = if outer.v6 {
        <[u8; 16]>::try_from(&header[8..24]).expect("sixteen bytes").into()
    } else {
        <[u8; 4]>::try_from(&header[12..16]).expect("four bytes").into()
    };
    let is_own = match source {
        IpAddr::V4(source) => (SOURCES.0..=SOURCES.1).contains(&source),
        IpAddr::V6(source) => (SOURCES6.0..=SOURCES6.1).contains(&source),
    };
    let ip = if outer.v6 { 40 } else { 20 };
    let port = if outer.mode == Mode::Gue { u16::from_be_bytes([header[ip], header[ip + 1]]) } else { 0 };
    let label = if outer.v6 { u32::from_be_bytes([0, header[1] & 15, header[2], header[3]]) } else { 0 };
    if !is_own || outer.mode == Mode::Gue && port < 0xc000 {
        return Err(format!("outer source {source} port {port}"));
    }
    Ok(Choice { source, port, label })
}
