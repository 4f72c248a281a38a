//! Line 30: a first fragment → like any packet; later ones → to the same destination, in any order after the first; without the first
//! → DROP(fragment), or by the hash of the addresses if the service asks for it. Atomic fragments are whole packets (RFC 6946).

use std::collections::BTreeSet;

use lb_common::{abi::Mode, parse::Family, verdict::DropReason};

use super::{CLIENT, CLIENT6, DNS, DNS_SERVICE, DNS6, HOST, HOST6, WEB, WEB6, icmp_errors, services};
use crate::{
    case::{
        Case, Counted, Drop, Established, Flows, Fragment, Host, Malformed, Martian, NoBackend, Slots, Step,
        Step::State, To, Ttl, UdpSingle, case, send, send_bytes,
    },
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Action, Machine, ROOMY},
    oracle,
    runner::Run,
    wire::{ACK, SYN, Transport, Wire, fragment_header, options_header, raw, tcp, udp},
    world::{self, A, B, C},
};

const MORE: u16 = 0x2000;

pub(super) fn cases() -> Vec<Case> {
    [together(), apart(), refused(), remembered(), without_first(), atomic(), hosts()].concat()
}

fn row(what: &str, steps: impl IntoIterator<Item = Step>) -> Case {
    case(what, &services(&[A]), steps)
}

/// One part of a datagram: from this byte on (a multiple of eight), so many bytes, and whether more follow.
fn part(wire: &Wire, from: usize, len: usize, more: bool, id: u16) -> Wire {
    let protocol = if matches!(wire.transport, Transport::Tcp(_)) { 6 } else { 17 };
    let bytes = wire.frame()[wire.transport_at()..][from..][..len].to_vec();
    let part = raw(&wire.source.to_string(), &wire.destination.to_string(), protocol, &bytes);
    let offset = (from / 8) as u16;
    if wire.source.is_ipv4() {
        return part.with(|wire| {
            wire.id = id;
            wire.fragment = offset | if more { MORE } else { 0 };
        });
    }
    let (number, mut header) = fragment_header(offset, more);
    header[5..7].copy_from_slice(&id.to_be_bytes());
    part.extended(&[(number, header)])
}

/// A datagram of 200 bytes in three parts.
pub(crate) fn parts(wire: &Wire, id: u16) -> [Wire; 3] {
    let wire = wire.clone().payload(&[0x3c; 192]);
    let end = wire.frame().len() - wire.transport_at();
    [part(&wire, 0, 64, true, id), part(&wire, 64, 64, true, id), part(&wire, 128, end - 128, false, id)]
}

/// Services whose hash says B; the flows of the usual clients are known to be A's.
fn known_at_a() -> Vec<Step> {
    let known = [tcp(CLIENT, WEB, SYN), tcp(CLIENT6, WEB6, SYN), udp(CLIENT, DNS), udp(CLIENT6, DNS6)];
    let switched = (0..4).map(|service| Slots(service, vec![B]));
    known.iter().map(|wire| send(wire, To(A))).chain(switched).collect()
}

fn all() -> [Wire; 4] {
    [tcp(CLIENT, WEB, ACK), tcp(CLIENT6, WEB6, ACK), udp(CLIENT, DNS), udp(CLIENT6, DNS6)]
}

fn together() -> Vec<Case> {
    let to = |backend| move |wire: &Wire| send(wire, To(backend));
    let in_order = all().iter().flat_map(|wire| parts(wire, 7)).map(|part| to(A)(&part)).collect::<Vec<_>>();
    let new = all().map(|wire| wire.with(|wire| set_client_port(wire, 9999)));
    let turned = |wire: &Wire| {
        let [first, middle, last] = parts(wire, 8);
        [first, last, middle].map(|part| to(A)(&part))
    };
    vec![
        row("all parts go where the flow goes", known_at_a().into_iter().chain(in_order)),
        row("later ones in any order", known_at_a().into_iter().chain(all().iter().flat_map(turned))),
        row(
            "of a new flow: it is made, once",
            [Slots(2, vec![B]), Slots(0, vec![B]), Slots(1, vec![B]), Slots(3, vec![B])]
                .into_iter()
                .chain(new.iter().flat_map(|wire| parts(wire, 9)).map(|part| to(B)(&part)))
                .chain([
                    Flows(vec![(Established, B), (Established, B), (UdpSingle, B), (UdpSingle, B)]),
                    Counted { backend: B, new: 4, closed: 0 },
                ]),
        ),
        row("behind tags", {
            let tagged = parts(&udp(CLIENT, DNS), 3).map(|part| part.tagged(&[(0x88a8, 7), (0x8100, 100)]));
            tagged.map(|part| send(&part, To(A)))
        }),
        row("with Don't Fragment, which is as good as without", {
            let kept = parts(&udp(CLIENT, DNS), 3).map(|part| part.with(|wire| wire.fragment |= 0x4000));
            kept.map(|part| send(&part, To(A)))
        }),
        row("behind hop-by-hop options", {
            let behind = parts(&udp(CLIENT6, DNS6), 3).map(|part| {
                let own = part.extensions[0].clone();
                part.extended(&[options_header(0, 0), own])
            });
            behind.map(|part| send(&part, To(A)))
        }),
    ]
}

fn set_client_port(wire: &mut Wire, port: u16) {
    match &mut wire.transport {
        Transport::Tcp(tcp) => tcp.ports.0 = port,
        Transport::Udp(udp) => udp.ports.0 = port,
        Transport::Raw(..) => panic!("no ports"),
    }
}

/// Parts belong together by source, destination, identification and protocol.
fn apart() -> Vec<Case> {
    let later = |wire: &Wire, id| parts(wire, id)[1].clone();
    let first = |wire: &Wire, id| parts(wire, id)[0].clone();
    let [web, web6, dns, dns6] = all();
    let alone = |wires: Vec<Wire>| wires.into_iter().map(|wire| send(&wire, Drop(Fragment))).collect::<Vec<_>>();
    let others = |wire: &Wire, source: &str| {
        let mut other = later(wire, 7);
        other.source = source.parse().expect("an address");
        [later(wire, 8), later(wire, 7 << 8), other]
    };
    vec![
        row("later ones without the first", alone(all().iter().map(|wire| later(wire, 7)).collect())),
        row(
            "the last, shorter than any transport header",
            alone(vec![part(&dns, 8, 1, false, 7), part(&dns6, 8, 1, false, 7), part(&web, 24, 1, false, 7)]),
        ),
        row(
            "the later one first",
            [send(&later(&dns, 7), Drop(Fragment)), send(&first(&dns, 7), To(A)), send(&later(&dns, 7), To(A))],
        ),
        row(
            "another identification, another source",
            [send(&first(&dns, 7), To(A)), send(&first(&dns6, 7), To(A)), send(&first(&web6, 7), To(A))]
                .into_iter()
                .chain(alone([others(&dns, "192.0.2.8"), others(&dns6, "2001:db8:c::8")].concat()))
                .chain([send(&later(&dns, 7), To(A)), send(&later(&dns6, 7), To(A))]),
        ),
        row(
            "two datagrams at once",
            [
                send(&first(&dns, 1), To(A)),
                Slots(2, vec![B]),
                send(&first(&dns.clone().with(|wire| set_client_port(wire, 5)), 2), To(B)),
                send(&later(&dns, 2), To(B)),
                send(&later(&dns, 1), To(A)),
            ],
        ),
    ]
}

fn refused() -> Vec<Case> {
    let web = tcp(CLIENT, WEB, ACK).payload(&[1; 100]);
    let web6 = tcp(CLIENT6, WEB6, ACK).payload(&[1; 100]);
    let dns = udp(CLIENT, DNS).payload(&[1; 100]);
    let first = part(&dns, 0, 64, true, 1);
    let cut_header = tcp(CLIENT6, WEB6, SYN).extended(&[fragment_header(0, false)]).network_patched(4, &[0, 7]);
    vec![
        row(
            "a first one without the whole TCP header (RFC 1858)",
            [
                send(&part(&web, 0, 8, true, 1), Drop(Malformed)),
                send(&part(&web, 0, 16, true, 1), Drop(Malformed)),
                send(&part(&web6, 0, 16, true, 1), Drop(Malformed)),
                send(&part(&dns, 0, 8, true, 1), To(A)),
                Flows(vec![(UdpSingle, A)]),
            ],
        ),
        row(
            "a later one that lies over the TCP header (RFC 3128)",
            [
                send(&part(&web, 0, 64, true, 1), To(A)),
                send(&part(&web, 8, 64, true, 1), Drop(Malformed)),
                send(&part(&web6, 8, 64, true, 1), Drop(Malformed)),
            ],
        ),
        row(
            "a UDP length of less than its header",
            [send_bytes(first.patched(first.transport_at() + 4, &[0, 7]), Drop(Malformed))],
        ),
        row("TTL 0", [send(&first.clone().ttl(0), Drop(Ttl)), send(&part(&dns, 64, 8, false, 1).ttl(0), Drop(Ttl))]),
        row("sent to a group", [send(&first.clone().with(|wire| wire.to = [0xff; 6]), Drop(Martian))]),
        row("from a VIP", [send(&part(&udp(WEB, DNS).payload(&[1; 100]), 0, 64, true, 1), Drop(Martian))]),
        row("a fragment header that is cut", [send_bytes(cut_header, Drop(Malformed))]),
        case("without a backend", &services(&[]), [send(&first, Drop(NoBackend))]),
    ]
}

fn remembered() -> Vec<Case> {
    let [first, later, last] = parts(&udp(CLIENT, DNS), 1);
    let state =
        |keeps, generation| State(DNS_SERVICE, A, world::State { keeps, resets: false, takes: false, generation });
    vec![
        row(
            "for some seconds",
            [send(&first, To(A)), Step::Wait(29), send(&later, To(A)), Step::Wait(4), send(&last, Drop(Fragment))],
        ),
        row(
            "as long as the destination keeps its flows",
            [send(&first, To(A)), state(false, 1), send(&later, Drop(Fragment))],
        ),
        row("as long as it is the same", [send(&first, To(A)), state(true, 2), send(&later, Drop(Fragment))]),
    ]
}

fn without_first() -> Vec<Case> {
    let asking = |slots: &[_]| services(slots).map(world::Service::by_addresses);
    let later = |wire: &Wire| parts(wire, 7)[1].clone();
    let [web, web6, dns, dns6] = all();
    let beside = [
        world::Service::udp(DNS.0, DNS.1, &[A]),
        world::Service::udp(DNS.0, 0, &[B]).ports(1000, 2000).by_addresses(),
        world::Service::udp("198.51.100.0/24", 0, &[A]).ports(0, u16::MAX),
        world::Service::tcp(WEB.0, WEB.1, &[A]).by_addresses(),
    ];
    vec![
        case(
            "by hash if the service asks for it, and no flow is made",
            &asking(&[A]),
            all().iter().map(|wire| send(&later(wire), To(A))).chain([
                Flows(vec![]),
                Slots(DNS_SERVICE, vec![B]),
                send(&later(&dns), To(B)),
            ]),
        ),
        case(
            "but after the first where that went",
            &asking(&[A]),
            [
                send(&parts(&dns, 7)[0], To(A)),
                Slots(DNS_SERVICE, vec![B]),
                send(&later(&dns), To(A)),
                send(&parts(&dns, 8)[1], To(B)),
            ],
        ),
        case(
            "not everything",
            &asking(&[A]),
            [
                send(&later(&dns).ttl(0), Drop(Ttl)),
                send(&later(&udp(WEB, DNS)), Drop(Martian)),
                send(&later(&udp(WEB6, DNS6)), Drop(Martian)),
                send(&later(&udp(("127.0.0.1", 1), DNS)), Drop(Martian)),
                send(&part(&web.clone().payload(&[1; 100]), 8, 64, true, 1), Drop(Malformed)),
                send(&part(&web6.clone().payload(&[1; 100]), 8, 64, true, 1), Drop(Malformed)),
            ],
        ),
        case(
            "nobody there",
            &asking(&[]).map(world::Service::rejecting),
            [send(&later(&dns), Drop(NoBackend)), send(&later(&dns6), Drop(NoBackend))],
        ),
        case(
            "of several services with a VIP and protocol, to the one that asks",
            &beside,
            [
                send(&later(&dns), To(B)),
                send(&later(&udp(CLIENT, ("198.51.100.54", 53))), Drop(Fragment)),
                send(&later(&web), To(A)),
            ],
        ),
    ]
}

fn atomic() -> Vec<Case> {
    let whole = |wire: Wire| wire.extended(&[fragment_header(0, false)]);
    let reserved = whole(udp(CLIENT6, DNS6));
    let both =
        tcp(CLIENT6, WEB6, ACK).extended(&[options_header(0, 0), fragment_header(0, false), options_header(60, 0)]);
    vec![
        row(
            "atomic fragments are whole",
            [
                send(&whole(tcp(CLIENT6, WEB6, SYN)), To(A)),
                send(&whole(tcp(CLIENT6, WEB6, ACK)), To(A)),
                send(&tcp(CLIENT6, WEB6, ACK), To(A)),
                send(&whole(udp(CLIENT6, DNS6)), To(A)),
                send(&both, To(A)),
            ],
        ),
        // RFC 8200, section 4.5: reserved bits are ignored on reception.
        row(
            "reserved bits set",
            [
                send_bytes(reserved.network_patched(41, &[0xff, 0x00, 0x06]), To(A)),
                send_bytes(tcp(CLIENT, WEB, SYN).network_patched(6, &[0xc0]), To(A)),
            ],
        ),
    ]
}

fn hosts() -> Vec<Case> {
    let pieces = |wire: Wire| match wire.transport {
        Transport::Tcp(_) | Transport::Udp(_) | Transport::Raw(..) if wire.source.is_ipv4() => {
            wire.with(|wire| wire.fragment = MORE)
        }
        _ => wire.extended(&[fragment_header(0, true)]),
    };
    let host = |wire: Wire| send(&pieces(wire), Host);
    vec![
        row(
            "for no VIP",
            [
                host(tcp(CLIENT, HOST, ACK)),
                host(udp(CLIENT, HOST)),
                host(tcp(CLIENT6, HOST6, ACK)),
                host(udp(CLIENT6, HOST6)),
            ],
        ),
        row(
            "for a port that is not served: all parts",
            [udp(CLIENT, (DNS.0, 54)), udp(CLIENT6, (DNS6.0, 54)), tcp(CLIENT, (WEB.0, 81), ACK)]
                .iter()
                .flat_map(|wire| parts(wire, 7))
                .map(|part| send(&part, Host)),
        ),
        row(
            "for a VIP without a service of the protocol",
            [
                host(udp(CLIENT, WEB)),
                host(tcp(CLIENT, DNS, ACK)),
                host(udp(CLIENT6, WEB6)),
                host(tcp(CLIENT6, DNS6, ACK)),
            ],
        ),
        row(
            "ICMP in pieces, for a VIP",
            [
                host(raw(CLIENT.0, WEB.0, 1, &[8, 0, 0, 0, 0, 1, 0, 1])),
                host(raw(CLIENT6.0, WEB6.0, 58, &[128, 0, 0, 0, 0, 1, 0, 1])),
            ],
        ),
    ]
}

/// In a tunnel all parts are wrapped alike; what does not fit is told, where it may be.
fn tunnelled(mut machine: impl Machine) {
    let case = row("tunnels", []);
    for (mode, family, outer) in [
        (Mode::Ipip, Family::V4, 20),
        (Mode::Ipip, Family::V6, 40),
        (Mode::Gue, Family::V4, 32),
        (Mode::Gue, Family::V6, 52),
    ] {
        for (service, wire) in [(DNS_SERVICE, udp(CLIENT, DNS)), (DNS_SERVICE + 1, udp(CLIENT6, DNS6))] {
            let what = (mode, family, service);
            let mut run = Run::begin(&mut machine, &case);
            icmp_errors::tunnel(run.machine, service, mode, family);
            let mut headers = Vec::new();
            for part in parts(&wire, 7) {
                let frame = part.frame();
                let outcome = run.packet(&frame).expect("the books are right");
                assert_eq!(outcome.action, Action::Transmit, "{what:?}");
                assert_eq!(outcome.bytes[14 + outer..], frame[14..], "the part is unchanged: {what:?}");
                // Addresses, and the ports of GUE, by which routers on the way would tell flows apart.
                let (ip, udp) = if family == Family::V4 { (12..20, 34..38) } else { (8..40, 54..58) };
                let ports = if mode == Mode::Gue { outcome.bytes[udp].to_vec() } else { Vec::new() };
                headers.push((outcome.bytes[14..][ip].to_vec(), ports));
                if mode == Mode::Gue {
                    assert_eq!(outcome.bytes[14 + outer - 6..][..2], [0, 0], "no outer checksum: {what:?}");
                }
            }
            assert!(
                headers.windows(2).all(|pair| pair[0] == pair[1]),
                "one way for all parts: {what:?} {headers:02x?}"
            );
            let full = wire.clone().payload(&[0; 4000]);
            let len = if wire.source.is_ipv4() { 1480 } else { 1448 };
            let parts = [part(&full, 0, len, true, 8), part(&full, len, len, true, 8)];
            let [first, later] = parts.map(|part| run.packet(&part.frame()).expect("the books are right"));
            if wire.source.is_ipv4() {
                // No DF, but no router of ours cuts it.
                assert_eq!([first.action, later.action], [Action::Drop; 2], "{what:?}");
                assert_eq!(first.books.drop_reason(), Some(DropReason::Mtu), "{what:?}");
            } else {
                for outcome in [first, later] {
                    assert_eq!((outcome.action, outcome.books.other[0]), (Action::Transmit, 1), "{what:?}");
                    assert_eq!(outcome.bytes[54..56], [2, 0], "packet too big: {what:?}");
                    assert_eq!(outcome.bytes[58..62], (1500 - outer as u32).to_be_bytes(), "{what:?}");
                    oracle::checksums_are_right(&outcome.bytes).expect("right checksums");
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

/// Where a service asks for the hash, all that a client sends goes to one backend, whatever comes first.
fn together_by_addresses(mut machine: impl Machine) {
    let case = case("by addresses", &services(&[A, B, C]).map(world::Service::by_addresses), []);
    let run = Run::begin(&mut machine, &case);
    let mut to = |wire: &Wire| {
        let (action, bytes) = run.machine.run(&wire.frame());
        assert_eq!(action, Action::Transmit, "{wire:?}");
        bytes[..6].to_vec()
    };
    let mut backends = BTreeSet::new();
    for client in 1..40 {
        for vip in [WEB, WEB6, DNS, DNS6] {
            let is_v4 = !vip.0.contains(':');
            let address = if is_v4 { format!("192.0.2.{client}") } else { format!("2001:db8:c::{client}") };
            let packet = |port| {
                let from = (address.as_str(), port);
                if vip.1 == DNS.1 { udp(from, vip) } else { tcp(from, vip, ACK) }
            };
            let [first, later, last] = parts(&packet(5000), client);
            let backend = to(&later);
            for wire in [&first, &last, &packet(5000), &packet(6000), &packet(7000)] {
                assert_eq!(to(wire), backend, "{wire:?}");
            }
            let quoted = if vip.1 == DNS.1 { udp(vip, (&address, 8000)) } else { tcp(vip, (&address, 8000), ACK) };
            assert_eq!(to(&icmp_errors::too_big(&quoted)), backend, "of an unknown flow: {quoted:?}");
            backends.insert(backend);
        }
    }
    assert_eq!(backends.len(), 3);
}

#[test]
fn together_by_addresses_in_memory() {
    together_by_addresses(InMemory::new(ROOMY));
}

#[test]
fn together_by_addresses_in_the_kernel() {
    if let Some(machine) = InKernel::new(ROOMY) {
        together_by_addresses(machine);
    }
}

/// What a service without a backend answers: the first part as any packet, later ones not.
fn rejected(mut machine: impl Machine) {
    let case = case("rejected", &services(&[]).map(world::Service::rejecting), []);
    let mut run = Run::begin(&mut machine, &case);
    for (wire, at, unreachable) in [(udp(CLIENT, DNS), 34, [3, 3]), (udp(CLIENT6, DNS6), 54, [1, 4])] {
        let [first, later, _] = parts(&wire, 7).map(|part| run.packet(&part.frame()).expect("the books are right"));
        assert_eq!((first.action, &first.bytes[at..at + 2]), (Action::Transmit, &unreachable[..]));
        oracle::checksums_are_right(&first.bytes).expect("right checksums");
        assert_eq!((later.action, later.books.drop_reason()), (Action::Drop, Some(Fragment)));
    }
}

/// A table of 256 entries holds the last datagrams, whatever was before.
fn the_oldest_goes(mut machine: impl Machine) {
    fn sends(machine: &mut impl Machine, id: u16, index: usize) -> bool {
        machine.run(&parts(&udp(CLIENT, DNS), id)[index].frame()).0 == Action::Transmit
    }
    let case = row("full", []);
    let Run { machine, .. } = Run::begin(&mut machine, &case);
    assert!((1000..2024).all(|id| sends(machine, id, 0)));
    machine.advance(1);
    assert!((5000..5032).all(|id| sends(machine, id, 0)));
    let lost = (5000..5032).find(|id| !sends(machine, *id, 1));
    assert_eq!(lost, None);
    let left = (1000..2024).filter(|id| sends(machine, *id, 1)).count();
    assert!((150..=224).contains(&left), "{left} of those before are left");
}

#[test]
fn rejected_in_memory() {
    rejected(InMemory::new(ROOMY));
}

#[test]
fn rejected_in_the_kernel() {
    if let Some(machine) = InKernel::new(ROOMY) {
        rejected(machine);
    }
}

#[test]
fn the_oldest_goes_in_memory() {
    the_oldest_goes(InMemory::new(ROOMY));
}

#[test]
fn the_oldest_goes_in_the_kernel() {
    if let Some(machine) = InKernel::new(ROOMY) {
        the_oldest_goes(machine);
    }
}
