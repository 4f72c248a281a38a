//! Line 20: no backend takes flows: DROP(no-backend), or a TCP reset (RFC 9293, section 3.10.7.1) or ICMP port unreachable.

use std::net::IpAddr;

use super::{CLIENT, CLIENT6, DNS, DNS6, WEB, WEB_SERVICE, WEB6, services};
use crate::{
    case::{Case, Drop, Expect, Flows, Malformed, Martian, NoBackend, Reply, Slots, Step, To, case, send, send_bytes},
    wire::{ACK, FIN, NODE_MAC, PSH, ROUTER_MAC, RST, SYN, Tcp, Transport, Wire, checksum, options_header, tcp, udp},
    world::{A, Service},
};

/// Bytes of the original packet that an ICMP error quotes at most.
const QUOTE: usize = 128;

pub(super) fn cases() -> Vec<Case> {
    [drops(), resets(), links(), unreachables(), others()].concat()
}

fn rejecting() -> [Service; 4] {
    services(&[]).map(Service::rejecting)
}

fn reject(what: &str, steps: impl IntoIterator<Item = Step>) -> Case {
    case(what, &rejecting(), steps)
}

fn drops() -> Vec<Case> {
    let all = [
        tcp(CLIENT, WEB, SYN),
        tcp(CLIENT, WEB, ACK),
        tcp(CLIENT, WEB, RST),
        tcp(CLIENT6, WEB6, SYN),
        udp(CLIENT, DNS),
        udp(CLIENT6, DNS6),
    ];
    let steps = all.iter().map(|wire| send(wire, Drop(NoBackend))).chain([Flows(vec![])]);
    vec![case("policy drop", &services(&[]), steps)]
}

/// From the VIP to the client, by the way that the packet came; no options, fields of a packet that the node makes.
fn back(wire: &Wire, transport: Transport) -> Wire {
    Wire {
        to: wire.from,
        from: wire.to,
        tags: wire.tags.clone(),
        source: wire.destination,
        destination: wire.source,
        class: 0,
        ttl: 64,
        id: 0,
        fragment: 0x4000,
        options: Vec::new(),
        extensions: Vec::new(),
        transport,
        padding: 0,
    }
}

/// The reset that is due for a segment: `<SEQ=SEG.ACK><CTL=RST>`, or `<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>`.
pub(super) fn reset(wire: &Wire) -> Expect {
    let Transport::Tcp(tcp) = &wire.transport else { panic!("no TCP") };
    let controls = u32::from(tcp.flags & SYN != 0) + u32::from(tcp.flags & FIN != 0);
    let length = tcp.payload.len() as u32 + controls;
    let (seq, ack, flags) =
        if tcp.flags & ACK != 0 { (tcp.ack, 0, RST) } else { (0, tcp.seq.wrapping_add(length), RST | ACK) };
    let ports = (tcp.ports.1, tcp.ports.0);
    let reset = Tcp { ports, seq, ack, flags, window: 0, options: Vec::new(), payload: Vec::new() };
    Reply(back(wire, Transport::Tcp(reset)).frame())
}

fn resets() -> Vec<Case> {
    let row = |what: &str, change: &dyn Fn(Wire) -> Wire| {
        let wires = [change(tcp(CLIENT, WEB, SYN)), change(tcp(CLIENT6, WEB6, SYN))];
        reject(what, wires.map(|wire| send(&wire, reset(&wire))).into_iter().chain([Flows(vec![])]))
    };
    let flags = |flags: u8, payload: &'static [u8]| {
        move |wire: Wire| {
            wire.tcp_with(|tcp| {
                tcp.flags = flags;
                tcp.payload = payload.to_vec();
                tcp.ack = if flags & ACK != 0 { 0x8000_0001 } else { 0 };
            })
        }
    };
    let options = vec![2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    let ends = |seq: u32| move |wire: Wire| wire.tcp_with(|tcp| tcp.seq = seq);
    vec![
        row("SYN", &flags(SYN, b"")),
        row("SYN with data", &flags(SYN | PSH, b"sixteen and more")),
        row("SYN and FIN with data", &flags(SYN | FIN, b"odd")),
        row("SYN with options", &|wire| wire.tcp_with(|tcp| tcp.options = options.clone())),
        row("SYN with options and data", &|wire| {
            wire.tcp_with(|tcp| {
                tcp.options = options.clone();
                tcp.payload = vec![0xff; 5];
            })
        }),
        row("FIN without ACK", &flags(FIN, b"")),
        row("no flag", &flags(0, b"")),
        row("no flag, data", &flags(0, b"seven b")),
        row("ACK", &flags(ACK, b"")),
        row("ACK with data", &flags(ACK | PSH, b"GET / HTTP/1.1\r\n")),
        row("SYN and ACK", &flags(SYN | ACK, b"")),
        row("FIN and ACK", &flags(FIN | ACK, b"last words")),
        row("sequence number that wraps", &ends(u32::MAX)),
        row("sequence number at the end of its low half", &ends(0x1234_ffff)),
        row("the largest segment of an Ethernet", &flags(PSH, &[0x55; 1440])),
        reject(
            "no answer to a reset",
            [RST, RST | ACK, RST | SYN, RST | FIN | ACK].map(|flags| send(&tcp(CLIENT, WEB, flags), Drop(NoBackend))),
        ),
        reject("no answer to a reset, IPv6", [send(&tcp(CLIENT6, WEB6, RST), Drop(NoBackend))]),
    ]
}

/// What lies around the segment does not count as its data.
fn links() -> Vec<Case> {
    let v4 = || tcp(CLIENT, WEB, SYN).tcp_with(|tcp| tcp.payload = b"abc".to_vec());
    let v6 = || tcp(CLIENT6, WEB6, SYN).tcp_with(|tcp| tcp.payload = b"abc".to_vec());
    let row = |what: &str, wires: Vec<Wire>| {
        reject(format!("reset: {what}").as_str(), wires.into_iter().map(|wire| send(&wire, reset(&wire))))
    };
    let padded = |wire: Wire| wire.with(|wire| wire.padding = 9);
    let single = [(0x8100, 0x6064)];
    let double = [(0x88a8, 7), (0x8100, 100)];
    vec![
        row("padding", vec![padded(v4()), padded(v6())]),
        row("a VLAN tag", vec![v4().tagged(&single), v6().tagged(&single)]),
        row("QinQ", vec![v4().tagged(&double), v6().tagged(&double)]),
        row("IPv4 options", vec![v4().with(|wire| wire.options = vec![1; 40])]),
        row("extension headers", vec![v6().extended(&[options_header(0, 1), options_header(60, 0)])]),
        row("TTL 1", vec![v4().ttl(1), v6().ttl(1)]),
    ]
}

/// RFC 792 type 3, code 3; RFC 4443 type 1, code 4.
fn unreachable(wire: &Wire) -> Expect {
    icmp_error(wire, if wire.source.is_ipv4() { [3, 3] } else { [1, 4] }, 0)
}

/// An error of this type and code about a packet, from the VIP.
pub(super) fn icmp_error(wire: &Wire, kind: [u8; 2], argument: u32) -> Expect {
    icmp_error_from(wire.destination, wire, kind, argument)
}

/// The same from another address.
pub(super) fn icmp_error_from(sender: IpAddr, wire: &Wire, kind: [u8; 2], argument: u32) -> Expect {
    let original = wire.packet();
    let quote = &original[..original.len().min(QUOTE)];
    let v4 = wire.source.is_ipv4();
    let mut message = [&kind[..], &[0; 2], &argument.to_be_bytes(), quote].concat();
    if v4 {
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let error = back(wire, Transport::Raw(if v4 { 1 } else { 58 }, message));
    Reply(error.with(|error| error.source = sender).frame())
}

fn unreachables() -> Vec<Case> {
    let both = || [udp(CLIENT, DNS), udp(CLIENT6, DNS6)];
    let row = |what: &str, wires: Vec<Wire>| {
        let steps = wires.into_iter().map(|wire| send(&wire, unreachable(&wire)));
        reject(format!("port unreachable: {what}").as_str(), steps.chain([Flows(vec![])]))
    };
    let sized = |sizes: [usize; 3]| {
        let payload = |size: usize| (0..size).map(|i| i as u8 | 1).collect::<Vec<u8>>();
        sizes.into_iter().flat_map(|size| both().map(|wire| wire.payload(&payload(size)))).collect()
    };
    let double = [(0x88a8, 7), (0x8100, 100)];
    vec![
        row("a question", both().to_vec()),
        row("no data", both().map(|wire| wire.payload(b"")).to_vec()),
        row("IPv4 at the limit of the quote", sized([99, 100, 101])),
        row("IPv6 at the limit of the quote", sized([79, 80, 81])),
        row("large", sized([512, 1000, 1400])),
        row("tags", both().map(|wire| wire.tagged(&double)).to_vec()),
        row("padding is not quoted", both().map(|wire| wire.with(|wire| wire.padding = 20)).to_vec()),
        row("IPv4 options are quoted", vec![udp(CLIENT, DNS).with(|wire| wire.options = vec![1; 8])]),
        row("extension headers are quoted", vec![udp(CLIENT6, DNS6).extended(&[options_header(60, 0)])]),
    ]
}

fn others() -> Vec<Case> {
    let syn = tcp(CLIENT, WEB, SYN);
    let to_group = [NODE_MAC, ROUTER_MAC].map(|from| {
        let wire = udp(CLIENT, DNS).with(|wire| {
            wire.to = [0xff; 6];
            wire.from = from;
        });
        send(&wire, Drop(Martian))
    });
    vec![
        // RFC 1122, section 3.2.2: no error in answer to what was sent to a group, or has no single sender.
        reject(
            "no answer to a group or a martian",
            to_group.into_iter().chain([
                send(&udp(("224.0.0.1", 9), DNS), Drop(Martian)),
                send(&udp(("::", 9), DNS6), Drop(Martian)),
                send(&tcp(("127.0.0.1", 9), WEB, SYN), Drop(Martian)),
            ]),
        ),
        reject(
            "no answer to what is malformed",
            [send_bytes(syn.patched(syn.transport_at() + 12, &[0x40]), Drop(Malformed))],
        ),
        case(
            "known flows are not rejected",
            &services(&[A]).map(Service::rejecting),
            [
                send(&syn, To(A)),
                Slots(WEB_SERVICE, vec![]),
                send(&tcp(CLIENT, WEB, ACK), To(A)),
                send(&tcp((CLIENT.0, 5), WEB, SYN), reset(&tcp((CLIENT.0, 5), WEB, SYN))),
                Slots(WEB_SERVICE, vec![A]),
                send(&tcp((CLIENT.0, 5), WEB, SYN), To(A)),
            ],
        ),
    ]
}
