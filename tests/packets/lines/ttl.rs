//! Line 7, as far as `dsr-l2` goes: TTL or hop limit 0 → DROP(ttl); any other is left alone.

use super::{CLIENT, CLIENT6, DNS, DNS6, HOST, HOST6, TRANSLATIONS, WEB, WEB6, services};
use crate::{
    case::{Case, Drop, NotServed, Pass, To, Ttl, case, send},
    wire::{ACK, SYN, Wire, tcp, udp},
    world::A,
};

pub(super) fn cases() -> Vec<Case> {
    let all = |ttl: u8| -> [Wire; 4] {
        [tcp(CLIENT, WEB, SYN), tcp(CLIENT6, WEB6, SYN), udp(CLIENT, DNS), udp(CLIENT6, DNS6)].map(|wire| wire.ttl(ttl))
    };
    let row = |what: &str, steps: Vec<_>| case(what, &services(&[A]), steps);
    vec![
        row("0 is dropped", all(0).iter().map(|wire| send(wire, Drop(Ttl))).collect()),
        row("1 stays 1", all(1).iter().map(|wire| send(wire, To(A))).collect()).except(&TRANSLATIONS),
        row("255 stays 255", all(255).iter().map(|wire| send(wire, To(A))).collect()),
        row(
            "0 in a known flow is dropped, the flow goes on",
            vec![
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                send(&tcp(CLIENT, WEB, ACK).ttl(0), Drop(Ttl)),
                send(&tcp(CLIENT, WEB, ACK), To(A)),
            ],
        ),
        row(
            "0 for the host is the host's",
            vec![
                send(&tcp(CLIENT, HOST, SYN).ttl(0), Pass(NotServed)),
                send(&tcp(CLIENT6, HOST6, SYN).ttl(0), Pass(NotServed)),
                send(&tcp(CLIENT, (WEB.0, 22), SYN).ttl(0), Pass(NotServed)),
            ],
        ),
    ]
}
