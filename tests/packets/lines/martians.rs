//! Line 8: a source that is a VIP of ours, multicast, broadcast, loopback or of this network; a frame sent to a group.

use lb_common::abi::Mode;

use super::{CLIENT, CLIENT6, DNS, DNS6, HOST, WEB, WEB6, services};
use crate::{
    case::{Case, Drop, Flows, Martian, NotServed, Pass, Setup, To, case, send},
    wire::{ACK, SYN, Wire, tcp, udp},
    world::{A, Service},
};

/// RFC 1122, section 3.2.1.3; RFC 1812, section 5.3.7; RFC 5735.
const V4: [&str; 11] = [
    "0.0.0.0",
    "0.1.2.3",
    "0.255.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    // VIPs of ours.
    WEB.0,
    DNS.0,
];

/// RFC 4291, sections 2.5.2, 2.5.3, 2.5.5.2 and 2.7.
const V6: [&str; 9] =
    ["::", "::1", "ff02::1", "ff05::1:3", "ffff::1", "::ffff:192.0.2.7", "::ffff:198.51.100.10", WEB6.0, DNS6.0];

/// Near the above, and good.
const GOOD: [&str; 7] =
    ["1.0.0.1", "126.255.255.255", "128.0.0.1", "223.255.255.255", "198.51.100.9", "10.0.0.1", "192.168.0.1"];
const GOOD6: [&str; 6] =
    ["2001:db8::1", "fe80::1", "fd00::1", "64:ff9b::c000:207", "2001:db8:0:0:0:ffff:c000:207", "2001:db8:100::11"];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![good(), in_a_prefix(), group_mac(), group_mac_known(), not_served()];
    cases.extend(V4.map(|source| {
        let wires = [tcp((source, 40_001), WEB, SYN), tcp((source, 40_001), WEB, ACK), udp((source, 40_001), DNS)];
        dropped(source, &wires)
    }));
    cases.extend(V6.map(|source| {
        let wires = [tcp((source, 40_001), WEB6, SYN), tcp((source, 40_001), WEB6, ACK), udp((source, 40_001), DNS6)];
        dropped(source, &wires)
    }));
    cases
}

fn dropped(source: &str, wires: &[Wire]) -> Case {
    let steps = wires.iter().map(|wire| send(wire, Drop(Martian))).chain([Flows(vec![])]);
    case(format!("from {source}"), &services(&[A]), steps)
}

fn good() -> Case {
    let v4 = GOOD.map(|source| send(&tcp((source, 40_001), WEB, SYN), To(A)));
    let v6 = GOOD6.map(|source| send(&tcp((source, 40_001), WEB6, SYN), To(A)));
    case("sources that look like them and are good", &services(&[A]), v4.into_iter().chain(v6))
        // One of them is a backend's.
        .except(&[Mode::Nat])
}

fn in_a_prefix() -> Case {
    let services = [Service::tcp(WEB.0, WEB.1, &[A]), Service::udp("203.0.113.0/28", 53, &[A])];
    let steps =
        [send(&tcp(("203.0.113.15", 5), WEB, SYN), Drop(Martian)), send(&tcp(("203.0.113.16", 5), WEB, SYN), To(A))];
    case("from an address of a VIP's prefix", &services, steps)
}

const GROUPS: [[u8; 6]; 3] = [[0xff; 6], [0x01, 0, 0x5e, 0x33, 0x64, 0x0a], [0x33, 0x33, 0, 0, 0, 0x10]];

fn group_mac() -> Case {
    let wires = [tcp(CLIENT, WEB, SYN), tcp(CLIENT, WEB, ACK), udp(CLIENT, DNS), tcp(CLIENT6, WEB6, SYN)];
    let frames = GROUPS.iter().flat_map(|mac| wires.clone().map(|wire| wire.with(|wire| wire.to = *mac)));
    let steps = frames.map(|wire| send(&wire, Drop(Martian)));
    case("a frame to a broadcast or multicast address", &services(&[A]), steps)
}

fn group_mac_known() -> Case {
    let steps = [
        send(&tcp(CLIENT, WEB, SYN), To(A)),
        send(&tcp(CLIENT, WEB, ACK).with(|wire| wire.to = [0xff; 6]), Drop(Martian)),
        Flows(vec![(Setup, A)]),
    ];
    case("a frame to the broadcast address, of a known flow", &services(&[A]), steps)
}

fn not_served() -> Case {
    let steps = [
        send(&tcp(CLIENT, HOST, SYN).with(|wire| wire.to = [0xff; 6]), Pass(NotServed)),
        send(&tcp(("127.0.0.1", 5), HOST, SYN), Pass(NotServed)),
        send(&tcp(("127.0.0.1", 5), (WEB.0, 22), SYN), Pass(NotServed)),
        send(&udp(("192.0.2.7", 5), ("224.0.0.251", 5353)), Pass(NotServed)),
        send(&udp(("192.0.2.7", 68), ("255.255.255.255", 67)), Pass(NotServed)),
        send(&udp(("fe80::1", 546), ("ff02::1:2", 547)), Pass(NotServed)),
    ];
    case("the same for the host is the host's", &services(&[A]), steps)
}
