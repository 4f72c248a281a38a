//! Line 6: IPv4 options and IPv6 extension headers are walked to the transport header, up to a bound; AH and ESP → PASS.

use super::{CLIENT, CLIENT6, DNS, DNS6, HOST6, WEB, WEB6, services};
use crate::{
    case::{Case, Drop, Expect, ExtensionHeaders, Host, OtherProtocol, Pass, Step, To, case, send},
    wire::{ACK, Extension, SYN, Wire, options_header, raw, routing_header, tcp, udp},
    world::A,
};

/// Numbers of extension headers (RFC 8200, section 4).
const HOP_BY_HOP: u8 = 0;
const DESTINATION: u8 = 60;

pub(super) fn cases() -> Vec<Case> {
    [v4(), v6(), bound(), protocols()].concat()
}

fn row(what: &str, steps: impl IntoIterator<Item = Step>) -> Case {
    case(what, &services(&[A]), steps)
}

fn v4() -> Vec<Case> {
    let with = |wire: Wire, options: &[u8]| wire.with(|wire| wire.options = options.to_vec());
    let record_route = [&[1, 7, 39, 4][..], &[0; 36]].concat();
    let options: [(&str, &[u8]); 3] = [
        ("IPv4 options: one word", &[1, 1, 1, 0]),
        ("IPv4 options: router alert", &[148, 4, 0, 0]),
        ("IPv4 options: as many as there can be", &record_route),
    ];
    let rows = options.map(|(what, options)| {
        row(
            what,
            [
                send(&with(tcp(CLIENT, WEB, SYN), options), To(A)),
                send(&with(tcp(CLIENT, WEB, ACK), options), To(A)),
                send(&with(udp(CLIENT, DNS), options), To(A)),
            ],
        )
    });
    rows.to_vec()
}

fn v6() -> Vec<Case> {
    let all = [
        options_header(HOP_BY_HOP, 0),
        options_header(DESTINATION, 0),
        routing_header(),
        options_header(DESTINATION, 1),
    ];
    let headers: [(&str, &[Extension]); 5] = [
        ("hop-by-hop options", &[options_header(HOP_BY_HOP, 0)]),
        ("long hop-by-hop options", &[options_header(HOP_BY_HOP, 12)]),
        ("a routing header", &[routing_header()]),
        ("destination options", &[options_header(DESTINATION, 2)]),
        ("each as often as RFC 8200 has it", &all),
    ];
    let rows = headers.map(|(what, headers)| {
        row(
            what,
            [
                send(&tcp(CLIENT6, WEB6, SYN).extended(headers), To(A)),
                send(&tcp(CLIENT6, WEB6, ACK).extended(headers), To(A)),
                send(&udp(CLIENT6, DNS6).extended(headers), To(A)),
            ],
        )
    });
    rows.to_vec()
}

fn bound() -> Vec<Case> {
    let many = vec![options_header(DESTINATION, 0); 16];
    let drop = Drop(ExtensionHeaders);
    vec![
        row(
            "more extension headers than are followed",
            [
                send(&tcp(CLIENT6, WEB6, SYN).extended(&many), drop.clone()),
                send(&udp(CLIENT6, DNS6).extended(&many), drop),
            ],
        ),
        row("the same, for no VIP", [send(&tcp(CLIENT6, HOST6, SYN).extended(&many), Host)]),
    ]
}

fn protocols() -> Vec<Case> {
    let pass = || Pass(OtherProtocol);
    let both = |what: &str, protocol: u8, bytes: &[u8]| {
        row(
            what,
            [
                send(&raw(CLIENT.0, WEB.0, protocol, bytes), pass()),
                send(&raw(CLIENT6.0, WEB6.0, protocol, bytes), pass()),
            ],
        )
    };
    // RFC 4302: the header of a TCP segment follows; what AH guards is not ours to open.
    let inner = tcp(CLIENT6, WEB6, SYN).packet();
    let ah = [&[6, 4, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1][..], &[0xaa; 12], &inner[40..]].concat();
    let behind_options = |number: u8, expect: Expect| {
        send(&raw(CLIENT6.0, WEB6.0, number, &ah).extended(&[options_header(HOP_BY_HOP, 0)]), expect)
    };
    vec![
        both("AH", 51, &ah),
        both("ESP", 50, &[0, 0, 0, 9, 0, 0, 0, 1, 0xaa, 0xbb, 0xcc, 0xdd]),
        both("GRE", 47, &[0; 24]),
        both("SCTP", 132, &[0x9c, 0x41, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0]),
        both("IPv4 in IP", 4, &tcp(CLIENT, WEB, SYN).packet()),
        both("IPv6 in IP", 41, &tcp(CLIENT6, WEB6, SYN).packet()),
        both("no next header", 59, &[]),
        row("AH and ESP behind hop-by-hop options", [behind_options(51, pass()), behind_options(50, pass())]),
    ]
}
