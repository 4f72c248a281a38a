//! Line 22: IPv4 and IPv6 in either, the outer header made from the packet, the packet unchanged.

use lb_common::abi::Mode;

use super::{CLIENT, CLIENT6, DNS, DNS6, WEB, WEB6, services};
use crate::{
    case::{Case, Drop, Neighbour, Slots, To, Wrapped, case, send, send_bytes},
    outer::Outer,
    wire::{ACK, FIN, RST, SYN, Wire, options_header, tcp, udp},
    world::{A, B, Backend, Service},
};

pub(super) fn cases() -> Vec<Case> {
    Outer::all(Mode::Ipip).into_iter().flat_map(|outer| wrapped(outer).into_iter().chain(changes(outer))).collect()
}

/// The rows of a mode that wraps packets.
pub(super) fn wrapped(outer: Outer) -> Vec<Case> {
    let through = || services(&[A]).map(|service| service.through(outer));
    let name = |what: &str| format!("{outer:?}: {what}");
    let mut cases: Vec<Case> = packets()
        .into_iter()
        .map(|(what, wires)| {
            let steps = wires.iter().map(|wire| send(wire, Wrapped(A, outer)));
            case(name(what), &through(), steps)
        })
        .collect();
    let far = services(&[Backend::Far]).map(|service| service.through(outer));
    let steps = [tcp(CLIENT, WEB, SYN), tcp(CLIENT, WEB, ACK), tcp(CLIENT, WEB, ACK), udp(CLIENT6, DNS6)];
    cases.push(case(name("on another interface"), &far, steps.map(|wire| send(&wire, Wrapped(Backend::Far, outer)))));
    let lost = services(&[Backend::Unresolved]).map(|service| service.through(outer));
    cases.push(case(name("no next hop"), &lost, [send(&tcp(CLIENT, WEB, SYN), Drop(Neighbour))]));
    cases
}

/// What is sent, in the order of the flow: the third packet of one takes the short way.
fn packets() -> Vec<(&'static str, Vec<Wire>)> {
    let flow = |wire: fn(u8) -> Wire| [SYN, ACK, ACK, FIN | ACK, RST].map(wire).to_vec();
    let v4 = || flow(|flags| tcp(CLIENT, WEB, flags));
    let v6 = || flow(|flags| tcp(CLIENT6, WEB6, flags));
    let with = |wires: Vec<Wire>, change: &dyn Fn(&mut Wire)| wires.into_iter().map(|wire| wire.with(change)).collect();
    let datagrams = |wire: Wire| vec![wire.clone(), wire.clone(), wire];
    let single = vec![(0x8100, 0x6064)];
    let double = vec![(0x88a8, 7), (0x8100, 100)];
    vec![
        ("IPv4 TCP", v4()),
        ("IPv6 TCP", v6()),
        ("IPv4 UDP", datagrams(udp(CLIENT, DNS))),
        ("IPv6 UDP", datagrams(udp(CLIENT6, DNS6))),
        ("UDP without data", datagrams(udp(CLIENT, DNS).payload(b""))),
        ("IPv6 UDP without data", datagrams(udp(CLIENT6, DNS6).payload(b""))),
        ("odd lengths", datagrams(udp(CLIENT, DNS).payload(b"odd"))),
        ("one tag", with(v4(), &|wire| wire.tags = single.clone())),
        ("QinQ", with(v6(), &|wire| wire.tags = double.clone())),
        ("padding", with(v4(), &|wire| wire.padding = 9)),
        ("IPv6 padding", with(v6(), &|wire| wire.padding = 1)),
        ("every class", with(v4(), &|wire| wire.class = 0xff)),
        ("every class, IPv6", with(v6(), &|wire| wire.class = 0xa5)),
        ("no class", with(v4(), &|wire| wire.class = 0)),
        ("TTL 1 stays", with(v4(), &|wire| wire.ttl = 1)),
        ("hop limit 1 stays", with(v6(), &|wire| wire.ttl = 1)),
        ("DF not set inside", with(v4(), &|wire| wire.fragment = 0)),
        ("IPv4 options", with(v4(), &|wire| wire.options = vec![1; 8])),
        ("extension headers", with(v6(), &|wire| wire.extensions = vec![options_header(60, 0)])),
        ("reserved flag of IPv4", with(v4(), &|wire| wire.fragment = 0xc000)),
    ]
}

/// Each service, and each backend, may be reached otherwise.
fn changes(outer: Outer) -> Vec<Case> {
    let [web, web6, dns, dns6] = services(&[A]);
    let mixed: [Service; 4] = [web.through(outer), web6, dns, dns6.through(outer)];
    vec![
        case(
            format!("{outer:?}: each service its own mode"),
            &mixed,
            [
                send(&tcp(CLIENT, WEB, SYN), Wrapped(A, outer)),
                send(&tcp(CLIENT6, WEB6, SYN), To(A)),
                send(&udp(CLIENT, DNS), To(A)),
                send(&udp(CLIENT6, DNS6), Wrapped(A, outer)),
            ],
        ),
        case(
            format!("{outer:?}: a known flow stays"),
            &mixed,
            [
                send(&tcp(CLIENT, WEB, SYN), Wrapped(A, outer)),
                Slots(super::WEB_SERVICE, vec![B]),
                send(&tcp(CLIENT, WEB, ACK), Wrapped(A, outer)),
                send(&tcp((CLIENT.0, 5), WEB, SYN), Wrapped(B, outer)),
                send(&tcp(CLIENT, WEB, ACK), Wrapped(A, outer)),
            ],
        ),
        // The transport checksum is not looked at.
        case(format!("{outer:?}: a wrong checksum inside"), &mixed, [send_bytes(wrong_checksum(), Wrapped(A, outer))]),
    ]
}

fn wrong_checksum() -> Vec<u8> {
    let wire = tcp(CLIENT, WEB, SYN);
    wire.patched(wire.transport_at() + 16, &[0x12, 0x34])
}
