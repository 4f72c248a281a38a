//! Line 4: one 802.1Q tag or QinQ is parsed and kept; never parsed at the wrong offset.

use lb_common::abi::Mode;

use super::{CLIENT, CLIENT6, DNS, HOST, TUNNELS, WEB, WEB6, services};
use crate::{
    case::{Case, Expect, NotIp, NotServed, Pass, To, case, send, send_bytes},
    outer::Outer,
    wire::{ACK, SYN, Wire, ethernet, tcp, udp},
    world::{A, Backend, Service},
};

/// What frames come with that leave in a VLAN: the tags are its own afterwards.
const LED: [(&str, &[(u16, u16)]); 4] = [
    ("a VLAN leads to the backend", &[]),
    ("another VLAN leads to the backend", &[(C_TAG, 100)]),
    ("a VLAN leads on from a service VLAN", &[(S_TAG, 0xffff)]),
    ("a VLAN leads on from QinQ", &[(S_TAG, 7), (C_TAG, 0xa064)]),
];

const C_TAG: u16 = 0x8100;
const S_TAG: u16 = 0x88a8;

pub(super) fn cases() -> Vec<Case> {
    let kept: [(&str, &[(u16, u16)]); 6] = [
        ("one tag", &[(C_TAG, 100)]),
        ("a priority tag", &[(C_TAG, 0xe000)]),
        ("the highest VLAN, priority and drop bit set", &[(C_TAG, 0xfffe)]),
        ("one service tag", &[(S_TAG, 7)]),
        ("QinQ by 802.1ad", &[(S_TAG, 0x6007), (C_TAG, 0xa064)]),
        ("QinQ of two customer tags", &[(C_TAG, 7), (C_TAG, 100)]),
    ];
    let mut cases: Vec<Case> = kept.into_iter().map(|(what, tags)| kept_by(what, tags)).collect();
    let deep = &[(S_TAG, 1), (C_TAG, 2), (C_TAG, 3)];
    cases.extend([
        row("three tags", &tcp(CLIENT, WEB, SYN).tagged(deep), Pass(NotIp)),
        row("three tags, IPv6", &tcp(CLIENT6, WEB6, SYN).tagged(deep), Pass(NotIp)),
        row("a tag of another TPID", &tcp(CLIENT, WEB, SYN).tagged(&[(0x9100, 1)]), Pass(NotIp)),
        row("tagged, to no VIP", &tcp(CLIENT, HOST, SYN).tagged(&[(C_TAG, 100)]), Pass(NotServed)),
        looks_like_ip(),
    ]);
    cases.extend(LED.iter().map(|(what, tags)| led_by_a_vlan(what, tags)));
    cases.extend(Outer::all(Mode::Ipip).into_iter().chain(Outer::all(Mode::Gue)).map(through_a_vlan));
    cases
}

fn row(what: &str, wire: &Wire, expect: Expect) -> Case {
    case(what, &services(&[A]), [send(wire, expect)])
}

fn kept_by(what: &str, tags: &[(u16, u16)]) -> Case {
    let steps = [
        send(&tcp(CLIENT, WEB, SYN).tagged(tags), To(A)),
        send(&tcp(CLIENT, WEB, ACK).tagged(tags), To(A)),
        send(&tcp(CLIENT6, WEB6, SYN).tagged(tags), To(A)),
        send(&udp(CLIENT, DNS).tagged(tags), To(A)),
    ];
    case(what, &services(&[A]), steps)
}

fn led_by_a_vlan(what: &str, tags: &[(u16, u16)]) -> Case {
    let to = To(Backend::Tagged);
    let steps = [
        send(&tcp(CLIENT, WEB, SYN).tagged(tags), to.clone()),
        send(&tcp(CLIENT, WEB, ACK).tagged(tags), to.clone()),
        send(&tcp(CLIENT, WEB, ACK).payload(&[7; 1460]).tagged(tags), to.clone()),
        send(&tcp(CLIENT6, WEB6, SYN).tagged(tags), to.clone()),
        send(&tcp(CLIENT6, WEB6, ACK).tagged(tags), to.clone()),
        send(&udp(CLIENT, DNS).tagged(tags), to),
    ];
    // Full segments.
    case(what, &services(&[Backend::Tagged]), steps).except(&TUNNELS)
}

/// The tag is in front of the outer header.
fn through_a_vlan(outer: Outer) -> Case {
    let services = [Service::tcp(WEB.0, WEB.1, &[Backend::Tagged]).through(outer)];
    let to = Expect::Wrapped(Backend::Tagged, outer);
    let steps = LED.map(|(_, tags)| send(&tcp(CLIENT, WEB, ACK).tagged(tags), to.clone()));
    case(format!("a VLAN leads to the end of a tunnel: {outer:?}"), &services, steps)
}

/// An IP packet for a VIP, four bytes deeper than its tags say: after an ethertype that is not IP.
fn looks_like_ip() -> Case {
    let packet = tcp(CLIENT, WEB, SYN).packet();
    let frame = ethernet(crate::wire::NODE_MAC, C_TAG, &[&[0, 100, 0x88, 0x47], &packet[..]].concat());
    case("MPLS in a VLAN over what looks like a packet for a VIP", &services(&[A]), [send_bytes(frame, Pass(NotIp))])
}
