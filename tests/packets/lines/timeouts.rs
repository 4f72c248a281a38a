//! Line 14: idle for longer than the service's time-out for the flow's state → forgotten.
//!
//! Seconds before and after a limit are five: the kernel's clock goes on while the test runs.

use super::{CLIENT, CLIENT6, DNS, DNS_SERVICE, TRANSLATIONS, WEB, WEB_SERVICE, WEB6, services};
use crate::{
    case::{Case, Closing, Established, Flows, Setup, Slots, Step, To, Udp, UdpSingle, Wait, case, send},
    wire::{ACK, FIN, SYN, Wire, tcp, udp},
    world::{A, B, Service},
};

pub(super) fn cases() -> Vec<Case> {
    let segment = |flags| tcp(CLIENT, WEB, flags);
    let datagram = || udp(CLIENT, DNS);
    vec![
        row("setup, 60 s", WEB_SERVICE, &[segment(SYN)], segment(SYN), 60),
        row("established, 900 s", WEB_SERVICE, &[segment(SYN), segment(ACK)], segment(ACK), 900),
        row("established without a SYN, 900 s", WEB_SERVICE, &[segment(ACK)], segment(ACK), 900),
        row("closing, 10 s", WEB_SERVICE, &[segment(SYN), segment(ACK), segment(FIN)], segment(ACK), 10)
            .except(&TRANSLATIONS),
        row("UDP, 120 s", DNS_SERVICE, &[datagram(), datagram()], datagram(), 120),
        row("IPv6 established, 900 s", WEB_SERVICE + 1, &[tcp(CLIENT6, WEB6, ACK)], tcp(CLIENT6, WEB6, ACK), 900),
        single(),
        states(),
        own(),
        both(),
    ]
}

/// Packets open a flow, which is then known shortly before its time-out, again and again, and forgotten after it.
fn row(what: &str, service: usize, open: &[Wire], packet: Wire, timeout: u32) -> Case {
    let open = open.iter().map(|wire| send(wire, To(A)));
    let rest = [
        Slots(service, vec![B]),
        Wait(timeout - 5),
        send(&packet, To(A)),
        Wait(timeout - 5),
        send(&packet, To(A)),
        Wait(timeout + 5),
        Flows(vec![]),
        send(&packet, To(B)),
    ];
    case(what, &services(&[A]), open.chain(rest))
}

/// In a service of both protocols each flow has its own protocol's time, the shorter one or the longer.
fn both() -> Case {
    let (segment, datagram) = (tcp(CLIENT, DNS, ACK), udp(CLIENT, DNS));
    let steps = [
        send(&segment, To(A)),
        send(&datagram, To(A)),
        send(&datagram, To(A)),
        Slots(0, vec![B]),
        Wait(115),
        send(&datagram, To(A)),
        Wait(125),
        send(&segment, To(A)),
        Flows(vec![(Established, A)]),
        send(&datagram, To(B)),
        Wait(895),
        send(&segment, To(A)),
        Wait(905),
        send(&segment, To(B)),
    ];
    case("TCP and UDP of one service", &[Service::both(DNS.0, DNS.1, &[A])], steps)
}

/// One datagram counts for 30 s; a second one makes it 120.
fn single() -> Case {
    let packet = |port| udp((CLIENT.0, port), DNS);
    let steps = [
        send(&packet(1), To(A)),
        send(&packet(2), To(A)),
        Flows(vec![(UdpSingle, A), (UdpSingle, A)]),
        Slots(DNS_SERVICE, vec![B]),
        Wait(25),
        send(&packet(2), To(A)),
        Flows(vec![(UdpSingle, A), (Udp, A)]),
        Wait(10),
        Flows(vec![(Udp, A)]),
        send(&packet(1), To(B)),
        Wait(105),
        send(&packet(2), To(A)),
        Wait(125),
        send(&packet(2), To(B)),
    ];
    case("UDP, a single packet 30 s", &services(&[A]), steps)
}

/// The state that counts is the one of the last packet.
fn states() -> Case {
    let packet = |flags| tcp(CLIENT, WEB, flags);
    let steps = [
        send(&packet(SYN), To(A)),
        Flows(vec![(Setup, A)]),
        Wait(50),
        send(&packet(ACK), To(A)),
        Flows(vec![(Established, A)]),
        Slots(WEB_SERVICE, vec![B]),
        Wait(890),
        send(&packet(FIN | ACK), To(A)),
        Flows(vec![(Closing, A)]),
        Wait(5),
        Flows(vec![(Closing, A)]),
        Wait(10),
        Flows(vec![]),
        send(&packet(ACK), To(B)),
    ];
    case("from state to state", &services(&[A]), steps).except(&TRANSLATIONS)
}

/// Each service has its own.
fn own() -> Case {
    let quick = Service::tcp(WEB.0, 81, &[A]).timeouts([20, 40, 8, 12, 30]);
    let slow = Service::tcp(WEB.0, 80, &[A]).timeouts([300, 7200, 60, 12, 30]);
    let packet = |port| tcp(CLIENT, (WEB.0, port), ACK);
    let slots = |to: &[_]| -> Vec<Step> { (0..2).map(|service| Slots(service, to.to_vec())).collect() };
    let steps = [send(&packet(80), To(A)), send(&packet(81), To(A))].into_iter().chain(slots(&[B])).chain([
        Wait(35),
        send(&packet(80), To(A)),
        send(&packet(81), To(A)),
        Wait(45),
        Flows(vec![(Established, A)]),
        send(&packet(81), To(B)),
        send(&packet(80), To(A)),
        Wait(7195),
        send(&packet(80), To(A)),
        Wait(7205),
        send(&packet(80), To(B)),
    ]);
    case("each service its own", &[slow, quick], steps)
}
