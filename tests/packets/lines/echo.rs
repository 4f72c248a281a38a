//! Line 28: an echo request to a VIP → answered by the node: the request turned, its data intact and no larger than it was.

use lb_common::{features::Features, verdict::DropReason};

use super::{CLIENT, CLIENT6, DNS, DNS6, HOST, HOST6, WEB, WEB6, services};
use crate::{
    case::{
        Case, Drop, Expect, Flows, Malformed, Martian, OtherProtocol, Pass, Reply, Step, Ttl, case, send, send_bytes,
    },
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Machine, ROOMY},
    runner::{self, Run},
    wire::{Wire, checksum, fragment_header, icmp, options_header, raw},
    world::{A, Service},
};

const PING: [u8; 2] = [8, 128];
const PONG: [u8; 2] = [0, 129];

/// A message of one of these types (ICMP, ICMPv6) with id, sequence number and data.
fn echo(source: &str, destination: &str, types: [u8; 2], code: u8, data: &[u8]) -> Wire {
    let kind = types[usize::from(source.contains(':'))];
    icmp(source, destination, [kind, code], &[&[0x12, 0x34, 0, 7], data].concat())
}

fn ping(source: &str, destination: &str, data: &[u8]) -> Wire {
    echo(source, destination, PING, 0, data)
}

fn pings(data: &[u8]) -> [Wire; 2] {
    [ping(CLIENT.0, WEB.0, data), ping(CLIENT6.0, WEB6.0, data)]
}

/// The reply that is due: what a host would send, built anew, with class, id, DF and tags of the request.
fn pong(wire: &Wire, data: &[u8]) -> Expect {
    let (source, destination) = (wire.destination.to_string(), wire.source.to_string());
    let reply = echo(&source, &destination, PONG, 0, data);
    Reply(
        Wire {
            to: wire.from,
            from: wire.to,
            tags: wire.tags.clone(),
            class: wire.class,
            id: wire.id,
            fragment: wire.fragment,
            ttl: 64,
            ..reply
        }
        .frame(),
    )
}

fn row(what: &str, steps: impl IntoIterator<Item = Step>) -> Case {
    case(what, &services(&[A]), steps)
}

pub(super) fn cases() -> Vec<Case> {
    [answered(), not_answered(), addresses()].concat()
}

fn answered() -> Vec<Case> {
    let counting = |size: usize| (0..size).map(|i| (i * 7) as u8).collect::<Vec<u8>>();
    let usual = counting(56);
    let changed = |what: &str, change: &dyn Fn(Wire) -> Wire| {
        let wires = pings(&usual).map(change);
        row(what, wires.map(|wire| send(&wire, pong(&wire, &usual))))
    };
    let sized = |size: usize| {
        let data = counting(size);
        let steps = pings(&data).map(|wire| send(&wire, pong(&wire, &data)));
        row(&format!("{size} bytes of data"), steps.into_iter().chain([Flows(vec![])]))
    };
    let mut rows: Vec<Case> = [0, 1, 2, 3, 56, 57, 1000, 1452].map(sized).to_vec();
    rows.extend([
        changed("TTL 1", &|wire| wire.ttl(1)),
        changed("TTL 255", &|wire| wire.ttl(255)),
        changed("a VLAN tag", &|wire| wire.tagged(&[(0x8100, 0x6064)])),
        changed("QinQ", &|wire| wire.tagged(&[(0x88a8, 7), (0x8100, 100)])),
        changed("without DF, with an id", &|wire| {
            wire.with(|wire| {
                wire.fragment = 0;
                wire.id = 0xfffe;
            })
        }),
        changed("padding is not answered", &|wire| wire.with(|wire| wire.padding = 18)),
        changed("traffic class", &|wire| wire.with(|wire| wire.class = 0xb9)),
    ]);
    rows
}

fn not_answered() -> Vec<Case> {
    let host = |wire: Wire| send(&wire, Pass(OtherProtocol));
    let data = [0xa5; 24];
    let both = |types: [u8; 2], code: u8| {
        [echo(CLIENT.0, WEB.0, types, code, &data), echo(CLIENT6.0, WEB6.0, types, code, &data)].map(host)
    };
    let dropped = |wires: Vec<Wire>, reason: DropReason| wires.into_iter().map(move |wire| send(&wire, Drop(reason)));
    let to_group = pings(&data).map(|wire| wire.with(|wire| wire.to = [0xff; 6]));
    let [v4, v6] = pings(&data);
    let longer = v4.network_patched(2, &[0x7f, 0xff]);
    vec![
        row("an echo reply", both(PONG, 0)),
        // RFC 792: timestamp, information, address mask; RFC 4443 and 4861: multicast listeners, routers, neighbours.
        row(
            "what only a host can answer",
            [13, 14, 15, 17, 9, 10].map(|kind| host(echo(CLIENT.0, WEB.0, [kind, 0], 0, &data))),
        ),
        row(
            "neighbour discovery and groups",
            (130..=137).chain([143]).map(|kind| host(echo(CLIENT6.0, WEB6.0, [0, kind], 0, &data))),
        ),
        row(
            "options and extension headers: the host's, which can answer them with theirs",
            [
                host(v4.clone().with(|wire| wire.options = vec![7, 7, 4, 0, 0, 0, 0, 1])),
                host(v6.clone().extended(&[options_header(0, 0)])),
                host(v6.clone().extended(&[fragment_header(0, false)])),
            ],
        ),
        row(
            "ICMPv6 over IPv4 and ICMP over IPv6",
            [
                host(raw(CLIENT.0, WEB.0, 58, &[128, 0, 0, 0, 0, 1, 0, 1])),
                host(raw(CLIENT6.0, WEB6.0, 1, &[8, 0, 0xf7, 0xfd, 0, 1, 0, 1])),
            ],
        ),
        row("shorter than its header", [send(&raw(CLIENT.0, WEB.0, 1, &[8, 0, 0xf7, 0xff]), Drop(Malformed))]),
        row("for no VIP", [host(ping(CLIENT.0, HOST.0, &data)), host(ping(CLIENT6.0, HOST6.0, &data))]),
        row("longer than its frame", [send_bytes(longer, Drop(Malformed))]),
        row("TTL 0", dropped(pings(&data).map(|wire| wire.ttl(0)).to_vec(), Ttl)),
        row("sent to a group", dropped(to_group.to_vec(), Martian)),
        row(
            "from what is no client",
            dropped(
                vec![
                    ping("224.0.0.1", WEB.0, &data),
                    ping("127.0.0.1", WEB.0, &data),
                    ping("255.255.255.255", WEB.0, &data),
                    ping(DNS.0, WEB.0, &data),
                    ping("ff02::1", WEB6.0, &data),
                    ping("::", WEB6.0, &data),
                    ping(DNS6.0, WEB6.0, &data),
                ],
                Martian,
            ),
        ),
    ]
}

fn addresses() -> Vec<Case> {
    let data = [1, 2, 3];
    let answered = |destination: &str| {
        let wire = ping(if destination.contains(':') { CLIENT6.0 } else { CLIENT.0 }, destination, &data);
        send(&wire, pong(&wire, &data))
    };
    let passed = |destination: &str| {
        let source = if destination.contains(':') { CLIENT6.0 } else { CLIENT.0 };
        send(&ping(source, destination, &data), Pass(OtherProtocol))
    };
    let prefixes = [
        Service::tcp("203.0.113.16/28", 80, &[A]).ports(1, 65_535),
        Service::udp("2001:db8:77::/64", 53, &[A]),
        Service::udp("203.0.113.5", 53, &[]),
    ];
    vec![case(
        "any address of a service, whatever its protocol, and with no backend as well",
        &prefixes,
        [
            answered("203.0.113.16"),
            answered("203.0.113.31"),
            answered("2001:db8:77::"),
            answered("2001:db8:77:0:ffff::1"),
            answered("203.0.113.5"),
            passed("203.0.113.15"),
            passed("203.0.113.32"),
            passed("2001:db8:78::"),
        ],
    )]
}

/// Checksums are updated, not made anew: what was damaged on its way is not given a right one.
#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut machine = InMemory::new(ROOMY);
    let case = row("damaged", []);
    let mut run = Run::begin(&mut machine, &case);
    for wire in pings(b"some data") {
        let mut frame = wire.frame();
        *frame.last_mut().expect("data") ^= 0x10;
        let outcome = run.packet(&frame).expect("the books are right");
        let refused = crate::oracle::checksums_are_right(&outcome.bytes).expect_err("the damage is not hidden");
        assert!(refused.contains("ICMP"), "{refused}");
    }
}

/// RFC 1624, section 3: a reply of nothing but zeros, of which one of the two zeros of the sum is no checksum.
#[test]
fn all_zero() {
    let mut machine = InMemory::new(ROOMY);
    let case = row("zeros", []);
    let mut run = Run::begin(&mut machine, &case);
    let mut zeros = [8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let sum = checksum(&[&zeros]);
    zeros[2..4].copy_from_slice(&sum.to_be_bytes());
    let outcome = run.packet(&raw(CLIENT.0, WEB.0, 1, &zeros).frame()).expect("the books are right");
    assert_eq!(outcome.bytes[34..], [0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
}

/// What the node is told not to answer is the host's.
fn switched_off(mut machine: impl Machine) {
    let mut cases = cases();
    for step in cases.iter_mut().flat_map(|case| &mut case.steps) {
        if let Step::Packet(frame, expect @ (Reply(_) | Drop(_))) = step
            && !matches!(expect, Drop(Malformed))
        {
            assert!(!frame.is_empty());
            *expect = Pass(OtherProtocol);
        }
    }
    let wrong = runner::run_all(&mut machine, &cases);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const OFF: Features = Features::ALL.without(Features::ICMP_ECHO);

#[test]
fn switched_off_in_memory() {
    switched_off(InMemory::specialised(ROOMY, OFF));
}

#[test]
fn switched_off_in_the_kernel() {
    if let Some(machine) = InKernel::specialised(ROOMY, OFF) {
        switched_off(machine);
    }
}

/// More requests than the budget for replies holds.
const FLOOD: usize = 1_000_000;

fn limited(mut machine: impl Machine) {
    let case = row("flood", []);
    let mut run = Run::begin(&mut machine, &case);
    let [v4, v6] = pings(&[]).map(|wire| wire.frame());
    let mut drops = (0..FLOOD).map(|i| {
        let outcome = run.packet(if i % 2 == 0 { &v4 } else { &v6 }).expect("the books are right after each packet");
        outcome.books.drop_reason()
    });
    assert_eq!(drops.next(), Some(None), "the first is answered");
    assert_eq!(drops.find_map(|reason| reason), Some(DropReason::ReplyLimit));
}

#[test]
fn limited_in_memory() {
    limited(InMemory::new(ROOMY));
}

#[test]
fn limited_in_the_kernel() {
    if let Some(machine) = InKernel::new(ROOMY) {
        limited(machine);
    }
}
