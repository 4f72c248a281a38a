//! Lines 24, 29, 30 and 7, of what comes from the side of the backends in `nat` and `full-nat`: ICMP errors about what was sent to a
//! backend, the parts of a reply, a reply's last hop. In memory and in the kernel.

use std::net::IpAddr;

use evenkeel_tests::{names::unique, namespace::Namespace};
use lb_common::{
    abi::{Hop, Mode},
    verdict::{
        DropReason::{self, Mtu},
        PassReason,
    },
};

use super::{
    nat_node::{
        Outside, PORT, Tested, all_protocols, configuration, cut_everywhere, everywhere, first_part_back, forth,
        from_vip, reply_of, same_frame, sender, stays,
    },
    no_backend::icmp_error_from,
};
use crate::{
    case::{Case, Drop, Pass, Ttl},
    machine::Action,
    oracle,
    wire::{NODE_MAC, ROUTER_MAC, Transport, Wire, fragment_header, icmp, options_header, raw},
    world::{A, B, FAR_MAC, State},
};

/// A router between the node and the backends.
const ROUTERS: [&str; 2] = ["203.0.113.9", "2001:db8:b::9"];

/// What the clients' interface takes.
const MTU: u32 = 1300;

/// What is left to the host.
const HOSTS: crate::case::Expect = Pass(PassReason::OtherProtocol);

/// A client's packet as its backend gets it.
pub(super) fn arriving(wire: &Wire, ends: Outside) -> Wire {
    wire.clone().with_ports((ends.source.1, ends.backend.1)).with(|wire| {
        (wire.source, wire.destination) = (ends.source.0, ends.backend.0);
    })
}

/// An error about the first bytes of a packet, from the backends' link.
pub(super) fn error(from: IpAddr, to: IpAddr, kind: [u8; 2], quote: &[u8]) -> Wire {
    let mtu = if [[3, 4], [2, 0]].contains(&kind) { [0, 0, 5, 0] } else { [0; 4] };
    icmp(&from.to_string(), &to.to_string(), kind, &[&mtu, quote].concat())
        .with(|wire| (wire.to, wire.from) = (A.egress_mac(), A.mac()))
}

/// The same as it gets to the client.
fn error_for_client(from: IpAddr, to: IpAddr, kind: [u8; 2], quote: &[u8]) -> Wire {
    let wire = error(from, to, kind, quote).with(|wire| (wire.to, wire.from) = (ROUTER_MAC, NODE_MAC));
    let ttl = wire.ttl - 1;
    wire.ttl(ttl)
}

fn kinds(v4: bool) -> [[u8; 2]; 4] {
    if v4 { [[3, 3], [3, 4], [11, 0], [12, 0]] } else { [[1, 4], [2, 0], [3, 0], [4, 0]] }
}

/// With what may be in front of the transport header.
fn optional(wire: Wire) -> Wire {
    wire.with(|wire| match wire.source {
        IpAddr::V4(_) => wire.options = vec![1; 8],
        IpAddr::V6(_) => wire.extensions = vec![options_header(60, 1)],
    })
}

/// Line 29: errors of backends and of routers about what a client sent get to it as if it had been sent to the VIP.
#[test]
fn icmp_errors() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            for wire in all_protocols() {
                let ends = forth(node, &wire);
                let v4 = wire.source.is_ipv4();
                let router = ROUTERS[usize::from(!v4)].parse().expect("an address");
                for (sent, plain) in [(wire.clone(), true), (optional(wire.clone()), false)] {
                    let quoted = arriving(&sent, ends).packet();
                    let header = sent.transport_at() - sent.link_len();
                    for kind in kinds(v4) {
                        // Whole; with the TCP checksum; with eight bytes of the transport header.
                        for most in [1232, header + 18, header + 8] {
                            for (from, seen) in [(ends.backend.0, wire.destination), (router, router)] {
                                let length = quoted.len().min(most);
                                let arriving = error(from, ends.source.0, kind, &quoted[..length]);
                                let outcome = node.packet(&arriving.frame());
                                let what = format!("{mode:?} {kind:?} from {from}, {length} of {plain} {sent:?}");
                                let reason = (outcome.books.pass_reason(), outcome.books.drop_reason());
                                assert_eq!(outcome.action, Action::Transmit, "{what}: {reason:?}");
                                let expected = error_for_client(seen, wire.source, kind, &sent.packet()[..length]);
                                same_frame(node, &outcome.bytes, &expected.frame());
                                oracle::checksums_are_right(&outcome.bytes).expect("checksums");
                            }
                        }
                    }
                }
            }
        });
    });
}

/// A quoted datagram without a checksum has none afterwards.
#[test]
fn icmp_errors_about_datagrams_without_a_checksum() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            let wire = all_protocols().into_iter().find(|wire| matches!(wire.transport, Transport::Udp(_)));
            let wire = wire.expect("one of them is UDP");
            let ends = forth(node, &wire);
            let bare = |wire: &Wire| {
                let mut packet = wire.packet();
                packet[26..28].fill(0);
                packet
            };
            let arriving = error(ends.backend.0, ends.source.0, [3, 3], &bare(&arriving(&wire, ends)));
            let outcome = node.packet(&arriving.frame());
            let expected = error_for_client(wire.destination, wire.source, [3, 3], &bare(&wire));
            same_frame(node, &outcome.bytes, &expected.frame());
        });
    });
}

/// What is no error about a packet of a flow is the host's.
#[test]
fn other_icmp_packets() {
    everywhere(|mode, begin| {
        for (service, wire) in all_protocols().into_iter().enumerate() {
            begin(&configuration(mode, &[A], PORT), &mut |node| {
                let ends = forth(node, &wire);
                let v4 = wire.source.is_ipv4();
                let [kind, ..] = kinds(v4);
                let sent = arriving(&wire, ends);
                let of = |quoted: &Wire| error(ends.backend.0, ends.source.0, kind, &quoted.packet());
                let whole = of(&sent);
                assert_eq!(node.packet(&whole.frame()).action, Action::Transmit);
                // About another flow, or to somebody who sent nothing like that.
                let (from, to) = sent.ports();
                for other in [(from ^ 1, to), (from, to ^ 1)] {
                    stays(node, &of(&sent.clone().with_ports(other)).frame(), &HOSTS);
                }
                let to_b = sent.clone().with(|sent| sent.destination = B.address(wire.family()));
                stays(node, &of(&to_b).frame(), &HOSTS);
                let nobody = error(
                    if v4 { "127.0.0.1" } else { "::1" }.parse().expect("an address"),
                    ends.source.0,
                    kind,
                    &sent.packet(),
                );
                stays(node, &nobody.frame(), &HOSTS);
                let mut other_source = sent.clone();
                other_source.source = ROUTERS[usize::from(!v4)].parse().expect("an address");
                stays(node, &of(&other_source).frame(), &HOSTS);
                // Too little is quoted, nothing is, or another protocol.
                let header = sent.transport_at() - sent.link_len();
                for length in [header + 7, header, 8, 0] {
                    let short = error(ends.backend.0, ends.source.0, kind, &sent.packet()[..length]);
                    stays(node, &short.frame(), &HOSTS);
                }
                let sctp = raw(&sent.source.to_string(), &sent.destination.to_string(), 132, &[7; 40]);
                stays(node, &of(&sctp).frame(), &HOSTS);
                // No errors: echo, and what is for the host alone.
                for other in if v4 { [[8, 0], [0, 0], [5, 0]] } else { [[128, 0], [129, 0], [137, 0]] } {
                    stays(node, &error(ends.backend.0, ends.source.0, other, &sent.packet()).frame(), &HOSTS);
                }
                let to_group = whole.clone().with(|wire| wire.to = [0xff; 6]);
                stays(node, &to_group.frame(), &HOSTS);
                for ttl in [0, 1] {
                    stays(node, &whole.clone().ttl(ttl).frame(), &Drop(Ttl));
                }
                // Nobody knows the flow any more.
                node.state(service, A, State { keeps: false, resets: false, takes: false, generation: 1 });
                stays(node, &whole.frame(), &HOSTS);
            });
        }
    });
}

/// A part of a packet.
fn part(wire: Wire, offset: u16, more: bool) -> Wire {
    wire.with(|wire| {
        if wire.source.is_ipv4() {
            wire.fragment = u16::from(more) << 13 | offset;
        } else {
            wire.extensions = vec![fragment_header(offset, more)];
        }
    })
}

/// The first part of a reply, one in the middle, and the last one.
fn parts(wire: &Wire, ends: Outside) -> [Wire; 3] {
    let first = reply_of(wire, ends, A).payload(&[0x33; 64]);
    let rest = raw(&first.source.to_string(), &first.destination.to_string(), 17, &[0x44; 40])
        .with(|rest| (rest.to, rest.from, rest.ttl) = (first.to, first.from, first.ttl));
    [part(first, 0, true), part(rest.clone(), 9, true), part(rest, 14, false)]
}

fn datagrams() -> impl Iterator<Item = (usize, Wire)> {
    let all = all_protocols().into_iter().enumerate();
    all.filter(|(_, wire)| matches!(wire.transport, Transport::Udp(_)))
}

/// Line 30: the parts of a reply, to the client.
#[test]
fn fragments() {
    everywhere(|mode, begin| {
        let unknown = Pass(PassReason::NotParsed);
        for (service, wire) in datagrams() {
            begin(&configuration(mode, &[A], PORT), &mut |node| {
                let ends = forth(node, &wire);
                let [first, second, last] = parts(&wire, ends);
                stays(node, &last.frame(), &unknown);
                node.pool_is_open(false);
                stays(node, &last.frame(), &Pass(PassReason::NotParsed));
                node.pool_is_open(true);
                let to_host = last.clone().with(|part| {
                    part.destination = ROUTERS[usize::from(part.source.is_ipv6())].parse().expect("an address");
                });
                stays(node, &to_host.frame(), &Pass(PassReason::NotParsed));
                let arrives = |node: &mut dyn Tested, parts: &[&Wire]| {
                    first_part_back(node, &wire, &first);
                    for later in parts {
                        let before = node.replies();
                        let outcome = node.packet(&later.frame());
                        assert_eq!(outcome.action, Action::Transmit, "{mode:?}: {:?}", outcome.books.drop_reason());
                        let expected = (*later).clone().with(|part| {
                            (part.source, part.destination) = (wire.destination, wire.source);
                            (part.to, part.from) = (ROUTER_MAC, NODE_MAC);
                            part.ttl -= 1;
                        });
                        same_frame(node, &outcome.bytes, &expected.frame());
                        assert_eq!(node.replies(), before + 1, "parts are counted");
                    }
                };
                arrives(node, &[&second, &last, &second]);
                for ttl in [0, 1] {
                    stays(node, &last.clone().ttl(ttl).frame(), &Drop(Ttl));
                }
                let to_group = last.clone().with(|wire| wire.to = [0xff; 6]);
                stays(node, &to_group.frame(), &Drop(DropReason::Martian));
                let other_id = last.clone().with(|part| {
                    part.id ^= 1;
                    part.extensions.iter_mut().for_each(|(_, header)| header[3] ^= 1);
                });
                stays(node, &other_id.frame(), &unknown);
                // It is forgotten.
                node.wait(40);
                stays(node, &last.frame(), &unknown);
                // Somebody else has the slot.
                forth(node, &wire);
                arrives(node, &[&last]);
                for word in node.tables().nat_buckets.iter().flat_map(|bucket| &bucket.words) {
                    word.store(if word.load() == 0 { 0 } else { word.load() ^ 1 << 28 });
                }
                stays(node, &last.frame(), &unknown);
                // The backend is gone.
                begin_again(node, &wire);
                arrives(node, &[&second]);
                node.state(service, A, State { keeps: false, resets: false, takes: false, generation: 1 });
                stays(node, &last.frame(), &unknown);
            });
        }
    });
}

/// Forgets all slots, and opens a flow.
fn begin_again(node: &mut dyn Tested, wire: &Wire) {
    for word in node.tables().nat_buckets.iter().flat_map(|bucket| &bucket.words) {
        word.store(0);
    }
    // Slots are seen to once a tick.
    node.wait(1);
    forth(node, wire);
}

/// Line 25: replies that are larger than what the clients' interface takes.
#[test]
fn too_big() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: an interface can be made by root only");
        return;
    }
    // The kernel wants an interface that is there.
    let namespace = Namespace::create(&format!("{}-mtu", unique())).expect("a namespace");
    let add = format!("link add far mtu {MTU} type veth peer name near");
    namespace.ip(&[add]).expect("an interface");
    let shown = namespace.exec("ip", ["-oneline", "link", "show", "far"]).expect("it is there");
    let ifindex = shown.split(':').next().and_then(|number| number.parse().ok()).expect("its number comes first");
    namespace.enter(|| everywhere(|mode, begin| replies_are_measured(mode, begin, ifindex))).expect("to get inside");
}

/// A test of one mode in one machine.
type Begin<'a> = dyn FnMut(&Case, &mut dyn FnMut(&mut dyn Tested)) + 'a;

fn replies_are_measured(mode: Mode, begin: &mut Begin<'_>, ifindex: u32) {
    begin(&configuration(mode, &[A], PORT), &mut |node| {
        // An interface of which the tables know as well.
        node.tables().egress[2].set(FAR_MAC, ifindex, MTU);
        for wire in all_protocols() {
            let ends = forth(node, &wire);
            // The client's packets come from there.
            for record in node.tables().nat_slots.iter().flat_map(|slots| &slots.records) {
                record.set_hop(Hop { ifindex, ..record.hop() });
            }
            let reply = reply_of(&wire, ends, A);
            let rest = MTU as usize - reply.clone().payload(b"").packet().len();
            let whole = reply.clone().payload(&vec![0x11; rest]);
            let outcome = node.packet(&whole.frame());
            assert_eq!(outcome.action, Action::Redirect, "{mode:?}: {:?}", outcome.books.drop_reason());
            same_frame(node, &outcome.bytes, &from_vip(&wire, &whole).frame());
            let over = reply.payload(&vec![0x11; rest + 1]);
            let kind = if wire.source.is_ipv4() { [3, 4] } else { [2, 0] };
            stays(node, &over.frame(), &icmp_error_from(sender(mode, &wire, ends), &over, kind, MTU));
            if wire.source.is_ipv4() {
                stays(node, &over.with(|over| over.fragment = 0).frame(), &Drop(Mtu));
            }
            if matches!(wire.transport, Transport::Udp(_)) {
                let [first, later, _] = parts(&wire, ends);
                assert_eq!(node.packet(&first.frame()).action, Action::Redirect);
                assert_eq!(node.packet(&later.frame()).action, Action::Redirect);
                stays(node, &later.payload(&vec![0x44; MTU as usize]).frame(), &Drop(Mtu));
            }
        }
    });
}

#[test]
fn cut_at_every_length() {
    cut_everywhere(|wire, ends| {
        let [kind, ..] = kinds(wire.source.is_ipv4());
        let error = error(ends.backend.0, ends.source.0, kind, &arriving(wire, ends).packet());
        let mut frames = vec![error.frame()];
        if matches!(wire.transport, Transport::Udp(_)) {
            let [first, later, _] = parts(wire, ends);
            frames.extend([first.frame(), later.frame()]);
        }
        frames
    });
}
