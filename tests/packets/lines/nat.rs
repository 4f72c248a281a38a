//! Line 24, and what lines 7, 9 to 16, 20, 25, 29, 30 and 33 say of it: `nat` and `full-nat`, both ways, in memory and in the kernel.

use std::net::IpAddr;

use lb_common::{
    abi::Mode,
    verdict::{
        DropReason::{self, Hairpin, Mtu, SnatPorts},
        PassReason,
    },
};

use super::{
    CLIENT, CLIENT6, DNS, DNS6, WEB, WEB6,
    nat_node::{
        PORT, Tested, all_protocols, back, configuration, cut_everywhere, everywhere, forth, forth_to, outside,
        reply_of, same_frame, sender, stays, with_flags,
    },
    no_backend::{icmp_error, icmp_error_from, reset},
};
use crate::{
    case::{Drop, Pass, Ttl, case},
    machine::Action,
    oracle,
    wire::{ACK, FIN, PSH, RST, SYN, Transport, Wire, fragment_header, icmp, options_header, raw, tcp, udp},
    world::{A, B, Backend, Service, State},
};

/// The packets of a flow, both ways, with all that may be in front of and behind the transport header.
#[test]
fn both_ways() {
    everywhere(|mode, begin| {
        for first in all_protocols() {
            begin(&configuration(mode, &[A], PORT), &mut |node| {
                let ends = forth(node, &first);
                let is_tcp = matches!(first.transport, Transport::Tcp(_));
                let flags = |wire: Wire, flags| if is_tcp { with_flags(wire, flags) } else { wire };
                back(node, &first, &flags(reply_of(&first, ends, A), SYN | ACK));
                let ack = flags(first.clone(), ACK).payload(b"odd");
                let single = [(0x8100, 0x6064)];
                let double = [(0x88a8, 7), (0x8100, 100)];
                let packets = [
                    ack.clone(),
                    ack.clone().payload(&[0x5a; 1400]),
                    ack.clone().tagged(&single),
                    ack.clone().tagged(&double),
                    ack.clone().with(|wire| wire.padding = 7),
                    ack.clone().with(|wire| wire.options = if wire.source.is_ipv4() { vec![1; 8] } else { vec![] }),
                    ack.clone().with(|wire| {
                        wire.extensions = if wire.source.is_ipv6() { vec![options_header(60, 1)] } else { vec![] };
                    }),
                    ack.clone().with(|wire| wire.fragment = 0).with(|wire| wire.class = 0xff),
                    ack.clone().ttl(2),
                    ack.clone().ttl(255),
                ];
                for packet in packets {
                    assert_eq!(forth(node, &packet), ends, "a flow keeps its ends");
                    back(node, &packet, &flags(reply_of(&packet, ends, A), ACK));
                }
                assert_eq!(node.flows(A), (1, 0));
            });
        }
    });
}

/// Line 9: a checksum of 0 stays, one that becomes 0 is sent as its complement, and a wrong one stays wrong.
#[test]
fn checksums() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            let plain = udp(CLIENT, DNS);
            let at = plain.transport_at() + 6;
            let outcome = node.packet(&plain.patched(at, &[0, 0]));
            let (expected, ends) = outside(node, &plain, &outcome.bytes, A, PORT);
            same_frame(node, &outcome.bytes, &expected.patched(at, &[0, 0]));
            for (wire, expected) in [
                (plain.clone(), expected),
                (udp(CLIENT6, DNS6), {
                    let wire = udp(CLIENT6, DNS6);
                    let seen = node.packet(&wire.frame()).bytes;
                    outside(node, &wire, &seen, A, PORT).0
                }),
            ] {
                // Two more bytes that make up for all others.
                let at = wire.transport_at() + 6;
                let frame = expected.clone().payload(&[0, 0]).frame();
                let payload = [frame[at], frame[at + 1]];
                assert_eq!(expected.payload(&payload).frame()[at..at + 2], [0xff, 0xff]);
                let ends = forth(node, &wire.clone().payload(&payload));
                back(node, &wire, &reply_of(&wire, ends, A));
            }
            // None (RFC 768), of a reply.
            let reply = reply_of(&plain, ends, A);
            let outcome = node.packet(&reply.patched(at, &[0, 0]));
            assert_eq!((outcome.action, &outcome.bytes[at..at + 2]), (Action::Transmit, &[0, 0][..]));
            for wire in all_protocols() {
                let at = wire.transport_at() + if matches!(wire.transport, Transport::Tcp(_)) { 16 } else { 6 };
                let right = wire.frame();
                let wrong = u16::from_be_bytes([right[at], right[at + 1]]) ^ 0x0410;
                let outcome = node.packet(&wire.patched(at, &wrong.to_be_bytes()));
                assert_eq!(outcome.action, Action::Transmit);
                assert!(oracle::checksums_are_right(&outcome.bytes).is_err(), "the damage is not hidden");
            }
        });
    });
}

/// Line 7.
#[test]
fn last_hop() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            for wire in all_protocols() {
                let ends = forth(node, &wire.clone().ttl(2));
                let last = wire.clone().ttl(1);
                let kind = if wire.source.is_ipv4() { [11, 0] } else { [3, 0] };
                stays(node, &last.frame(), &icmp_error(&last, kind, 0));
                stays(node, &wire.clone().ttl(0).frame(), &Drop(Ttl));
                let last = reply_of(&wire, ends, A).ttl(1);
                let from = sender(node.mode(), &wire, ends);
                stays(node, &last.frame(), &icmp_error_from(from, &last, kind, 0));
                stays(node, &last.ttl(0).frame(), &Drop(Ttl));
                back(node, &wire, &reply_of(&wire, ends, A).ttl(2));
            }
        });
    });
}

/// What a backend sends to nobody is the host's, and so is what one sends that is gone.
#[test]
fn replies_to_nobody() {
    let nobody = Pass(PassReason::NotServed);
    everywhere(|mode, begin| {
        for (service, wire) in all_protocols().into_iter().enumerate() {
            begin(&configuration(mode, &[A], PORT), &mut |node| {
                let ends = forth(node, &wire);
                let reply = reply_of(&wire, ends, A);
                let (from, to) = reply.ports();
                for other in [(from, to ^ 1), (from ^ 1, to)] {
                    stays(node, &reply.clone().with_ports(other).frame(), &nobody);
                }
                let from_b = reply.clone().with(|reply| reply.source = B.address(wire.family()));
                stays(node, &from_b.frame(), &nobody);
                let to_group = reply.clone().with(|reply| reply.to = [0xff; 6]);
                stays(node, &to_group.frame(), &nobody);
                back(node, &wire, &reply);
                node.state(service, A, State { keeps: false, resets: false, takes: false, generation: 1 });
                stays(node, &reply.frame(), &nobody);
                node.state(service, A, State { keeps: true, resets: false, takes: true, generation: 2 });
                stays(node, &reply.frame(), &nobody);
                // The flow begins anew, and keeps its new ends.
                let again = forth(node, &wire);
                assert_eq!(forth(node, &wire), again);
                back(node, &wire, &reply_of(&wire, again, A));
                node.wait(130);
                stays(node, &reply_of(&wire, again, A).frame(), &nobody);
            });
        }
    });
}

/// A range of ports, to the same ports or to one.
#[test]
fn port_ranges() {
    everywhere(|mode, begin| {
        for (port, is_same) in [(0, true), (PORT, false)] {
            let ranges = [
                Service::tcp(WEB.0, 80, &[A]).ports(7000, 7999).translated(mode, port),
                Service::udp(DNS6.0, 53, &[A]).ports(7000, 7999).translated(mode, port),
            ];
            begin(&case("ranges", &ranges, []), &mut |node| {
                for to in [7000, 7777, 7999] {
                    // Of `nat` every port of the client's has one flow with a backend's port.
                    let from = 40_000 + to;
                    for wire in [tcp((CLIENT.0, from), (WEB.0, to), SYN), udp((CLIENT6.0, from), (DNS6.0, to))] {
                        let ends = forth_to(node, &wire, A, if is_same { to } else { PORT });
                        back(node, &wire, &reply_of(&wire, ends, A));
                    }
                }
            });
        }
    });
}

/// A backend that is its own client.
#[test]
fn hairpin() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            for wire in all_protocols() {
                let own = wire.clone().with(|own| own.source = A.address(own.family()));
                if node.mode() == Mode::Nat {
                    stays(node, &own.frame(), &Drop(Hairpin));
                } else {
                    let ends = forth(node, &own);
                    back(node, &own, &reply_of(&own, ends, A));
                }
            }
        });
    });
}

/// Line 25.
#[test]
fn too_big() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[Backend::Far], PORT), &mut |node| {
            for wire in all_protocols() {
                let rest = 1500 - wire.clone().payload(b"").packet().len();
                let whole = wire.clone().payload(&vec![0x11; rest]);
                let over = wire.clone().payload(&vec![0x11; rest + 1]);
                forth_to(node, &whole, Backend::Far, PORT);
                let kind = if wire.source.is_ipv4() { [3, 4] } else { [2, 0] };
                stays(node, &over.frame(), &icmp_error(&over, kind, 1500));
            }
            let over = udp(CLIENT, DNS).payload(&[0x11; 1473]).with(|wire| wire.fragment = 0);
            stays(node, &over.frame(), &Drop(Mtu));
        });
    });
}

/// Line 29: errors about replies, translated outside and inside.
#[test]
fn icmp_errors() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            for wire in all_protocols() {
                let ends = forth(node, &wire);
                let (client, service) = wire.ports();
                let reply = reply_of(&wire, ends, A).payload(b"an answer").ttl(33);
                let seen = reply.clone().with_ports((service, client)).with(|seen| {
                    (seen.source, seen.destination) = (wire.destination, wire.source);
                });
                let v4 = wire.source.is_ipv4();
                let (router, kind) = if v4 { ("192.0.2.1", [3, 4]) } else { ("2001:db8:c::1", [2, 0]) };
                let error = |quoted: &Wire, to: IpAddr, most: usize| {
                    let packet = quoted.packet();
                    let quote = &packet[..packet.len().min(most)];
                    icmp(router, &to.to_string(), kind, &[&[0, 0, 5, 0], quote].concat())
                };
                // Whole; with the TCP checksum; with eight bytes of the transport header.
                let header = if v4 { 20 } else { 40 };
                for most in [1232, header + 18, header + 8] {
                    let arriving = error(&seen, wire.destination, most);
                    let outcome = node.packet(&arriving.frame());
                    let reason = outcome.books.drop_reason();
                    assert_eq!(outcome.action, Action::Transmit, "{:?} {reason:?} {wire:?}", node.mode());
                    let expected = error(&reply, ends.backend.0, most)
                        .with(|error| (error.to, error.from) = (A.mac(), A.egress_mac()))
                        .ttl(arriving.ttl - 1);
                    same_frame(node, &outcome.bytes, &expected.frame());
                    oracle::checksums_are_right(&outcome.bytes).expect("checksums");
                }
                stays(node, &error(&seen, wire.destination, 1232).ttl(1).frame(), &Drop(Ttl));
                if node.mode() == Mode::FullNat {
                    // Without its slot nobody knows what the backend sent.
                    let other = seen.clone().with_ports((service, client ^ 1));
                    stays(node, &error(&other, wire.destination, 1232).frame(), &Drop(DropReason::IcmpSpoof));
                }
            }
        });
    });
}

/// Line 30: the parts of a datagram, to the backend.
#[test]
fn fragments() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            for (wire, rest) in [
                (udp(CLIENT, DNS).payload(&[0x33; 64]), raw(CLIENT.0, DNS.0, 17, &[0x44; 40])),
                (udp(CLIENT6, DNS6).payload(&[0x33; 64]), raw(CLIENT6.0, DNS6.0, 17, &[0x44; 40])),
            ] {
                let part = |wire: Wire, offset: u16, more: bool| {
                    wire.with(|wire| {
                        if wire.source.is_ipv4() {
                            wire.fragment = u16::from(more) << 13 | offset;
                        } else {
                            wire.extensions = vec![fragment_header(offset, more)];
                        }
                    })
                };
                let (first, second, last) = (part(wire, 0, true), part(rest.clone(), 9, true), part(rest, 14, false));
                stays(node, &last.frame(), &Drop(DropReason::Fragment));
                let seen = node.packet(&first.frame());
                let (expected, ends) = outside(node, &first, &seen.bytes, A, PORT);
                same_frame(node, &seen.bytes, &expected.frame());
                for later in [second, last] {
                    let expected = later.clone().with(|wire| {
                        (wire.source, wire.destination) = (ends.source.0, ends.backend.0);
                        (wire.to, wire.from) = (A.mac(), A.egress_mac());
                        wire.ttl -= 1;
                    });
                    let outcome = node.packet(&later.frame());
                    assert_eq!(outcome.action, Action::Transmit);
                    same_frame(node, &outcome.bytes, &expected.frame());
                    stays(node, &later.ttl(1).frame(), &Drop(Ttl));
                }
            }
        });
    });
}

/// Line 13: FIN of one side keeps the flow, FIN of both or one RST ends it, once.
#[test]
fn closing() {
    // Who sends what, in order; the flow ends with the last one.
    let ends_with: [&[(bool, u8)]; 5] = [
        &[(true, FIN | ACK), (false, FIN | ACK)],
        &[(false, FIN | ACK), (true, FIN | ACK)],
        &[(true, FIN | ACK), (true, FIN | ACK), (false, PSH | ACK), (false, FIN | ACK)],
        &[(true, RST)],
        &[(false, RST | ACK)],
    ];
    everywhere(|mode, begin| {
        for (client, service) in [(CLIENT, WEB), (CLIENT6, WEB6)] {
            for steps in ends_with {
                begin(&configuration(mode, &[A], PORT), &mut |node| {
                    let wire = |flags| tcp(client, service, flags);
                    let ends = forth(node, &wire(SYN));
                    back(node, &wire(SYN), &reply_of(&wire(SYN | ACK), ends, A));
                    forth(node, &wire(ACK));
                    let send = |node: &mut dyn Tested, of_client: bool, flags: u8| {
                        // Entries are written once a tick at most.
                        node.wait(1);
                        if of_client {
                            assert_eq!(forth(node, &wire(flags)), ends);
                        } else {
                            back(node, &wire(flags), &reply_of(&wire(flags), ends, A));
                        }
                    };
                    for (of_client, flags) in steps {
                        assert_eq!(node.flows(A), (1, 0), "{steps:?}");
                        send(node, *of_client, *flags);
                    }
                    assert_eq!(node.flows(A), (1, 1), "{steps:?}");
                    send(node, true, ACK);
                    send(node, false, ACK);
                    assert_eq!(node.flows(A), (1, 1), "once");
                    node.wait(15);
                    let late = reply_of(&wire(ACK), ends, A);
                    stays(node, &late.frame(), &Pass(PassReason::NotServed));
                    forth(node, &wire(SYN));
                    assert_eq!(node.flows(A), (2, 1), "the same tuple again");
                });
            }
        }
    });
}

/// Line 35: a reset comes from the VIP, and the flow's slot closes with it: its port is soon free again.
#[test]
fn resets() {
    let resets = State { keeps: false, resets: true, takes: false, generation: 1 };
    everywhere(|mode, begin| {
        for ((service, client, vip), tells) in
            [(0, CLIENT, WEB), (1, CLIENT6, WEB6)].into_iter().flat_map(|at| [(at, false), (at, true)])
        {
            begin(&configuration(mode, &[A], PORT), &mut |node| {
                let wire = |flags| tcp(client, vip, flags);
                let data = wire(PSH | ACK).tcp_with(|tcp| (tcp.ack, tcp.payload) = (0x8123_4567, b"more".to_vec()));
                let other = tcp((client.0, client.1 + 1), vip, SYN);
                let ends = forth(node, &wire(SYN));
                back(node, &wire(SYN), &reply_of(&wire(SYN | ACK), ends, A));
                forth(node, &wire(ACK));
                node.slots(service, &[B]);
                let to_b = forth_to(node, &other, B, PORT);
                node.state(service, A, resets);
                // Nobody told the client yet.
                back(node, &wire(ACK), &reply_of(&wire(ACK), ends, A));
                stays(node, &data.frame(), &reset(&data));
                assert_eq!(node.flows(A), (1, 1));
                stays(node, &wire(FIN | ACK).frame(), &reset(&wire(FIN | ACK)));
                // What the backend still sends reaches the client, whose own reset reaches the backend.
                back(node, &wire(ACK), &reply_of(&wire(ACK), ends, A));
                if tells {
                    assert_eq!(forth(node, &wire(RST)), ends);
                }
                assert_eq!(node.flows(A), (1, 1), "closed once");
                node.wait(15);
                stays(node, &reply_of(&wire(ACK), ends, A).frame(), &Pass(PassReason::NotServed));
                back(node, &other, &reply_of(&other, to_b, B));
                let again = forth_to(node, &wire(SYN), B, PORT);
                back(node, &wire(SYN), &reply_of(&wire(SYN | ACK), again, B));
            });
        }
    });
}

/// Lines 11 and 14: a known flow stays, and what one side sends keeps it for the other.
#[test]
fn known_flows() {
    everywhere(|mode, begin| {
        for (service, wire) in all_protocols().into_iter().enumerate() {
            begin(&configuration(mode, &[A], PORT), &mut |node| {
                let is_tcp = matches!(wire.transport, Transport::Tcp(_));
                let ack = if is_tcp { with_flags(wire.clone(), ACK) } else { wire.clone() };
                let ends = forth(node, &wire);
                assert_eq!(forth(node, &wire), ends, "sent again");
                forth(node, &ack);
                node.slots(service, &[B]);
                assert_eq!(forth(node, &ack), ends);
                for _ in 0..3 {
                    node.wait(if is_tcp { 600 } else { 80 });
                    back(node, &ack, &reply_of(&ack, ends, A));
                }
                assert_eq!(forth(node, &ack), ends, "the backend kept it");
                let (client, port) = wire.ports();
                let other = wire.clone().with_ports((client + 1, port));
                let to_b = forth_to(node, &other, B, PORT);
                back(node, &other, &reply_of(&other, to_b, B));
                node.wait(1000);
                forth_to(node, &wire, B, PORT);
            });
        }
    });
}

/// No address has a port left for new flows; known ones go on.
#[test]
fn no_port() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            for wire in all_protocols() {
                node.pool_is_open(true);
                let ends = forth(node, &wire);
                node.pool_is_open(false);
                assert_eq!(forth(node, &wire), ends);
                back(node, &wire, &reply_of(&wire, ends, A));
                let (client, service) = wire.ports();
                let other = wire.clone().with_ports((client + 1, service));
                if node.mode() == Mode::FullNat {
                    stays(node, &other.frame(), &Drop(SnatPorts));
                } else {
                    forth(node, &other);
                }
            }
        });
    });
}

/// Two services with one backend, and a client that talks to both from one port.
#[test]
fn collisions() {
    everywhere(|mode, begin| {
        let two = [Service::tcp(WEB.0, 80, &[A]), Service::tcp(WEB.0, 81, &[A])];
        begin(&case("two", &two.map(|service| service.translated(mode, PORT)), []), &mut |node| {
            let (one, other) = (tcp(CLIENT, (WEB.0, 80), SYN), tcp(CLIENT, (WEB.0, 81), SYN));
            let ends = forth(node, &one);
            if node.mode() == Mode::FullNat {
                assert_ne!(forth(node, &other), ends);
                return;
            }
            stays(node, &other.frame(), &Drop(DropReason::NatCollision));
            back(node, &one, &reply_of(&one, ends, A));
            // Once the first is over, the other is free to go.
            node.wait(70);
            let ends = forth(node, &other);
            back(node, &other, &reply_of(&other, ends, A));
            stays(node, &one.frame(), &Drop(DropReason::NatCollision));
            // So it is if the backend of the first is gone.
            node.state(1, A, State { keeps: true, resets: false, takes: true, generation: 2 });
            let ends = forth(node, &one);
            back(node, &one, &reply_of(&one, ends, A));
        });
    });
}

#[test]
fn cut_at_every_length() {
    cut_everywhere(|wire, ends| vec![wire.frame(), reply_of(wire, ends, A).payload(b"some").frame()]);
}
