//! Packets, built by hand from the RFCs' header formats, so that every field can be wrong on purpose.

use std::net::IpAddr;

use lb_common::parse::Family;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// The router that the packets come from.
pub(crate) const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// The address that the router sends to: a virtual one (RFC 5798), other than that of the egress interface.
pub(crate) const NODE_MAC: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a];

/// What follows the network header.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Tcp(Tcp),
    Udp(Udp),
    /// Any protocol, as bytes.
    Raw(u8, Vec<u8>),
}

/// An extension header of IPv6: its number, and what follows its next-header byte.
pub(crate) type Extension = (u8, Vec<u8>);

/// A TCP segment (RFC 9293, section 3.1).
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) ports: (u16, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// A UDP datagram (RFC 768).
#[derive(Clone, Debug)]
pub(crate) struct Udp {
    pub(crate) ports: (u16, u16),
    pub(crate) payload: Vec<u8>,
}

/// A whole frame.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
    /// (TPID, TCI), outermost first.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) class: u8,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    /// Flags and offset of IPv4 (RFC 791, section 3.1).
    pub(crate) fragment: u16,
    /// Options of IPv4, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// Extension headers of IPv6.
    pub(crate) extensions: Vec<Extension>,
    pub(crate) transport: Transport,
    /// Bytes behind the packet.
    pub(crate) padding: usize,
}

/// A frame from a client to a server; names are address and port.
fn wire(source: &str, destination: &str, transport: Transport) -> Wire {
    Wire {
        to: NODE_MAC,
        from: ROUTER_MAC,
        tags: Vec::new(),
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        class: 0x28,
        ttl: 61,
        id: 0x1c46,
        fragment: 0x4000,
        options: Vec::new(),
        extensions: Vec::new(),
        transport,
        padding: 0,
    }
}

/// A TCP segment with some payload, none in a SYN.
pub(crate) fn tcp(source: (&str, u16), destination: (&str, u16), flags: u8) -> Wire {
    let payload = if flags & (SYN | RST) != 0 { Vec::new() } else { b"GET / HTTP/1.1".to_vec() };
    let ports = (source.1, destination.1);
    let tcp = Tcp {
        ports,
        seq: 0x1000_0001,
        ack: if flags & ACK != 0 { 0x2000_0002 } else { 0 },
        flags,
        window: 0xfaf0,
        options: Vec::new(),
        payload,
    };
    wire(source.0, destination.0, Transport::Tcp(tcp))
}

/// A UDP datagram.
pub(crate) fn udp(source: (&str, u16), destination: (&str, u16)) -> Wire {
    let udp = Udp { ports: (source.1, destination.1), payload: b"a question, of odd length".to_vec() };
    wire(source.0, destination.0, Transport::Udp(udp))
}

/// A packet of any protocol.
pub(crate) fn raw(source: &str, destination: &str, protocol: u8, bytes: &[u8]) -> Wire {
    wire(source, destination, Transport::Raw(protocol, bytes.to_vec()))
}

/// An ICMP or ICMPv6 message: type and code, and what follows the checksum.
pub(crate) fn icmp(source: &str, destination: &str, kind: [u8; 2], rest: &[u8]) -> Wire {
    let v4 = !source.contains(':');
    let mut bytes = [&kind, &[0, 0], rest].concat();
    if v4 {
        let sum = checksum(&[&bytes]);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    raw(source, destination, if v4 { 1 } else { 58 }, &bytes)
}

/// A frame without IP.
pub(crate) fn ethernet(to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &ROUTER_MAC, &kind.to_be_bytes(), payload].concat()
}

impl Wire {
    /// With a change.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// With a change of its TCP segment.
    pub(crate) fn tcp_with(self, change: impl FnOnce(&mut Tcp)) -> Self {
        self.with(|wire| match &mut wire.transport {
            Transport::Tcp(tcp) => change(tcp),
            _ => panic!("no TCP"),
        })
    }

    /// With a payload.
    pub(crate) fn payload(self, payload: &[u8]) -> Self {
        self.with(|wire| match &mut wire.transport {
            Transport::Tcp(Tcp { payload: own, .. }) | Transport::Udp(Udp { payload: own, .. }) => {
                *own = payload.to_vec();
            }
            Transport::Raw(_, bytes) => *bytes = payload.to_vec(),
        })
    }

    /// With VLAN tags.
    pub(crate) fn tagged(self, tags: &[(u16, u16)]) -> Self {
        self.with(|wire| wire.tags = tags.to_vec())
    }

    /// With IPv6 extension headers.
    pub(crate) fn extended(self, extensions: &[Extension]) -> Self {
        self.with(|wire| wire.extensions = extensions.to_vec())
    }

    /// With a TTL or hop limit.
    pub(crate) fn ttl(self, ttl: u8) -> Self {
        self.with(|wire| wire.ttl = ttl)
    }

    /// Source and destination port.
    pub(crate) fn ports(&self) -> (u16, u16) {
        match &self.transport {
            Transport::Tcp(tcp) => tcp.ports,
            Transport::Udp(udp) => udp.ports,
            Transport::Raw(..) => panic!("no ports"),
        }
    }

    /// With other ports.
    pub(crate) fn with_ports(self, ports: (u16, u16)) -> Self {
        self.with(|wire| match &mut wire.transport {
            Transport::Tcp(tcp) => tcp.ports = ports,
            Transport::Udp(udp) => udp.ports = ports,
            Transport::Raw(..) => panic!("no ports"),
        })
    }

    /// Its family.
    pub(crate) fn family(&self) -> Family {
        if self.source.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Length of the link header.
    pub(crate) fn link_len(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    /// Where the transport header begins in the frame.
    pub(crate) fn transport_at(&self) -> usize {
        let network = if self.source.is_ipv4() {
            20 + self.options.len()
        } else {
            40 + self.extensions.iter().map(|(_, body)| 1 + body.len()).sum::<usize>()
        };
        self.link_len() + network
    }

    /// The frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = [self.to, self.from].concat();
        for (tpid, tci) in &self.tags {
            frame.extend([tpid.to_be_bytes(), tci.to_be_bytes()].concat());
        }
        frame.extend(if self.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        frame.extend(self.packet());
        frame.extend(vec![0; self.padding]);
        frame
    }

    /// The frame with bytes overwritten.
    pub(crate) fn patched(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut frame = self.frame();
        frame[at..][..bytes.len()].copy_from_slice(bytes);
        frame
    }

    /// The frame with bytes of the network header overwritten, and the IPv4 header checksum right again.
    pub(crate) fn network_patched(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let start = self.link_len();
        let mut frame = self.patched(start + at, bytes);
        if self.source.is_ipv4() {
            frame[start + 10..][..2].fill(0);
            let len = (usize::from(frame[start] & 15) * 4).max(20).min(frame.len() - start);
            let sum = checksum(&[&frame[start..][..len]]);
            frame[start + 10..][..2].copy_from_slice(&sum.to_be_bytes());
        }
        frame
    }

    /// The IP packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let (protocol, transport) = self.transport();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45 + (self.options.len() / 4) as u8, self.class];
                header.extend(((20 + self.options.len() + transport.len()) as u16).to_be_bytes());
                header.extend(self.id.to_be_bytes());
                header.extend(self.fragment.to_be_bytes());
                header.extend([self.ttl, protocol, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header.extend(&self.options);
                let sum = checksum(&[&header]);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                [header, transport].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut next = protocol;
                let mut body = transport;
                for (number, extension) in self.extensions.iter().rev() {
                    body = [&[next], &extension[..], &body].concat();
                    next = *number;
                }
                let mut header = (0x6000_0000 | u32::from(self.class) << 20).to_be_bytes().to_vec();
                header.extend((body.len() as u16).to_be_bytes());
                header.extend([next, self.ttl]);
                header.extend(source.octets());
                header.extend(destination.octets());
                [header, body].concat()
            }
            _ => panic!("addresses of two families"),
        }
    }

    fn transport(&self) -> (u8, Vec<u8>) {
        match &self.transport {
            Transport::Tcp(tcp) => {
                let mut bytes = [tcp.ports.0.to_be_bytes(), tcp.ports.1.to_be_bytes()].concat();
                bytes.extend(tcp.seq.to_be_bytes());
                bytes.extend(tcp.ack.to_be_bytes());
                bytes.extend([((5 + tcp.options.len() / 4) << 4) as u8, tcp.flags]);
                bytes.extend(tcp.window.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(&tcp.options);
                bytes.extend(&tcp.payload);
                (6, self.summed(6, bytes, 16))
            }
            Transport::Udp(udp) => {
                let len = (8 + udp.payload.len()) as u16;
                let mut bytes = [udp.ports.0.to_be_bytes(), udp.ports.1.to_be_bytes(), len.to_be_bytes()].concat();
                bytes.extend([0; 2]);
                bytes.extend(&udp.payload);
                (17, self.summed(17, bytes, 6))
            }
            Transport::Raw(58, bytes) if bytes.len() >= 8 && self.source.is_ipv6() => {
                (58, self.summed(58, bytes.clone(), 2))
            }
            Transport::Raw(protocol, bytes) => (*protocol, bytes.clone()),
        }
    }

    /// Fills in a transport checksum, with the pseudo header of RFC 9293, section 3.1, and RFC 8200, section 8.1.
    fn summed(&self, protocol: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        let addresses = [octets(self.source), octets(self.destination)].concat();
        let tail = [&(bytes.len() as u32).to_be_bytes()[..], &[0, 0, 0, protocol]].concat();
        let sum = match checksum(&[&addresses, &tail, &bytes]) {
            0 if protocol == 17 => 0xffff,
            sum => sum,
        };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The Internet checksum (RFC 1071) of parts; all but the last have an even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words.map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low))).sum();
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !(folded as u16)
}

/// The IPv6 fragment header (RFC 8200, section 4.5), without its next-header byte.
pub(crate) fn fragment_header(offset: u16, more: bool) -> Extension {
    let word = offset << 3 | u16::from(more);
    (44, [&[0], &word.to_be_bytes()[..], &[0xde, 0xad, 0xbe, 0xef]].concat())
}

/// An extension header of `units` further units of eight bytes, filled with PadN (RFC 8200, section 4.2).
pub(crate) fn options_header(number: u8, units: u8) -> Extension {
    let len = 6 + 8 * usize::from(units);
    let mut body = vec![units, 1, (len - 2) as u8];
    body.resize(1 + len, 0);
    (number, body)
}

/// A routing header of an experimental type without segments left (RFC 8200, section 4.4).
pub(crate) fn routing_header() -> Extension {
    (43, vec![0, 253, 0, 0, 0, 0, 0])
}
