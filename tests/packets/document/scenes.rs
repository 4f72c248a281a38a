//! The kinds of packets that the manual tells of, by chapter of the catalogue.

use lb_common::{abi::Mode, quic::Parameters};

use crate::{
    case::{Host, Step, send},
    lines::{CLIENT, CLIENT6, DNS, DNS6, HOST, HOST6, WEB, WEB6, fragments::parts, icmp_errors::too_big, services},
    quic::{connection_id, server_id_of},
    way::Way,
    wire::{ACK, FIN, RST, SYN, Wire, fragment_header, icmp, options_header, raw, tcp, udp},
    world::{self, A, B, Backend, Service},
};

/// A kind of packet.
pub(super) struct Scene {
    pub(super) chapter: &'static str,
    pub(super) packet: &'static str,
    /// How it comes about over IPv4, or over IPv6; `None`: not at all.
    pub(super) stage: fn(bool) -> Option<Staged>,
}

/// A packet that is made from what the last one of [`Staged::before`] became.
pub(super) type Made = Box<dyn Fn(&[u8], Way) -> Vec<u8>>;

/// What comes before a packet, and the packet.
pub(super) struct Staged {
    pub(super) services: Vec<Service>,
    pub(super) before: Vec<Step>,
    /// A packet between these and the last, if there is one.
    pub(super) between: Option<Made>,
    /// The packet.
    pub(super) last: Made,
    /// What a new flow gets now.
    pub(super) slot: Backend,
}

impl Staged {
    fn of(wire: &Wire) -> Option<Self> {
        Self::bytes(wire.frame())
    }

    fn bytes(frame: Vec<u8>) -> Option<Self> {
        let services = services(&[A]).to_vec();
        Some(Self { services, before: Vec::new(), between: None, last: Box::new(move |_, _| frame.clone()), slot: A })
    }

    /// After this one.
    fn after(mut self, wire: &Wire) -> Self {
        self.before.push(send(wire, Host));
        self
    }

    /// New flows get another backend by now.
    fn moved(mut self) -> Self {
        self.before.extend((0..self.services.len()).map(|service| Step::Slots(service, vec![B])));
        self.slot = B;
        self
    }

    fn on(mut self, services: &[Service]) -> Self {
        self.services = services.to_vec();
        self
    }
}

fn client(v6: bool) -> (&'static str, u16) {
    if v6 { CLIENT6 } else { CLIENT }
}

fn segment(v6: bool, flags: u8) -> Wire {
    tcp(client(v6), if v6 { WEB6 } else { WEB }, flags)
}

fn datagram(v6: bool) -> Wire {
    udp(client(v6), if v6 { DNS6 } else { DNS })
}

fn large(v6: bool) -> Wire {
    let empty = segment(v6, ACK).payload(b"").packet().len();
    segment(v6, ACK).payload(&vec![0x5a; 1501 - empty])
}

/// What the VIP sends to the client, as the client sees it.
fn sent(v6: bool) -> Wire {
    tcp(if v6 { WEB6 } else { WEB }, client(v6), ACK).payload(&[0x5a; 1400])
}

/// What the backend sends in the flow of a packet that became `seen`.
fn reply(first: &Wire, seen: &[u8], way: Way) -> Wire {
    let (client_port, service_port) = first.ports();
    let translation = if let Way::Translation(translation) = way { Some(translation) } else { None };
    let (source, port) = match translation {
        Some(translation) => (A.address(first.family()), translation.port),
        None => (first.destination, service_port),
    };
    let is_full = translation.is_some_and(|translation| translation.mode == Mode::FullNat);
    let (destination, client_port) = if is_full {
        let at = first.transport_at();
        (world::pool(first.family()), u16::from_be_bytes([seen[at], seen[at + 1]]))
    } else {
        (first.source, client_port)
    };
    first.clone().with_ports((port, client_port)).with(|reply| {
        (reply.source, reply.destination) = (source, destination);
        (reply.to, reply.from) = (A.egress_mac(), A.mac());
    })
}

/// What follows a packet, made from the backend's reply to it.
fn answered(first: &Wire, last: fn(Wire) -> Wire) -> Option<Staged> {
    let staged = Staged::of(first)?.after(first);
    Some(Staged { last: from_reply(first, last), ..staged })
}

fn from_reply(first: &Wire, make: fn(Wire) -> Wire) -> Made {
    let first = first.clone();
    Box::new(move |seen, way| make(reply(&first, seen, way)).frame())
}

/// A part of the reply that follows its first part.
fn answered_in_parts(first: &Wire) -> Option<Staged> {
    let staged = answered(first, |reply| parts(&reply, 7)[1].clone())?;
    Some(Staged { between: Some(from_reply(first, |reply| parts(&reply, 7)[0].clone())), ..staged })
}

/// A backend's own error about a packet of the client, as it came to it.
fn refused(reply: Wire) -> Wire {
    let (source, destination) = (reply.source, reply.destination);
    let (to, from) = reply.ports();
    let quoted = reply.clone().with_ports((from, to)).with(|wire| {
        (wire.source, wire.destination) = (destination, source);
    });
    let kind = if source.is_ipv4() { [3, 3] } else { [1, 4] };
    let quote = [&[0; 4], &quoted.packet()[..]].concat();
    icmp(&source.to_string(), &destination.to_string(), kind, &quote)
        .with(|wire| (wire.to, wire.from) = (A.egress_mac(), A.mac()))
}

fn without_backend(wire: &Wire, rejects: bool) -> Option<Staged> {
    let empty = services(&[]).map(|service| if rejects { service.rejecting() } else { service });
    Some(Staged::of(wire)?.on(&empty))
}

fn at(backend: Backend, wire: &Wire) -> Option<Staged> {
    Some(Staged { slot: backend, ..Staged::of(wire)?.on(&services(&[backend])) })
}

fn by_addresses(wire: &Wire) -> Option<Staged> {
    Some(Staged::of(wire)?.on(&services(&[A]).map(Service::by_addresses)))
}

/// The bytes of a packet from here on, as raw ones of a family.
fn raw_to(v6: bool, protocol: u8, bytes: &[u8]) -> Wire {
    let (from, to) = if v6 { (CLIENT6, WEB6) } else { (CLIENT, WEB) };
    raw(from.0, to.0, protocol, bytes)
}

fn echo(v6: bool) -> Wire {
    let (from, to) = if v6 { (CLIENT6, WEB6) } else { (CLIENT, WEB) };
    icmp(from.0, to.0, [if v6 { 128 } else { 8 }, 0], b"\x12\x34\0\x07data")
}

/// A service with QUIC-LB that gives new flows to B.
fn quic(v6: bool, server: &[u8]) -> Option<Staged> {
    let parameters = Parameters { id: 0, server_id_length: 3, nonce_length: 4, key: None };
    let payload = [&[0x43], &connection_id(&parameters, server)[..], &[0x77; 20]].concat();
    let services = services(&[B]).map(|service| service.quic(&[parameters]));
    Some(Staged { slot: B, ..Staged::of(&datagram(v6).payload(&payload))?.on(&services[2..]) })
}

fn options(v6: bool, headers: usize) -> Option<Staged> {
    let wire = segment(v6, ACK);
    let wire = if v6 {
        wire.extended(&vec![options_header(60, 0); headers])
    } else {
        wire.with(|wire| wire.options = vec![1; 4 * headers])
    };
    Staged::of(&wire)
}

fn unless(is: bool, staged: Option<Staged>) -> Option<Staged> {
    if is { None } else { staged }
}

macro_rules! scenes {
    ($($chapter:literal: { $($packet:literal => $stage:expr;)* })*) => {
        /// All of them.
        pub(super) const SCENES: &[Scene] = &[
            $($(Scene { chapter: $chapter, packet: $packet, stage: $stage },)*)*
        ];
    };
}

scenes! {
    "Whose packet": {
        "to an address that is no VIP" => |v6| Staged::of(&tcp(client(v6), if v6 { HOST6 } else { HOST }, SYN));
        "to a VIP, but to no service's port" => |v6| Staged::of(&segment(v6, SYN).with_ports((40_000, 22)));
        "with a VLAN tag, or two" => |v6| Staged::of(&segment(v6, SYN).tagged(&[(0x88a8, 7), (0x8100, 100)]));
        "IPv4 options, IPv6 extension headers" => |v6| options(v6, 2);
        "more extension headers than are followed" => |v6| unless(!v6, options(v6, 12));
        "shorter than its headers say" => |v6| {
            let mut frame = segment(v6, ACK).frame();
            frame.truncate(frame.len() - 4);
            Staged::bytes(frame)
        };
        "AH or ESP to a VIP" => |v6| Staged::of(&raw_to(v6, 50, &[7; 40]));
        "IPIP to a VIP" => |v6| Staged::of(&raw_to(v6, if v6 { 41 } else { 4 }, &segment(v6, SYN).packet()));
        "TTL or hop limit 0" => |v6| Staged::of(&segment(v6, ACK).ttl(0));
        "TTL or hop limit 1" => |v6| Staged::of(&segment(v6, ACK).ttl(1));
        "from a multicast address" => |v6| {
            Staged::of(&tcp(if v6 { ("ff02::1", 5) } else { ("224.0.0.1", 5) }, if v6 { WEB6 } else { WEB }, SYN))
        };
        "in a frame to a group" => |v6| Staged::of(&segment(v6, SYN).with(|wire| wire.to = [0xff; 6]));
        "from the backend to its own service" => |v6| {
            let wire = segment(v6, SYN);
            let own = A.address(wire.family());
            Staged::of(&wire.with(|wire| wire.source = own))
        };
    }
    "New and present flows": {
        "SYN of a new flow" => |v6| Staged::of(&segment(v6, SYN));
        "UDP of a new flow" => |v6| Staged::of(&datagram(v6));
        "TCP without an entry, no SYN" => |v6| Staged::of(&segment(v6, ACK));
        "SYN again, in setup" => |v6| Some(Staged::of(&segment(v6, SYN))?.after(&segment(v6, SYN)).moved());
        "TCP of a known flow" => |v6| Some(Staged::of(&segment(v6, ACK))?.after(&segment(v6, SYN)).moved());
        "UDP of a known flow" => |v6| Some(Staged::of(&datagram(v6))?.after(&datagram(v6)).moved());
        "FIN or RST of a known flow" => |v6| Some(Staged::of(&segment(v6, FIN | ACK))?.after(&segment(v6, SYN)).moved());
        "SYN after RST" => |v6| {
            let staged = Staged::of(&segment(v6, SYN))?.after(&segment(v6, SYN)).after(&segment(v6, RST));
            Some(staged.moved())
        };
        "wrong TCP checksum (it stays wrong)" => |v6| {
            let wire = segment(v6, SYN);
            Staged::bytes(wire.patched(wire.transport_at() + 16, &[0xba, 0xad]))
        };
        "UDP without a checksum (it stays so)" => |v6| {
            let wire = datagram(v6);
            unless(v6, Staged::bytes(wire.patched(wire.transport_at() + 6, &[0, 0])))
        };
        "no backend, `on_no_backend: drop`" => |v6| without_backend(&segment(v6, SYN), false);
        "no backend, `on_no_backend: reject`: TCP" => |v6| without_backend(&segment(v6, SYN), true);
        "no backend, `on_no_backend: reject`: UDP" => |v6| without_backend(&datagram(v6), true);
    }
    "On the way to the backend": {
        "next hop not resolved" => |v6| at(Backend::Unresolved, &segment(v6, SYN));
        "outgoing interface gone" => |v6| at(Backend::Gone, &segment(v6, SYN));
        "behind another interface" => |v6| at(Backend::Far, &segment(v6, SYN));
        "in a VLAN" => |v6| at(Backend::Tagged, &segment(v6, SYN));
        "larger than the path, DF or IPv6" => |v6| at(Backend::Far, &large(v6));
        "larger than the path, without DF" => |v6| {
            unless(v6, at(Backend::Far, &large(v6).with(|wire| wire.fragment = 0)))
        };
    }
    "From a backend, through the node": {
        "reply of a flow" => |v6| answered(&segment(v6, SYN), |reply| reply);
        "reply of a flow, TTL 1" => |v6| answered(&segment(v6, SYN), |reply| reply.ttl(1));
        "reply of no flow" => |v6| answered(&segment(v6, SYN), |reply| {
            let (from, to) = reply.ports();
            reply.with_ports((from, to ^ 1))
        });
        "first fragment of a reply" => |v6| answered(&datagram(v6), |reply| parts(&reply, 7)[0].clone());
        "later fragment of a reply without its first" => |v6| answered(&datagram(v6), |reply| parts(&reply, 7)[1].clone());
        "later fragment of a reply after its first" => |v6| answered_in_parts(&datagram(v6));
        "ICMP error of the backend about a flow" => |v6| answered(&datagram(v6), refused);
    }
    "ICMP": {
        "echo request to a VIP" => |v6| Staged::of(&echo(v6));
        "error about what the VIP sent, known flow" => |v6| {
            Some(Staged::of(&too_big(&sent(v6)))?.after(&segment(v6, SYN)).moved())
        };
        "error about what the VIP sent, no such flow" => |v6| Staged::of(&too_big(&sent(v6)));
        "error about what the VIP did not send" => |v6| {
            let other = if v6 { HOST6.0 } else { HOST.0 }.parse().expect("an address");
            let vip = if v6 { WEB6.0 } else { WEB.0 }.parse().expect("an address");
            let error = too_big(&sent(v6).with(|wire| wire.source = other));
            Staged::of(&error.with(|wire| wire.destination = vip))
        };
        "error about what the VIP sent, TTL 1" => |v6| {
            Some(Staged::of(&too_big(&sent(v6)).ttl(1))?.after(&segment(v6, SYN)))
        };
    }
    "Fragments": {
        "the first" => |v6| { let [first, ..] = parts(&datagram(v6), 7); Staged::of(&first) };
        "a later one after its first" => |v6| {
            let [first, later, _] = parts(&datagram(v6), 7);
            Some(Staged::of(&later)?.after(&first).moved())
        };
        "a later one without its first, `fragments: drop`" => |v6| {
            let [_, later, _] = parts(&datagram(v6), 7);
            Staged::of(&later)
        };
        "a later one without its first, `fragments: hash`" => |v6| {
            let [_, later, _] = parts(&datagram(v6), 7);
            by_addresses(&later)
        };
        "atomic (IPv6)" => |v6| unless(!v6, Staged::of(&datagram(v6).extended(&[fragment_header(0, false)])));
    }
    "QUIC (service with `quic`)": {
        "connection id that names a backend" => |v6| quic(v6, &server_id_of(A, 3));
        "connection id that names none" => |v6| quic(v6, &[0x3c; 3]);
    }
}
