//! Line 32, at a balancer: tunnelled packets go to the host, whatever they carry. A backend's side is in `decap/`.

use super::{CLIENT, CLIENT6, HOST, HOST6, WEB, WEB6, services};
use crate::{
    case::{Case, NotServed, OtherProtocol, Pass, To, case, send},
    wire::{SYN, Wire, raw, tcp, udp},
    world::{A, Service},
};

const GUE: u16 = 6080;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, inner, protocol) in [("IPv4", tcp(CLIENT, WEB, SYN), 4), ("IPv6", tcp(CLIENT6, WEB6, SYN), 41)] {
        for (from, to) in [(CLIENT, WEB), (CLIENT6, WEB6), (CLIENT, HOST), (CLIENT6, HOST6)] {
            let packet = inner.packet();
            let row = |how: &str, wire: &Wire, reason| {
                case(format!("{what} for a VIP in {how} to {}", to.0), &services(&[A]), [send(wire, Pass(reason))])
            };
            cases.push(row("IPIP", &raw(from.0, to.0, protocol, &packet), OtherProtocol));
            let bytes = [&[0, protocol, 0, 0], &packet[..]].concat();
            cases.push(row("GUE", &udp(from, (to.0, GUE)).payload(&bytes), NotServed));
            cases.push(row("GUE, variant 1,", &udp(from, (to.0, GUE)).payload(&packet), NotServed));
        }
    }
    let gue = udp(CLIENT, (WEB.0, GUE)).payload(&[&[0, 4, 0, 0], &tcp(CLIENT, WEB, SYN).packet()[..]].concat());
    let service = [Service::udp(WEB.0, GUE, &[A])];
    cases.push(case("a service on the port of GUE gets it as it is", &service, [send(&gue, To(A))]));
    cases
}
