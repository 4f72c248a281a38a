//! Line 24: the TCP option that tells a backend of `full-nat` its client, in memory and in the kernel. What a packet must become is built
//! anew, with checksums of its own.

use std::net::IpAddr;

use lb_common::{abi::Mode, parse::Family};

use super::{CLIENT, CLIENT6, WEB, WEB6, mutations::Random};
use crate::{
    case::case,
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Action, Machine, ROOMY},
    oracle,
    runner::{Outcome, Run, same_outcome},
    wire::{ACK, FIN, PSH, RST, SYN, Transport, Wire, fragment_header, options_header, tcp, udp},
    world::{A, Backend, POOL, POOL6, Service},
};

const KIND: u8 = 254;
/// What becomes of a client's own.
const HIDDEN: u8 = 255;
/// The backends' port.
const PORT: u16 = 8080;
/// NOP, NOP, timestamps (RFC 7323), as most packets have them.
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

fn services(slots: &[Backend], mode: Mode, kind: u8) -> [Service; 2] {
    [WEB, WEB6].map(|(vip, port)| Service::both(vip, port, slots).translated(mode, PORT).telling(kind))
}

/// Runs packets and closes the books over them.
type Node<'a> = &'a mut dyn FnMut(&[u8]) -> Outcome;

fn node<'a, M: Machine>(run: &'a mut Run<'_, M>) -> impl FnMut(&[u8]) -> Outcome + 'a {
    |frame| run.packet(frame).unwrap_or_else(|message| panic!("{}: {message}", M::NAME))
}

/// Runs a test in both machines.
fn everywhere(services: &[Service], test: impl Fn(Node<'_>)) {
    let case = case("toa", services, []);
    test(&mut node(&mut Run::begin(&mut InMemory::new(ROOMY), &case)));
    let Some(mut kernel) = InKernel::new(ROOMY) else { return };
    test(&mut node(&mut Run::begin(&mut kernel, &case)));
}

/// A connection of each family.
fn syns() -> [Wire; 2] {
    [tcp(CLIENT, WEB, SYN), tcp(CLIENT6, WEB6, SYN)]
}

fn with_flags(wire: &Wire, flags: u8) -> Wire {
    wire.clone().tcp_with(|tcp| tcp.flags = flags)
}

fn with_options(wire: &Wire, options: &[u8]) -> Wire {
    wire.clone().tcp_with(|tcp| tcp.options = options.to_vec())
}

/// The packet that completes a handshake.
fn third(syn: &Wire) -> Wire {
    with_options(&with_flags(syn, ACK), &TIMESTAMPS)
}

/// The option with the client of a packet.
fn option(wire: &Wire, kind: u8) -> Vec<u8> {
    let Transport::Tcp(tcp) = &wire.transport else { panic!("no TCP") };
    let address = match wire.source {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    [&[kind, 4 + address.len() as u8], &tcp.ports.0.to_be_bytes()[..], &address].concat()
}

/// The packet at a backend; its source port is taken from what was seen.
fn translated(wire: &Wire, seen: &[u8], backend: Backend) -> Wire {
    let (pool, family) = if wire.source.is_ipv4() { (POOL, Family::V4) } else { (POOL6, Family::V6) };
    wire.clone().with(|wire| {
        // What tags there are and not.
        wire.tags = if backend == Backend::Tagged { vec![(0x8100, 0x0abc)] } else { wire.tags.clone() };
        let at = wire.transport_at();
        let ports = (u16::from_be_bytes([seen[at], seen[at + 1]]), PORT);
        (wire.source, wire.destination) = (pool, backend.address(family));
        (wire.to, wire.from) = (backend.mac(), backend.egress_mac());
        wire.ttl -= 1;
        match &mut wire.transport {
            Transport::Tcp(tcp) => tcp.ports = ports,
            Transport::Udp(udp) => udp.ports = ports,
            Transport::Raw(..) => panic!("no ports"),
        }
    })
}

/// What must get to a backend: the packet with these TCP options. Returns it.
fn arrives(node: Node<'_>, wire: &Wire, backend: Backend, options: Option<Vec<u8>>) -> Wire {
    let outcome = node(&wire.frame());
    let action = if backend == Backend::Far { Action::Redirect } else { Action::Transmit };
    assert_eq!(outcome.action, action, "{wire:?}: {:?}", outcome.books.drop_reason());
    let expected = translated(wire, &outcome.bytes, backend);
    let expected = match options {
        Some(options) => with_options(&expected, &options),
        None => expected,
    };
    let (seen, right) = (&outcome.bytes, &expected.frame());
    assert!(seen == right, "{wire:?}:\nseen     {seen:02x?}\nexpected {right:02x?}");
    oracle::checksums_are_right(&outcome.bytes).expect("checksums");
    expected
}

fn options_of(wire: &Wire) -> &[u8] {
    match &wire.transport {
        Transport::Tcp(tcp) => &tcp.options,
        _ => &[],
    }
}

/// The packet tells who its client is, in front of the client's own options.
fn tells_to(node: Node<'_>, wire: &Wire, backend: Backend) -> Wire {
    arrives(node, wire, backend, Some([option(wire, KIND), options_of(wire).to_vec()].concat()))
}

fn tells(node: Node<'_>, wire: &Wire) -> Wire {
    tells_to(node, wire, A)
}

/// The packet is translated and not changed otherwise.
fn plain(node: Node<'_>, wire: &Wire) -> Wire {
    arrives(node, wire, A, None)
}

/// The packet had no room, which is counted.
fn omits(node: Node<'_>, wire: &Wire) {
    let outcome = node(&wire.frame());
    assert_eq!(outcome.action, Action::Transmit, "{wire:?}: {:?}", outcome.books.drop_reason());
    let [.., omitted] = outcome.books.other;
    assert_eq!((omitted, &outcome.bytes), (1, &translated(wire, &outcome.bytes, A).frame()), "{wire:?}");
}

/// Sends what the backend answers to a packet that it got.
fn answers(node: Node<'_>, at_backend: &Wire, flags: u8) {
    let reply = at_backend.clone().tcp_with(|tcp| {
        (tcp.ports, tcp.flags) = ((tcp.ports.1, tcp.ports.0), flags);
        tcp.options.clear();
    });
    let reply = reply.with(|reply| {
        (reply.source, reply.destination) = (reply.destination, reply.source);
        (reply.to, reply.from) = (reply.from, reply.to);
        (reply.tags, reply.options, reply.extensions) = (Vec::new(), Vec::new(), Vec::new());
        (reply.ttl, reply.padding) = (64, 0);
    });
    let outcome = node(&reply.frame());
    assert_eq!(outcome.action, Action::Transmit, "{reply:?}: {:?}", outcome.books.pass_reason());
}

/// Packets with ACK tell until the backend has answered, again and again; SYN and RST do not.
#[test]
fn the_first_packets_tell() {
    everywhere(&services(&[A], Mode::FullNat, KIND), |node| {
        for syn in syns() {
            for _ in 0..2 {
                plain(node, &syn);
                plain(node, &with_options(&syn, &[2, 4, 5, 180, 1, 3, 3, 7]));
            }
            let third = third(&syn);
            let at_backend = tells(node, &third);
            tells(node, &third);
            answers(node, &at_backend, SYN | ACK);
            for wire in [
                third.clone(),
                with_options(&third, &[]),
                third.clone().payload(b"an odd number of bytes"),
                with_flags(&third, PSH | ACK).payload(&[0x5a; 1300]),
                third.clone().tagged(&[(0x8100, 0x6064)]),
                third.clone().tagged(&[(0x88a8, 7), (0x8100, 100)]),
                third.clone().with(|wire| wire.padding = 7),
                third.clone().with(|wire| wire.options = vec![1; if wire.source.is_ipv4() { 40 } else { 0 }]),
                third.clone().tagged(&[(0x88a8, 7), (0x8100, 100)]).with(|wire| {
                    wire.options = vec![1; if wire.source.is_ipv4() { 40 } else { 0 }];
                    wire.extensions = vec![options_header(60, 2); usize::from(wire.source.is_ipv6())];
                }),
                third.clone().ttl(2).with(|wire| wire.class = 0xff),
            ] {
                tells(node, &wire);
            }
            plain(node, &with_flags(&syn, RST | ACK));
        }
    });
}

#[test]
fn the_last_is_before_the_answer() {
    everywhere(&services(&[A], Mode::FullNat, KIND), |node| {
        for syn in syns() {
            let fin = with_flags(&third(&syn), FIN | ACK);
            for _ in 0..2 {
                plain(node, &syn);
                let at_backend = tells(node, &third(&syn));
                // A repeated SYN of the backend's is no answer, nor is a refusal of what was before.
                answers(node, &at_backend, SYN | ACK);
                tells(node, &third(&syn));
                answers(node, &at_backend, ACK);
                plain(node, &third(&syn));
                answers(node, &at_backend, PSH | ACK);
                plain(node, &fin);
                answers(node, &at_backend, FIN | ACK);
                plain(node, &third(&syn));
                // Closed by both: the next connection may have the same ends.
            }
            plain(node, &syn);
            tells(node, &fin);
        }
    });
}

/// Other interfaces, VLANs and kinds.
#[test]
fn every_way_and_kind() {
    for backend in [Backend::Far, Backend::Tagged] {
        everywhere(&services(&[backend], Mode::FullNat, KIND), |node| {
            for syn in syns() {
                arrives(node, &syn, backend, None);
                tells_to(node, &third(&syn), backend);
            }
        });
    }
    everywhere(&services(&[A], Mode::FullNat, 253), |node| {
        for syn in syns() {
            plain(node, &syn);
            let own = with_options(&third(&syn), &[KIND, 4, 1, 2]);
            arrives(node, &own, A, Some([option(&own, 253), vec![KIND, 4, 1, 2]].concat()));
        }
    });
}

/// Without it, in other modes and for UDP, nothing changes, nor does what clients say themselves.
#[test]
fn off() {
    for (mode, kind) in [(Mode::FullNat, 0), (Mode::Nat, 0), (Mode::Nat, KIND)] {
        let case = case("off", &services(&[A], mode, kind), []);
        let test = |node: Node<'_>| {
            for wire in
                syns().iter().flat_map(|syn| [syn.clone(), with_options(&third(syn), &[KIND, 8, 0, 1, 2, 3, 4, 5])])
            {
                let outcome = node(&wire.frame());
                assert_eq!((outcome.action, outcome.bytes.len()), (Action::Transmit, wire.frame().len()), "{mode:?}");
                let (from, end) = (wire.transport_at() + 18, wire.frame().len());
                assert_eq!(outcome.bytes[from..end], wire.frame()[from..end], "{mode:?}");
                oracle::checksums_are_right(&outcome.bytes).expect("checksums");
            }
        };
        test(&mut node(&mut Run::begin(&mut InMemory::new(ROOMY), &case)));
        let Some(mut kernel) = InKernel::new(ROOMY) else { return };
        test(&mut node(&mut Run::begin(&mut kernel, &case)));
    }
    everywhere(&services(&[A], Mode::FullNat, KIND), |node| {
        plain(node, &udp(CLIENT, WEB));
        plain(node, &udp(CLIENT6, WEB6));
    });
}

/// Options up to 60 bytes of header, packets up to the MTU, whole ones, with headers of a usual length.
#[test]
fn no_room() {
    everywhere(&services(&[A], Mode::FullNat, KIND), |node| {
        for syn in syns() {
            plain(node, &syn);
            let (is_v4, third) = (syn.source.is_ipv4(), with_options(&third(&syn), &[]));
            let most = if is_v4 { 32 } else { 20 };
            tells(node, &with_options(&third, &vec![1; most]));
            omits(node, &with_options(&third, &vec![1; most + 4]));
            omits(node, &with_options(&third, &[1; 40]));
            let room = 1500 - if is_v4 { 20 + 20 + 8 } else { 40 + 20 + 20 };
            tells(node, &third.clone().payload(&vec![7; room]));
            omits(node, &third.clone().payload(&vec![7; room + 1]));
            omits(node, &third.clone().payload(&vec![7; 1500 - if is_v4 { 40 } else { 60 }]));
            if is_v4 {
                omits(node, &third.clone().with(|wire| wire.fragment = 0x2000));
            } else {
                omits(node, &third.clone().extended(&[fragment_header(0, true)]));
                omits(node, &third.clone().extended(&[options_header(60, 4)]));
                tells(node, &third.clone().extended(&[options_header(60, 2)]));
            }
            // It is the packet that lacks room, not the flow.
            tells(node, &third);
        }
    });
}

/// A client cannot say who it is: neither in front, behind or between other options nor where there is no room for ours.
#[test]
fn clients_do_not_speak_for_themselves() {
    let own = [KIND, 8, 0, 80, 9, 9, 9, 9];
    let hidden = [HIDDEN, 8, 0, 80, 9, 9, 9, 9];
    let in_pairs = [
        (own.to_vec(), hidden.to_vec()),
        ([&[1][..], &own, &[1, 1, 1]].concat(), [&[1][..], &hidden, &[1, 1, 1]].concat()),
        ([&TIMESTAMPS[..], &own].concat(), [&TIMESTAMPS[..], &hidden].concat()),
        ([KIND, 2, KIND, 2].to_vec(), [HIDDEN, 2, HIDDEN, 2].to_vec()),
        ([1, KIND, 3, KIND, KIND, 3, KIND, 0].to_vec(), [1, HIDDEN, 3, KIND, HIDDEN, 3, KIND, 0].to_vec()),
        // No option: part of another, cut off, or behind the end.
        ([200, 8, KIND, 4, 0, 0, KIND, 2].to_vec(), [200, 8, KIND, 4, 0, 0, KIND, 2].to_vec()),
        ([1, 1, KIND, 3].to_vec(), [1, 1, KIND, 3].to_vec()),
        ([1, 1, 1, KIND].to_vec(), [1, 1, 1, KIND].to_vec()),
        ([KIND, 1, KIND, 2].to_vec(), [KIND, 1, KIND, 2].to_vec()),
        ([0, KIND, 2, 0].to_vec(), [0, KIND, 2, 0].to_vec()),
    ];
    everywhere(&services(&[A], Mode::FullNat, KIND), |node| {
        for syn in syns() {
            for (says, becomes) in &in_pairs {
                arrives(node, &with_options(&syn, says), A, Some(becomes.clone()));
            }
            for (says, becomes) in &in_pairs {
                let third = with_options(&third(&syn), says);
                arrives(node, &third, A, Some([option(&third, KIND), becomes.clone()].concat()));
            }
            // In the way of ours.
            let (says, becomes) = (
                [vec![1; 31], vec![KIND, 2, 1, KIND, 2, 1, 1, 1, 0]],
                [vec![1; 31], vec![HIDDEN, 2, 1, HIDDEN, 2, 1, 1, 1, 0]],
            );
            let full = with_options(&third(&syn), &says.concat());
            arrives(node, &full, A, Some(becomes.concat()));
            // And once ours is no longer sent: backends may look at any packet.
            let at_backend = tells(node, &third(&syn));
            answers(node, &at_backend, ACK);
            for (says, becomes) in &in_pairs {
                arrives(node, &with_options(&third(&syn), says), A, Some(becomes.clone()));
            }
        }
    });
}

/// What is wrong stays wrong, by as much.
#[test]
fn wrong_checksums() {
    everywhere(&services(&[A], Mode::FullNat, KIND), |node| {
        for syn in syns() {
            plain(node, &syn);
            for wire in [third(&syn), with_options(&third(&syn), &[1, KIND, 3, 7])] {
                let at = wire.transport_at() + 16;
                let right = wire.frame();
                let wrong = u16::from_be_bytes([right[at], right[at + 1]]) ^ 0x0410;
                let outcome = node(&wire.patched(at, &wrong.to_be_bytes()));
                assert_eq!(outcome.action, Action::Transmit);
                assert!(outcome.bytes.len() > right.len(), "it tells");
                assert!(oracle::checksums_are_right(&outcome.bytes).is_err(), "the damage is not hidden");
            }
        }
    });
}

/// Both machines do the same with what is cut off, and nothing of it is forwarded that its headers say is longer.
#[test]
fn cut_at_every_length() {
    let Some(mut kernel) = InKernel::new(ROOMY) else { return };
    let mut memory = InMemory::new(ROOMY);
    let case = case("toa", &services(&[A], Mode::FullNat, KIND), []);
    let (mut a, mut b) = (Run::begin(&mut memory, &case), Run::begin(&mut kernel, &case));
    for syn in syns() {
        let own = with_options(&third(&syn), &[1, KIND, 2, 1, KIND, 4, 0, 0]);
        for frame in [syn.frame(), own.frame(), own.payload(b"some").frame()] {
            for len in 14..=frame.len() {
                let [one, other] =
                    [a.packet(&frame[..len]), b.packet(&frame[..len])].map(|outcome| outcome.expect("the books"));
                same_outcome(&one, &other).expect("the machines agree");
                assert_eq!(one.action == Action::Transmit, len == frame.len(), "{len} bytes of {frame:02x?}");
            }
        }
    }
}

/// What a receiver takes for options (RFC 9293, section 3.1), and then each of the kind hidden.
fn hidden(options: &[u8]) -> Vec<u8> {
    let (mut hidden, mut at) = (options.to_vec(), 0);
    while at < options.len() {
        match (options[at], options.get(at + 1)) {
            (1, _) => at += 1,
            (kind, Some(&length)) if kind != 0 && length >= 2 && at + usize::from(length) <= options.len() => {
                hidden[at] = if kind == KIND { HIDDEN } else { kind };
                at += usize::from(length);
            }
            _ => break,
        }
    }
    hidden
}

/// Random options, made of what matters.
#[test]
fn random_options() {
    const PACKETS: usize = 1500;
    everywhere(&services(&[A], Mode::FullNat, KIND), |node| {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let syns = syns();
        syns.iter().for_each(|syn| drop(plain(node, syn)));
        let mut told = 0;
        for _ in 0..PACKETS {
            let options: Vec<u8> =
                (0..4 * random.below(11)).map(|_| [0, 1, 1, 2, 3, 4, 8, KIND, KIND, 7][random.below(10)]).collect();
            let wire = with_options(&third(&syns[random.below(2)]), &options);
            let ours = option(&wire, KIND);
            let has_room = options.len() + ours.len() <= 40;
            told += usize::from(has_room);
            arrives(node, &wire, A, Some(if has_room { [ours, hidden(&options)].concat() } else { hidden(&options) }));
        }
        assert!(told > PACKETS / 4 && told < PACKETS, "{told} of {PACKETS} had room");
    });
}
