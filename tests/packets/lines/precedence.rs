//! Line 3: exact port beats range beats any port; longer prefix beats shorter; ranges include both ends.

use lb_common::abi::Mode;

use super::{CLIENT, CLIENT6};
use crate::{
    case::{Case, Expect, NotServed, Pass, Step, To, case, send},
    wire::{ACK, SYN, tcp, udp},
    world::{A, B, Backend, C, Service},
};

const VIP: &str = "198.51.100.20";
const VIP6: &str = "2001:db8:100:0:8000::20";

pub(super) fn cases() -> Vec<Case> {
    vec![
        ports(),
        ports_of_udp(),
        ports_of_both(),
        ragged_range(),
        prefixes(),
        prefixes6(),
        longest_first(),
        shorter_is_tried(),
        whole(),
        both_beside_one(),
    ]
}

fn syns(to: &[(&'static str, u16, Expect)]) -> Vec<Step> {
    let client = |address: &str| if address.contains(':') { CLIENT6 } else { CLIENT };
    let step = |(address, port, expect): &(&'static str, u16, Expect)| {
        send(&tcp(client(address), (address, *port), SYN), expect.clone())
    };
    to.iter().map(step).collect()
}

fn three(make: impl Fn(u16, &[Backend]) -> Service) -> [Service; 3] {
    [make(8080, &[A]), make(0, &[B]).ports(8000, 8999), make(0, &[C]).ports(0, 65_535)]
}

const EXPECTED: [(u16, Backend); 10] =
    [(8080, A), (8079, B), (8081, B), (8000, B), (8999, B), (7999, C), (9000, C), (1, C), (0, C), (65_535, C)];

fn ports() -> Case {
    let services =
        [three(|port, slots| Service::tcp(VIP, port, slots)), three(|port, slots| Service::tcp(VIP6, port, slots))]
            .concat();
    let steps = EXPECTED.map(|(port, to)| syns(&[(VIP, port, To(to)), (VIP6, port, To(to))])).concat();
    case("exact port, range with both ends, any port", &services, steps)
}

fn ports_of_udp() -> Case {
    let steps = EXPECTED.map(|(port, to)| send(&udp(CLIENT, (VIP, port)), To(to)));
    case("the same for UDP", &three(|port, slots| Service::udp(VIP, port, slots)), steps)
}

fn ports_of_both() -> Case {
    let steps = EXPECTED
        .map(|(port, to)| [send(&tcp(CLIENT, (VIP, port), SYN), To(to)), send(&udp(CLIENT, (VIP, port)), To(to))]);
    case("the same for services of TCP and UDP", &three(|port, slots| Service::both(VIP, port, slots)), steps.concat())
}

/// The protocol makes no service more specific: address and port decide, for each protocol by itself.
fn both_beside_one() -> Case {
    let services = [
        Service::both(VIP, 53, &[A]),
        Service::udp(VIP, 0, &[B]).ports(0, 65_535),
        Service::both("198.51.100.0/24", 0, &[C]).ports(0, 65_535),
        Service::tcp("198.51.100.0/24", 80, &[A]),
        Service::both(VIP6, 443, &[B]),
    ];
    let tcp = |address, port| send(&tcp(CLIENT, (address, port), SYN), To(C));
    let mut steps = vec![tcp(VIP, 54), tcp("198.51.100.99", 53)];
    steps.extend(syns(&[
        (VIP, 53, To(A)),
        ("198.51.100.99", 80, To(A)),
        (VIP6, 443, To(B)),
        (VIP6, 444, Pass(NotServed)),
        ("198.51.101.1", 53, Pass(NotServed)),
    ]));
    steps.extend([
        send(&udp(CLIENT, (VIP, 53)), To(A)),
        send(&udp(CLIENT, (VIP, 54)), To(B)),
        send(&udp(CLIENT, ("198.51.100.99", 80)), To(C)),
        send(&udp(CLIENT6, (VIP6, 443)), To(B)),
        send(&udp(CLIENT6, (VIP6, 444)), Pass(NotServed)),
    ]);
    case("services of both protocols beside services of one", &services, steps)
}

fn ragged_range() -> Case {
    let services = [Service::tcp(VIP, 0, &[A]).ports(1001, 1013), Service::tcp(VIP, 0, &[B]).ports(65_535, 65_535)];
    let to = (1001..=1013).map(|port| (VIP, port, To(A)));
    let outside = [1000, 1014, 0, 65_534].map(|port| (VIP, port, Pass(NotServed)));
    let steps: Vec<_> = to.chain(outside).chain([(VIP, 65_535, To(B))]).collect();
    case("a range that begins and ends at no power of two", &services, syns(&steps))
}

fn prefixes() -> Case {
    let services = [
        Service::tcp("198.51.100.0/24", 80, &[C]),
        Service::tcp("198.51.100.16/28", 80, &[B]),
        Service::tcp(VIP, 80, &[A]),
        Service::tcp("198.51.96.0/20", 443, &[A]),
    ];
    let steps = syns(&[
        (VIP, 80, To(A)),
        ("198.51.100.16", 80, To(B)),
        ("198.51.100.19", 80, To(B)),
        ("198.51.100.31", 80, To(B)),
        ("198.51.100.15", 80, To(C)),
        ("198.51.100.32", 80, To(C)),
        ("198.51.100.0", 80, To(C)),
        ("198.51.100.255", 80, To(C)),
        ("198.51.101.0", 80, Pass(NotServed)),
        ("198.51.99.255", 80, Pass(NotServed)),
        ("198.51.111.255", 443, To(A)),
        ("198.51.96.0", 443, To(A)),
        ("198.51.112.0", 443, Pass(NotServed)),
        ("198.51.95.255", 443, Pass(NotServed)),
    ]);
    // The flows differ in the VIP alone, and collide.
    case("the longest prefix of an address", &services, steps).except(&[Mode::Nat])
}

fn prefixes6() -> Case {
    let services = [
        Service::tcp("2001:db8:100::/57", 80, &[C]),
        Service::tcp("2001:db8:100:0:8000::/65", 80, &[B]),
        Service::tcp(VIP6, 80, &[A]),
    ];
    let steps = syns(&[
        (VIP6, 80, To(A)),
        ("2001:db8:100:0:8000::21", 80, To(B)),
        ("2001:db8:100:0:ffff:ffff:ffff:ffff", 80, To(B)),
        ("2001:db8:100:0:7fff:ffff:ffff:ffff", 80, To(C)),
        ("2001:db8:100:7f:ffff:ffff:ffff:ffff", 80, To(C)),
        ("2001:db8:100::", 80, To(C)),
        ("2001:db8:100:80::", 80, Pass(NotServed)),
        ("2001:db8:ff:ffff::", 80, Pass(NotServed)),
    ]);
    // The flows differ in the VIP alone, and collide.
    case("the longest prefix of an IPv6 address, not at a word's end", &services, steps).except(&[Mode::Nat])
}

fn longest_first() -> Case {
    let services = [
        Service::tcp("198.51.100.0/24", 80, &[B]),
        Service::tcp("198.51.100.0/25", 0, &[C]).ports(1, 1023),
        Service::tcp(VIP, 0, &[A]).ports(0, 65_535),
    ];
    let steps = syns(&[
        (VIP, 80, To(A)),
        (VIP, 81, To(A)),
        ("198.51.100.21", 80, To(C)),
        ("198.51.100.128", 80, To(B)),
        ("198.51.100.128", 81, Pass(NotServed)),
    ]);
    case("any port of a longer prefix beats the exact port of a shorter one", &services, steps)
}

fn shorter_is_tried() -> Case {
    let services = [
        Service::tcp(VIP, 443, &[A]),
        Service::tcp("198.51.100.16/28", 0, &[B]).ports(8000, 8001),
        Service::tcp("198.51.100.0/24", 80, &[C]),
        Service::udp("198.51.100.0/24", 53, &[A]),
    ];
    let steps = syns(&[
        (VIP, 443, To(A)),
        (VIP, 8001, To(B)),
        (VIP, 80, To(C)),
        (VIP, 53, Pass(NotServed)),
        (VIP, 8002, Pass(NotServed)),
    ]);
    let udp = [send(&udp(CLIENT, (VIP, 53)), To(A)), send(&udp(CLIENT, (VIP, 443)), Pass(NotServed))];
    case(
        "a longer prefix that has nothing for the port leaves it to a shorter one",
        &services,
        [steps, udp.to_vec()].concat(),
    )
}

fn whole() -> Case {
    let services = [Service::tcp("2001:db8:100::/64", 0, &[A]).ports(0, 65_535)];
    let steps = [
        send(&tcp(CLIENT6, (VIP6, 1234), SYN), To(A)),
        send(&tcp(CLIENT6, (VIP6, 1234), ACK), To(A)),
        send(&tcp(CLIENT6, ("2001:db8:100:0:8000::21", 1234), ACK), To(A)),
        send(&udp(CLIENT6, (VIP6, 1234)), Pass(NotServed)),
    ];
    // The flows differ in the VIP alone, and collide.
    case("any port of every address of a prefix", &services, steps).except(&[Mode::Nat])
}
