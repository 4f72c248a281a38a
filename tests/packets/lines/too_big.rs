//! Line 25: larger than what fits on the way to the backend: told to the sender, or dropped where routers may cut.

use lb_common::{abi::Mode, verdict::DropReason};

use super::{CLIENT, CLIENT6, DNS, DNS6, TUNNELS, WEB, WEB6, no_backend::icmp_error, services};
use crate::{
    case::{Case, Drop, Established, Expect, Flows, Setup, To, Udp, UdpSingle, Wrapped, case, send},
    outer::Outer,
    wire::{ACK, SYN, Wire, tcp, udp},
    world::{A, Backend},
};

/// What the interfaces take.
const MTU: usize = 1500;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for mode in [Mode::Ipip, Mode::Gue] {
        for outer in Outer::all(mode) {
            cases.extend(through(outer));
        }
    }
    cases.push(on_the_link());
    cases
}

/// A packet whose IP length is this.
fn sized(wire: Wire, length: usize) -> Wire {
    let empty = wire.clone().payload(b"").packet().len();
    wire.payload(&(0..length - empty).map(|i| i as u8 | 1).collect::<Vec<u8>>())
}

fn too_big(wire: &Wire, mtu: usize) -> Expect {
    let v4 = wire.source.is_ipv4();
    icmp_error(wire, if v4 { [3, 4] } else { [2, 0] }, mtu as u32)
}

fn through(outer: Outer) -> Vec<Case> {
    let services = services(&[A]).map(|service| service.through(outer));
    let fits = MTU - outer.overhead();
    let name = |what: &str| format!("{outer:?}: {what}");
    let mut cases = Vec::new();
    for (what, syn, ack) in [
        ("IPv4", tcp(CLIENT, WEB, SYN), tcp(CLIENT, WEB, ACK)),
        ("IPv6", tcp(CLIENT6, WEB6, SYN), tcp(CLIENT6, WEB6, ACK)),
    ] {
        let over = sized(ack.clone(), fits + 1);
        let whole = sized(ack.clone(), MTU);
        cases.push(case(
            name(&format!("{what}: what fits, and one byte more")),
            &services,
            [
                send(&syn, Wrapped(A, outer)),
                send(&sized(ack.clone(), fits), Wrapped(A, outer)),
                send(&over, too_big(&over, fits)),
                send(&whole, too_big(&whole, fits)),
                Flows(vec![(Established, A)]),
                send(&sized(ack, fits), Wrapped(A, outer)),
            ],
        ));
    }
    for (what, wire) in [("IPv4 UDP", udp(CLIENT, DNS)), ("IPv6 UDP", udp(CLIENT6, DNS6))] {
        let over = sized(wire.clone(), fits + 1);
        let tagged = sized(wire.clone(), fits + 1).tagged(&[(0x88a8, 7), (0x8100, 100)]);
        cases.push(case(
            name(&format!("{what}: the first packet")),
            &services,
            [
                send(&over, too_big(&over, fits)),
                Flows(vec![(UdpSingle, A)]),
                send(&tagged, too_big(&tagged, fits)),
                send(&sized(wire, fits), Wrapped(A, outer)),
                Flows(vec![(Udp, A)]),
            ],
        ));
    }
    let cut = |length: usize| sized(udp(CLIENT, DNS), length).with(|wire| wire.fragment = 0);
    cases.push(case(
        name("without DF nobody is told"),
        &services,
        [send(&cut(fits), Wrapped(A, outer)), send(&cut(fits + 1), Drop(DropReason::Mtu))],
    ));
    cases
}

/// Without a tunnel, on an interface that takes less than the frame.
fn on_the_link() -> Case {
    let services = services(&[Backend::Far]);
    let over = sized(tcp(CLIENT, WEB, ACK), MTU + 1);
    case(
        "dsr-l2: above the MTU of the other interface",
        &services,
        [
            send(&tcp(CLIENT, WEB, SYN), To(Backend::Far)),
            Flows(vec![(Setup, Backend::Far)]),
            send(&sized(tcp(CLIENT, WEB, ACK), MTU), To(Backend::Far)),
            send(&over, too_big(&over, MTU)),
        ],
    )
    .except(&TUNNELS)
}
