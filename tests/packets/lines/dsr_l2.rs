//! Line 21: only the two MAC addresses change; out where the packet came from, or on another interface.

use super::{CLIENT, CLIENT6, DNS, DNS6, TUNNELS, WEB, WEB6, services};
use crate::{
    case::{Case, To, case, send, send_bytes},
    wire::{ACK, SYN, Wire, tcp, udp},
    world::{A, B, Backend, C},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (backend, way) in [(A, "transmit"), (B, "transmit"), (C, "transmit"), (Backend::Far, "redirect")] {
        cases.extend(packets().map(|(what, wire)| {
            case(format!("{way} to {backend:?}: {what}"), &services(&[backend]), [send(&wire, To(backend))])
        }));
        let full = tcp(CLIENT, WEB, ACK).payload(&[0x5b; 1460]);
        let full =
            case(format!("{way} to {backend:?}: a full segment"), &services(&[backend]), [send(&full, To(backend))]);
        cases.push(full.except(&TUNNELS));
    }
    cases.extend([both_ways(), odd_headers()]);
    cases
}

fn packets() -> [(&'static str, Wire); 5] {
    [
        ("SYN", tcp(CLIENT, WEB, SYN)),
        ("IPv6 SYN", tcp(CLIENT6, WEB6, SYN)),
        ("UDP", udp(CLIENT, DNS)),
        ("IPv6 UDP", udp(CLIENT6, DNS6)),
        ("UDP without data", udp(CLIENT, DNS).payload(b"")),
    ]
}

/// Two backends of one service, on two interfaces.
fn both_ways() -> Case {
    let steps = [
        send(&tcp(CLIENT, WEB, SYN), To(A)),
        crate::case::Slots(super::WEB_SERVICE, vec![Backend::Far]),
        send(&tcp((CLIENT.0, 5), WEB, SYN), To(Backend::Far)),
        send(&tcp(CLIENT, WEB, ACK), To(A)),
        send(&tcp((CLIENT.0, 5), WEB, ACK), To(Backend::Far)),
    ];
    case("each flow on its backend's interface", &services(&[A]), steps)
}

/// Everything that a router may not touch stays: reserved bits, flow label, ECN, urgent pointer.
fn odd_headers() -> Case {
    let all = tcp(CLIENT, WEB, ACK).with(|wire| {
        wire.class = 0xff;
        wire.fragment = 0;
        wire.id = 0xffff;
    });
    let label = tcp(CLIENT6, WEB6, ACK);
    let reserved = tcp(CLIENT, WEB, ACK);
    let steps = [
        send(&all, To(A)),
        send_bytes(label.network_patched(0, &[0x6f, 0xfa, 0xbc, 0xde]), To(A)),
        send_bytes(reserved.network_patched(6, &[0x80]), To(A)),
        send_bytes(reserved.patched(reserved.transport_at() + 12, &[0x5f]), To(A)),
        send_bytes(reserved.patched(reserved.transport_at() + 18, &[0xff, 0xff]), To(A)),
    ];
    case("bits that are not looked at", &services(&[A]), steps)
}
