//! Line 29: an ICMP error about a packet that the VIP sent → to the destination that holds the flow, or that its hash gives.

use lb_common::{
    abi::{DestinationState, Mode, TunnelEnds, tunnel_index},
    parse::Family,
};

use super::{CLIENT, CLIENT6, DNS, DNS_SERVICE, DNS6, HOST, HOST6, WEB, WEB_SERVICE, WEB6, services};
use crate::{
    case::{
        Case, Counted, Drop, Established, Flows, IcmpSpoof, Malformed, Martian, NoBackend, NotServed, OtherProtocol,
        Pass, Setup, Slots, Step, To, Ttl, UdpSingle, case, send, send_bytes,
    },
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Action, Machine, ROOMY},
    oracle,
    runner::Run,
    wire::{ACK, FIN, PSH, SYN, Wire, fragment_header, icmp, options_header, raw, tcp, udp},
    world::{self, A, B},
};

/// Routers on the way to the client.
const ROUTER: &str = "192.0.2.1";
const ROUTER6: &str = "2001:db8:c::1";

pub(super) fn cases() -> Vec<Case> {
    [to_the_holder(), by_hash(), every_code(), refused(), hosts(), quotes()].concat()
}

/// An error of this type and code from a router to whoever sent a packet, quoting so many bytes of it.
fn error_of(wire: &Wire, kind: [u8; 2], most: usize) -> Wire {
    let packet = wire.packet();
    let quote = &packet[..packet.len().min(most)];
    let router = if wire.source.is_ipv4() { ROUTER } else { ROUTER6 };
    // What does not fit, and the MTU that would.
    icmp(router, &wire.source.to_string(), kind, &[&[0, 0, 0x05, 0x00], quote].concat())
}

/// The usual one: fragmentation needed, packet too big.
pub(crate) fn too_big(wire: &Wire) -> Wire {
    if wire.source.is_ipv4() { error_of(wire, [3, 4], 28) } else { error_of(wire, [2, 0], 1232) }
}

/// What a backend sent for the VIP in the flow of these two.
fn sent(client: (&str, u16), vip: (&str, u16)) -> Wire {
    tcp(vip, client, ACK | PSH).payload(&[0x5a; 1400])
}

fn sent_udp(client: (&str, u16), vip: (&str, u16)) -> Wire {
    udp(vip, client).payload(&[0x5a; 1400])
}

fn row(what: &str, steps: impl IntoIterator<Item = Step>) -> Case {
    case(what, &services(&[A]), steps)
}

/// A row in which the hash gives a destination. Of `full-nat` nobody knows a flow without its entry.
fn by_hash_as_well(what: &str, steps: impl IntoIterator<Item = Step>) -> Case {
    row(what, steps).except(&[Mode::FullNat])
}

fn to_the_holder() -> Vec<Case> {
    let tcp_error = too_big(&sent(CLIENT, WEB));
    vec![
        by_hash_as_well(
            "TCP",
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                send(&tcp(CLIENT, WEB, ACK), To(A)),
                // The hash says B from now on.
                Slots(WEB_SERVICE, vec![B]),
                send(&tcp_error, To(A)),
                // Other ports, other address: other flows.
                send(&too_big(&sent((CLIENT.0, 40_002), WEB)), To(B)),
                send(&too_big(&sent(("192.0.2.8", CLIENT.1), WEB)), To(B)),
                Flows(vec![(Established, A)]),
                Counted { backend: A, new: 1, closed: 0 },
                Counted { backend: B, new: 0, closed: 0 },
            ],
        ),
        row(
            "UDP",
            [
                send(&udp(CLIENT, DNS), To(A)),
                Slots(DNS_SERVICE, vec![B]),
                send(&too_big(&sent_udp(CLIENT, DNS)), To(A)),
                Flows(vec![(UdpSingle, A)]),
            ],
        ),
        row(
            "IPv6",
            [
                send(&tcp(CLIENT6, WEB6, SYN), To(A)),
                send(&udp(CLIENT6, DNS6), To(A)),
                Slots(1, vec![B]),
                Slots(3, vec![B]),
                send(&too_big(&sent(CLIENT6, WEB6)), To(A)),
                send(&too_big(&sent_udp(CLIENT6, DNS6)), To(A)),
                Flows(vec![(Setup, A), (UdpSingle, A)]),
            ],
        ),
        by_hash_as_well(
            "it neither keeps a flow alive nor closes it",
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                Slots(WEB_SERVICE, vec![B]),
                Step::Wait(50),
                send(&tcp_error, To(A)),
                send(&error_of(&tcp(WEB, CLIENT, FIN | ACK), [3, 3], 40), To(A)),
                Flows(vec![(Setup, A)]),
                Step::Wait(15),
                send(&tcp_error, To(B)),
                Flows(vec![]),
            ],
        ),
        by_hash_as_well(
            "behind tags, options and extension headers of its own",
            [
                send(&tcp_error.clone().tagged(&[(0x88a8, 7), (0x8100, 100)]), To(A)),
                send(&tcp_error.clone().with(|wire| wire.options = vec![1; 8]), To(A)),
                send(&too_big(&sent(CLIENT6, WEB6)).extended(&[options_header(0, 0)]), To(A)),
                send(&tcp_error.with(|wire| wire.padding = 6), To(A)),
            ],
        ),
    ]
}

fn by_hash() -> Vec<Case> {
    vec![
        by_hash_as_well(
            "without an entry: where the hash says, and not remembered",
            [
                send(&too_big(&sent(CLIENT, WEB)), To(A)),
                send(&too_big(&sent(CLIENT6, WEB6)), To(A)),
                Flows(vec![]),
                Slots(WEB_SERVICE, vec![B]),
                send(&too_big(&sent(CLIENT, WEB)), To(B)),
                Counted { backend: B, new: 0, closed: 0 },
            ],
        ),
        case(
            "without a backend",
            &services(&[]).map(world::Service::rejecting),
            [send(&too_big(&sent(CLIENT, WEB)), Drop(NoBackend))],
        ),
    ]
}

fn every_code() -> Vec<Case> {
    let v4 = sent(CLIENT, WEB);
    let v6 = sent(CLIENT6, WEB6);
    let each = |wire: &Wire, kind: u8, codes: std::ops::RangeInclusive<u8>| {
        codes.map(|code| send(&error_of(wire, [kind, code], 68), To(A))).collect::<Vec<_>>()
    };
    vec![
        // RFC 792, RFC 1122, RFC 1812: 0 to 15.
        by_hash_as_well("destination unreachable", [each(&v4, 3, 0..=16), each(&v4, 3, 255..=255)].concat()),
        by_hash_as_well("time exceeded, parameter problem", [each(&v4, 11, 0..=1), each(&v4, 12, 0..=2)].concat()),
        // RFC 4443, sections 3.1 to 3.4.
        by_hash_as_well(
            "ICMPv6",
            [each(&v6, 1, 0..=8), each(&v6, 2, 0..=0), each(&v6, 3, 0..=1), each(&v6, 4, 0..=3)].concat(),
        ),
    ]
}

fn refused() -> Vec<Case> {
    let quoting = |source: &str, vip: &str, quote: &Wire| {
        let kind = if source.contains(':') { [2, 0] } else { [3, 4] };
        icmp(source, vip, kind, &[&[0; 4], &quote.packet()[..]].concat())
    };
    let spoofed = |wire: Wire| send(&wire, Drop(IcmpSpoof));
    let genuine = too_big(&sent(CLIENT, WEB));
    vec![
        row(
            "what is quoted was not sent by the VIP",
            [
                spoofed(quoting(ROUTER, WEB.0, &sent(CLIENT, DNS))),
                spoofed(quoting(ROUTER, WEB.0, &tcp(CLIENT, WEB, ACK))),
                spoofed(quoting(ROUTER, WEB.0, &sent(CLIENT, HOST))),
                spoofed(quoting(ROUTER6, WEB6.0, &sent(CLIENT6, DNS6))),
                spoofed(quoting(ROUTER6, WEB6.0, &tcp(CLIENT6, WEB6, ACK))),
            ],
        ),
        row("TTL 0", [send(&genuine.clone().ttl(0), Drop(Ttl))]),
        row("sent to a group", [send(&genuine.clone().with(|wire| wire.to = [0xff; 6]), Drop(Martian))]),
        row(
            "from what is no router",
            [
                send(&quoting("127.0.0.1", WEB.0, &sent(CLIENT, WEB)), Drop(Martian)),
                send(&quoting("224.0.0.9", WEB.0, &sent(CLIENT, WEB)), Drop(Martian)),
                send(&quoting(DNS.0, WEB.0, &sent(CLIENT, WEB)), Drop(Martian)),
                send(&quoting("ff02::1", WEB6.0, &sent(CLIENT6, WEB6)), Drop(Martian)),
            ],
        ),
    ]
}

fn hosts() -> Vec<Case> {
    let quoting_raw = |protocol: u8| error_of(&raw(WEB.0, CLIENT.0, protocol, &[0x11; 16]), [3, 1], 68);
    vec![
        row(
            "what is quoted is of no service",
            [
                send(&too_big(&sent(CLIENT, (WEB.0, 22))), Pass(NotServed)),
                send(&too_big(&sent_udp(CLIENT, WEB)), Pass(NotServed)),
                send(&too_big(&sent(CLIENT6, (WEB6.0, 22))), Pass(NotServed)),
            ],
        ),
        row(
            "what is quoted is neither TCP nor UDP",
            [send(&quoting_raw(1), Pass(OtherProtocol)), send(&quoting_raw(50), Pass(OtherProtocol))],
        ),
        row(
            "for no VIP",
            [
                send(&too_big(&sent(CLIENT, HOST)), Pass(OtherProtocol)),
                send(&too_big(&sent(CLIENT6, HOST6)), Pass(OtherProtocol)),
                // Not even if the quote makes no sense.
                send(&error_of(&sent(CLIENT, HOST), [3, 4], 3), Pass(OtherProtocol)),
            ],
        ),
        row(
            "messages that concern no flow",
            [
                send(&error_of(&sent(CLIENT, WEB), [4, 0], 28), Pass(OtherProtocol)),
                send(&error_of(&sent(CLIENT, WEB), [5, 1], 28), Pass(OtherProtocol)),
                send(&error_of(&sent(CLIENT6, WEB6), [137, 0], 48), Pass(OtherProtocol)),
                send(&error_of(&sent(CLIENT6, WEB6), [5, 0], 48), Pass(OtherProtocol)),
            ],
        ),
    ]
}

fn quotes() -> Vec<Case> {
    let v4 = sent(CLIENT, WEB);
    let v6 = sent(CLIENT6, WEB6);
    let options = v4.clone().with(|wire| wire.options = vec![1; 12]);
    let pieces = |fragment: u16| v4.clone().with(|wire| wire.fragment = fragment);
    let short = |wire: &Wire, kind: [u8; 2], bytes: &[usize]| {
        bytes.iter().map(|most| send(&error_of(wire, kind, *most), Drop(Malformed))).collect::<Vec<_>>()
    };
    let of_quote = |wire: &Wire, at: usize, bytes: &[u8]| {
        let error = error_of(wire, [3, 4], 28);
        error.patched(error.transport_at() + 8 + at, bytes)
    };
    vec![
        by_hash_as_well(
            "eight bytes of the transport header are enough",
            [
                send(&error_of(&v4, [3, 4], 28), To(A)),
                send(&error_of(&options, [3, 4], 40), To(A)),
                send(&error_of(&v6, [2, 0], 48), To(A)),
            ],
        ),
        row(
            "fewer are not",
            [
                short(&v4, [3, 4], &[27, 24, 21, 20, 19, 4, 1, 0]),
                short(&options, [3, 4], &[39, 32, 28]),
                short(&v6, [2, 0], &[47, 41, 40, 39, 8, 1, 0]),
            ]
            .concat(),
        ),
        row(
            "padding is no part of the quote",
            [send(&error_of(&v4, [3, 4], 24).with(|wire| wire.padding = 30), Drop(Malformed))],
        ),
        row("without its second half", [send(&icmp(ROUTER, WEB.0, [3, 4], &[]), Drop(Malformed))]),
        row(
            "a header that does not hold together",
            [
                send_bytes(of_quote(&v4, 0, &[0x65]), Drop(Malformed)),
                send_bytes(of_quote(&v4, 0, &[0x44]), Drop(Malformed)),
                send_bytes(of_quote(&v4, 0, &[0x4f]), Drop(Malformed)),
            ],
        ),
        // A router may have changed these, and what they say cannot be checked with a part of the packet.
        by_hash_as_well(
            "TTL, checksum and length of the quoted header do not matter",
            [
                send_bytes(of_quote(&v4, 8, &[0]), To(A)),
                send_bytes(of_quote(&v4, 10, &[0xba, 0xad]), To(A)),
                send_bytes(of_quote(&v4, 2, &[0xff, 0xff]), To(A)),
            ],
        ),
        by_hash_as_well(
            "quoted fragments",
            [
                send(&error_of(&pieces(0x2000), [3, 4], 28), To(A)),
                send(&error_of(&pieces(0x2000 | 185), [3, 4], 28), Drop(Malformed)),
                send(&error_of(&pieces(185), [11, 1], 28), Drop(Malformed)),
                send(&error_of(&v6.clone().extended(&[fragment_header(0, true)]), [2, 0], 1232), To(A)),
                send(&error_of(&v6.clone().extended(&[fragment_header(181, true)]), [3, 1], 1232), Drop(Malformed)),
            ],
        ),
        by_hash_as_well(
            "quoted extension headers",
            [
                send(&error_of(&v6.clone().extended(&[options_header(60, 1)]), [2, 0], 1232), To(A)),
                send(&error_of(&v6.extended(&[options_header(60, 1)]), [2, 0], 60), Drop(Malformed)),
            ],
        ),
    ]
}

/// Puts [`A`] of a service (an IPv4 one or an IPv6 one) behind a tunnel.
pub(super) fn tunnel(machine: &impl Machine, service: usize, mode: Mode, family: Family) {
    let inner = if services(&[])[service].vip.contains(':') { Family::V6 } else { Family::V4 };
    let (source, destination) = ([1_u32.to_be(), 0, 0, 7], [2_u32.to_be(), 0, 0, 9]);
    let ends = TunnelEnds { mode, family, source, varying: 0, destination, port: 6080, inner };
    let tables = machine.tables();
    let id = A.id(service) as usize;
    let state = DestinationState { mode, ..tables.destinations[id].state() };
    tables.tunnels[tunnel_index(id as u32, state)].set(&ends);
    tables.destinations[id].set_state(state);
}

/// In a tunnel the whole message is wrapped, as any packet of the flow.
fn tunnelled(mut machine: impl Machine) {
    let case = row("tunnels", []);
    for (mode, family) in
        [(Mode::Ipip, Family::V4), (Mode::Ipip, Family::V6), (Mode::Gue, Family::V4), (Mode::Gue, Family::V6)]
    {
        for (service, error) in [(0, too_big(&sent(CLIENT, WEB))), (1, too_big(&sent(CLIENT6, WEB6)))] {
            let run = Run::begin(&mut machine, &case);
            tunnel(run.machine, service, mode, family);
            let ends = (mode, family, service);
            let frame = error.frame();
            let (action, bytes) = run.machine.run(&frame);
            assert_eq!(action, Action::Transmit, "{ends:?}");
            let outer = if family == Family::V4 { 20 } else { 40 } + if mode == Mode::Gue { 12 } else { 0 };
            assert_eq!(bytes.len(), frame.len() + outer, "{ends:?}");
            assert_eq!(bytes[14 + outer..], frame[14..], "the message is unchanged: {ends:?}");
            assert_eq!(bytes[..6], A.mac(), "{ends:?}");
            if mode == Mode::Gue {
                let told = u16::from_be_bytes([bytes[14 + outer - 6], bytes[14 + outer - 5]]);
                assert_eq!(told == 0, family == Family::V4, "the outer checksum: {ends:?}");
                if told != 0 {
                    oracle::checksums_are_right(&bytes).expect("headers tell the outer checksum");
                }
            }
        }
    }
}

#[test]
fn tunnelled_in_memory() {
    tunnelled(InMemory::new(ROOMY));
}

#[test]
fn tunnelled_in_the_kernel() {
    if let Some(machine) = InKernel::new(ROOMY) {
        tunnelled(machine);
    }
}
