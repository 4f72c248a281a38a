//! Line 5: headers that do not hold together → for a VIP DROP(malformed), else PASS. Padding is no part of the packet.

use super::{CLIENT, CLIENT6, DNS, DNS6, HOST, HOST6, WEB, WEB6, services};
use crate::{
    case::{Case, Drop, Malformed, NotParsed, Pass, To, case, send, send_bytes},
    wire::{ACK, SYN, Wire, options_header, tcp, udp},
    world::{A, Service},
};

pub(super) fn cases() -> Vec<Case> {
    [v4(), v6(), transport(), padding(), vec![prefix(), in_a_known_flow()]].concat()
}

/// The same fault in a packet for a VIP and in one for a host.
fn pair(what: &str, vip: Wire, host: Wire, fault: impl Fn(&Wire) -> Vec<u8>) -> [Case; 2] {
    let drop = send_bytes(fault(&vip), Drop(Malformed));
    let pass = send_bytes(fault(&host), Pass(NotParsed));
    [
        case(format!("{what}, for a VIP"), &services(&[A]), [drop]),
        case(format!("{what}, for no VIP"), &services(&[A]), [pass]),
    ]
}

fn v4() -> Vec<Case> {
    let fault = |what: &str, at: usize, bytes: &'static [u8]| {
        pair(what, tcp(CLIENT, WEB, SYN), tcp(CLIENT, HOST, SYN), |wire| wire.network_patched(at, bytes))
    };
    [
        fault("IHL 4", 0, &[0x44]),
        fault("IHL 0", 0, &[0x40]),
        fault("IHL 15 in a packet of 40 bytes", 0, &[0x4f]),
        fault("version 6 under the ethertype of IPv4", 0, &[0x65]),
        fault("version 0", 0, &[0x05]),
        fault("version 15", 0, &[0xf5]),
        fault("total length one byte larger than the frame", 2, &[0, 41]),
        fault("total length 65535", 2, &[0xff, 0xff]),
        fault("total length 0", 2, &[0, 0]),
        fault("total length smaller than the header", 2, &[0, 19]),
        fault("total length that of the header", 2, &[0, 20]),
        fault("total length one byte short of a TCP header", 2, &[0, 39]),
    ]
    .concat()
}

fn v6() -> Vec<Case> {
    let fault = |what: &str, at: usize, bytes: &'static [u8]| {
        pair(what, tcp(CLIENT6, WEB6, SYN), tcp(CLIENT6, HOST6, SYN), |wire| wire.network_patched(at, bytes))
    };
    let extended = |to| tcp(CLIENT6, to, SYN).extended(&[options_header(0, 0)]);
    let beyond = pair("an extension header longer than the packet", extended(WEB6), extended(HOST6), |wire| {
        wire.network_patched(41, &[200])
    });
    let over = pair("an extension header that swallows half of TCP's", extended(WEB6), extended(HOST6), |wire| {
        wire.network_patched(41, &[1])
    });
    let cut = pair("a payload that ends within an extension header", extended(WEB6), extended(HOST6), |wire| {
        wire.network_patched(4, &[0, 7])
    });
    [
        fault("version 4 under the ethertype of IPv6", 0, &[0x40]),
        fault("version 0 under the ethertype of IPv6", 0, &[0x00]),
        fault("payload length one byte larger than the frame", 4, &[0, 21]),
        fault("payload length 65535", 4, &[0xff, 0xff]),
        fault("payload length 0", 4, &[0, 0]),
        fault("payload length one byte short of a TCP header", 4, &[0, 19]),
        beyond,
        over,
        cut,
    ]
    .concat()
}

fn transport() -> Vec<Case> {
    let offset = |what: &str, value: u8| {
        let fault = move |wire: &Wire| wire.patched(wire.transport_at() + 12, &[value << 4]);
        [
            pair(what, tcp(CLIENT, WEB, SYN), tcp(CLIENT, HOST, SYN), fault),
            pair(&format!("{what}, IPv6"), tcp(CLIENT6, WEB6, SYN), tcp(CLIENT6, HOST6, SYN), fault),
        ]
        .concat()
    };
    let length = |what: &str, value: u16| {
        let fault = move |wire: &Wire| wire.patched(wire.transport_at() + 4, &value.to_be_bytes());
        [
            pair(what, udp(CLIENT, DNS), udp(CLIENT, HOST), fault),
            pair(&format!("{what}, IPv6"), udp(CLIENT6, DNS6), udp(CLIENT6, HOST6), fault),
        ]
        .concat()
    };
    let short = pair("IP that ends within the UDP header", udp(CLIENT, DNS), udp(CLIENT, HOST), |wire| {
        wire.network_patched(2, &[0, 27])
    });
    [
        offset("data offset 4", 4),
        offset("data offset 0", 0),
        offset("data offset one word larger than the segment", 6),
        offset("data offset 15 in a bare SYN", 15),
        length("UDP length 7", 7),
        length("UDP length larger than the packet", 34),
        short.to_vec(),
    ]
    .concat()
}

fn padding() -> Vec<Case> {
    let padded = |wire: Wire| wire.with(|wire| wire.padding = 60_usize.saturating_sub(wire.frame().len()).max(6));
    // The bytes of the TCP header are in the frame, but behind the end of the packet.
    let short = |wire: Wire, at: usize, length: u16| padded(wire).network_patched(at, &length.to_be_bytes());
    let row = |what: &str, steps| case(what, &services(&[A]), steps);
    vec![
        row(
            "padding is forwarded as it is",
            vec![
                send(&padded(tcp(CLIENT, WEB, SYN)), To(A)),
                send(&padded(tcp(CLIENT, WEB, ACK).payload(b"")), To(A)),
                send(&padded(tcp(CLIENT6, WEB6, SYN)), To(A)),
                send(&padded(udp(CLIENT, DNS).payload(b"")), To(A)),
            ],
        ),
        row(
            "padding does not complete a TCP header",
            vec![
                send_bytes(short(tcp(CLIENT, WEB, SYN), 2, 30), Drop(Malformed)),
                send_bytes(short(tcp(CLIENT6, WEB6, SYN), 4, 10), Drop(Malformed)),
            ],
        ),
        row(
            "padding does not complete a UDP header",
            vec![send_bytes(short(udp(CLIENT, DNS).payload(b""), 2, 24), Drop(Malformed))],
        ),
    ]
}

fn prefix() -> Case {
    let services = [Service::tcp("198.51.100.0/24", 80, &[A])];
    let fault = |to: &str| tcp(CLIENT, (to, 99), SYN).network_patched(0, &[0x44]);
    let steps =
        [send_bytes(fault("198.51.100.77"), Drop(Malformed)), send_bytes(fault("198.51.101.77"), Pass(NotParsed))];
    case("any address of a VIP's prefix, any port", &services, steps)
}

fn in_a_known_flow() -> Case {
    let bad = tcp(CLIENT, WEB, ACK).network_patched(2, &[0x05, 0xdc]);
    let steps =
        [send(&tcp(CLIENT, WEB, SYN), To(A)), send_bytes(bad, Drop(Malformed)), send(&tcp(CLIENT, WEB, ACK), To(A))];
    case("in a known flow", &services(&[A]), steps)
}
