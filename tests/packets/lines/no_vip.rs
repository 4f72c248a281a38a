//! Line 2: not a VIP, or a VIP without this protocol and port → PASS.

use super::{CLIENT, CLIENT6, DNS, DNS6, HOST, HOST6, WEB, WEB6, services};
use crate::{
    case::{Case, Host, NotServed, Pass, To, case, send},
    wire::{ACK, SYN, raw, tcp, udp},
    world::A,
};

pub(super) fn cases() -> Vec<Case> {
    let near = |address: &'static str| (address, 80);
    let not_served = [
        ("TCP to no VIP", tcp(CLIENT, HOST, SYN)),
        ("TCP to no VIP, not a SYN", tcp(CLIENT, HOST, ACK)),
        ("UDP to no VIP", udp(CLIENT, HOST)),
        ("IPv6 TCP to no VIP", tcp(CLIENT6, HOST6, SYN)),
        ("IPv6 UDP to no VIP", udp(CLIENT6, HOST6)),
        ("the address before a VIP", tcp(CLIENT, near("198.51.100.9"), SYN)),
        ("the address after a VIP", tcp(CLIENT, near("198.51.100.11"), SYN)),
        ("the IPv6 address after a VIP", tcp(CLIENT6, near("2001:db8:100::11"), SYN)),
        ("an IPv6 address that differs in its first word", tcp(CLIENT6, near("2001:db9:100::10"), SYN)),
        ("an IPv6 address that differs in its third word", tcp(CLIENT6, near("2001:db8:100::1:0:10"), SYN)),
        ("from the VIP's side: the ports the other way round", tcp((CLIENT.0, 80), (WEB.0, 40_001), SYN)),
        ("another port of a VIP", tcp(CLIENT, (WEB.0, 81), SYN)),
        ("another port of a VIP, not a SYN", tcp(CLIENT, (WEB.0, 443), ACK)),
        ("another port of an IPv6 VIP", tcp(CLIENT6, (WEB6.0, 81), SYN)),
        ("the port of a VIP with its bytes swapped", tcp(CLIENT, (WEB.0, 80_u16.swap_bytes()), SYN)),
        ("UDP to a TCP service", udp(CLIENT, WEB)),
        ("TCP to a UDP service", tcp(CLIENT, DNS, SYN)),
        ("IPv6 UDP to a TCP service", udp(CLIENT6, WEB6)),
        ("IPv6 TCP to a UDP service", tcp(CLIENT6, DNS6, SYN)),
    ];
    let row = |(what, wire): (&str, _)| case(what, &services(&[A]), [send(&wire, Pass(NotServed))]);
    let mut cases: Vec<Case> = not_served.into_iter().map(row).collect();
    cases.push(case("nothing is configured", &[], [send(&tcp(CLIENT, WEB, SYN), Pass(NotServed))]));
    cases.extend(icmp());
    cases.push(case(
        "and the service itself is served",
        &services(&[A]),
        [
            send(&tcp(CLIENT, WEB, SYN), To(A)),
            send(&tcp(CLIENT6, WEB6, SYN), To(A)),
            send(&udp(CLIENT, DNS), To(A)),
            send(&udp(CLIENT6, DNS6), To(A)),
        ],
    ));
    cases
}

fn icmp() -> Vec<Case> {
    let echo = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
    let echo6 = [128, 0, 0, 0, 0, 1, 0, 1];
    vec![
        case("echo request to no VIP", &services(&[A]), [send(&raw(CLIENT.0, HOST.0, 1, &echo), Host)]),
        case("ICMPv6 to no VIP", &services(&[A]), [send(&raw(CLIENT6.0, HOST6.0, 58, &echo6), Host)]),
    ]
}
