//! Packets, described so that a failure shows what matters of them.

use crate::wire::{ACK, Extension, ROUTER_MAC, Transport, Wire, ethernet, icmp, options_header, raw, tcp, udp};

/// What becomes a frame.
#[derive(Clone, Debug)]
pub(super) enum Recipe {
    /// A packet from a client.
    Ip(Ip),
    /// Any bytes behind an Ethernet header of some type.
    Other { ethertype: u16, payload: Vec<u8> },
}

/// A packet from a client, with what is not ordinary about it.
#[derive(Clone, Debug)]
pub(super) struct Ip {
    pub(super) from: (&'static str, u16),
    pub(super) to: (&'static str, u16),
    pub(super) what: What,
    pub(super) oddities: Vec<Oddity>,
    pub(super) faults: Vec<Fault>,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// With these flags.
    Tcp(u8),
    Udp,
    /// Another protocol.
    Protocol(u8),
    /// ICMP of this type and code, quoting a packet: from the target to the client, or the other way, by TCP or UDP.
    Icmp {
        kind: [u8; 2],
        turned: bool,
        udp: bool,
    },
}

/// What a right packet can have. What the other family has is left out.
#[derive(Clone, Debug)]
pub(super) enum Oddity {
    Tag(u16, u16),
    /// So many words of IPv4 options.
    Options(u8),
    Extension(Extension),
    /// So many extension headers in a row.
    Chain(u8),
    /// The IPv4 word of flags and offset.
    Fragment(u16),
    Ttl(u8),
    /// Sent to a group of stations.
    Group,
    Payload(u16),
    Padding(u8),
    /// TCP options, filled up to whole words.
    TcpOptions(Vec<u8>),
    /// Acknowledged by nobody.
    NoAck,
}

/// What happened to a packet on its way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// A byte, counted from the beginning and around its headers, has another value.
    Set(u8, u8),
    /// A bit of it is the other way round.
    Flip(u8, u8),
    /// So many bytes are left, counted around.
    Cut(u16),
}

/// Where headers end that faults are worth while in.
const HEADERS: usize = 90;
/// Bytes of an Ethernet header: `BPF_PROG_TEST_RUN` wants as many.
const SHORTEST: usize = 14;

impl Recipe {
    /// The frame.
    pub(super) fn frame(&self) -> Vec<u8> {
        match self {
            Self::Ip(ip) => ip.frame(),
            Self::Other { ethertype, payload } => ethernet(ROUTER_MAC, *ethertype, payload),
        }
    }
}

impl Ip {
    fn frame(&self) -> Vec<u8> {
        let wire = match self.what {
            What::Tcp(flags) => tcp(self.from, self.to, flags),
            What::Udp => udp(self.from, self.to),
            What::Icmp { kind, turned, udp } => self.icmp(kind, turned, udp),
            What::Protocol(number) => raw(self.from.0, self.to.0, number, &[8; 16]),
        };
        let wire = self.oddities.iter().fold(wire, |wire, oddity| oddity.of(wire));
        self.faults.iter().fold(wire.frame(), |frame, fault| fault.of(frame))
    }

    fn icmp(&self, kind: [u8; 2], turned: bool, is_udp: bool) -> Wire {
        let (from, to) = if turned { (self.to, self.from) } else { (self.from, self.to) };
        let quoted = if is_udp { udp(from, to) } else { tcp(from, to, ACK) };
        icmp(self.from.0, self.to.0, kind, &[&[0; 4], &quoted.packet()[..]].concat())
    }
}

impl Oddity {
    fn of(&self, mut wire: Wire) -> Wire {
        match (self, &mut wire.transport) {
            (Self::Tag(tpid, tci), _) => wire.tags.push((*tpid, *tci)),
            (Self::Options(words), _) => wire.options = vec![1; 4 * usize::from(*words)],
            (Self::Extension(extension), _) => wire.extensions.push(extension.clone()),
            (Self::Chain(count), _) => wire.extensions = vec![options_header(60, 0); usize::from(*count)],
            (Self::Fragment(word), _) => wire.fragment = *word,
            (Self::Ttl(ttl), _) => wire.ttl = *ttl,
            (Self::Group, _) => wire.to = [0x01, 0, 0x5e, 0, 0, 1],
            (Self::Payload(len), _) => return wire.payload(&vec![0xa5; usize::from(*len)]),
            (Self::Padding(len), _) => wire.padding = usize::from(*len),
            (Self::TcpOptions(options), Transport::Tcp(tcp)) => {
                tcp.options.clone_from(options);
                tcp.options.resize(options.len().next_multiple_of(4), 1);
            }
            (Self::NoAck, Transport::Tcp(tcp)) => tcp.ack = 0,
            (Self::TcpOptions(_) | Self::NoAck, _) => {}
        }
        wire
    }
}

impl Fault {
    fn of(self, mut frame: Vec<u8>) -> Vec<u8> {
        let len = frame.len();
        let place = |at: u8| usize::from(at) % len.min(HEADERS);
        match self {
            Self::Set(at, value) => frame[place(at)] = value,
            Self::Flip(at, bit) => frame[place(at)] ^= 1 << (bit % 8),
            Self::Cut(left) => frame.truncate(SHORTEST + usize::from(left) % (len + 1 - SHORTEST)),
        }
        frame
    }
}
