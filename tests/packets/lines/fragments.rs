//! Line 30, as far as this release goes: every fragment of a datagram for a VIP with a service of that protocol →
//! DROP(fragment); atomic fragments are whole packets (RFC 6946).

use super::{CLIENT, CLIENT6, DNS, DNS6, HOST, HOST6, WEB, WEB6, services};
use crate::{
    case::{Case, Drop, Flows, Fragment, Host, Malformed, Step, To, case, send, send_bytes},
    wire::{ACK, SYN, Transport, Wire, fragment_header, options_header, raw, tcp, udp},
    world::A,
};

const MORE: u16 = 0x2000;

pub(super) fn cases() -> Vec<Case> {
    [v4(), v6(), atomic(), hosts()].concat()
}

fn row(what: &str, steps: impl IntoIterator<Item = Step>) -> Case {
    case(what, &services(&[A]), steps)
}

fn piece(wire: Wire, fragment: u16) -> Wire {
    wire.with(|wire| wire.fragment = fragment)
}

fn v4() -> Vec<Case> {
    let first = [piece(tcp(CLIENT, WEB, ACK), MORE), piece(udp(CLIENT, DNS), MORE)];
    // Later pieces have no transport header: these bytes would be ports of no service.
    let later = |protocol: u8, vip: &str, fragment: u16, len: usize| {
        piece(raw(CLIENT.0, vip, protocol, &vec![0xee; len]), fragment)
    };
    let dropped = |wires: &[Wire]| wires.iter().map(|wire| send(wire, Drop(Fragment))).collect::<Vec<_>>();
    vec![
        row("the first", dropped(&first)),
        row("in the middle", dropped(&[later(6, WEB.0, MORE | 185, 1480), later(17, DNS.0, MORE | 185, 1480)])),
        row("the last", dropped(&[later(6, WEB.0, 185, 64), later(17, DNS.0, 0x1fff, 7)])),
        row("the last, shorter than any transport header", dropped(&[later(6, WEB.0, 185, 1), later(17, DNS.0, 9, 1)])),
        row("the first, with Don't Fragment", dropped(&[piece(udp(CLIENT, DNS), MORE | 0x4000)])),
        row("a first piece too short for its TCP header", dropped(&[later(6, WEB.0, MORE, 8)])),
        row("the first, for a port that is not served", dropped(&[piece(tcp(CLIENT, (WEB.0, 22), ACK), MORE)])),
        row(
            "of a known flow",
            [send(&tcp(CLIENT, WEB, SYN), To(A)), send(&first[0], Drop(Fragment)), send(&tcp(CLIENT, WEB, ACK), To(A))],
        ),
        row("no flow is made", [send(&first[1], Drop(Fragment)), Flows(vec![])]),
    ]
}

fn v6() -> Vec<Case> {
    let with = |wire: Wire, offset, more| wire.extended(&[fragment_header(offset, more)]);
    let later = |protocol: u8, vip: &str, offset, more| with(raw(CLIENT6.0, vip, protocol, &[0xee; 64]), offset, more);
    let hop_by_hop = options_header(0, 0);
    let behind = tcp(CLIENT6, WEB6, ACK).extended(&[hop_by_hop.clone(), fragment_header(0, true)]);
    let dropped = |wires: &[Wire]| wires.iter().map(|wire| send(wire, Drop(Fragment))).collect::<Vec<_>>();
    let short = with(tcp(CLIENT6, WEB6, SYN), 0, false).network_patched(4, &[0, 7]);
    vec![
        row("IPv6, the first", dropped(&[with(tcp(CLIENT6, WEB6, ACK), 0, true), with(udp(CLIENT6, DNS6), 0, true)])),
        row("IPv6, in the middle", dropped(&[later(6, WEB6.0, 181, true), later(17, DNS6.0, 181, true)])),
        row("IPv6, the last", dropped(&[later(6, WEB6.0, 181, false), later(17, DNS6.0, 0x1fff, false)])),
        row("IPv6, behind hop-by-hop options", dropped(&[behind])),
        row("a fragment header that is cut", [send_bytes(short, Drop(Malformed))]),
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
        Transport::Tcp(_) | Transport::Udp(_) | Transport::Raw(..) if wire.source.is_ipv4() => piece(wire, MORE),
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
