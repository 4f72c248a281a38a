//! Line 12: no entry, not a SYN: where the hash says, and remembered.

use super::{CLIENT, CLIENT6, WEB, WEB_SERVICE, WEB6, services};
use crate::{
    case::{Case, Counted, Established, Flows, NoBackend, Slots, Step, To, case, send},
    wire::{ACK, FIN, PSH, RST, SYN, tcp},
    world::{A, B},
};

pub(super) fn cases() -> Vec<Case> {
    let row = |what: &str, steps: Vec<Step>| case(what, &services(&[A]), steps);
    vec![
        remembered("an ACK", ACK),
        remembered("data", PSH | ACK),
        remembered("no flag at all", 0),
        remembered("SYN and ACK", SYN | ACK),
        row(
            "IPv6",
            vec![
                send(&tcp(CLIENT6, WEB6, ACK), To(A)),
                Slots(WEB_SERVICE + 1, vec![B]),
                send(&tcp(CLIENT6, WEB6, ACK), To(A)),
            ],
        ),
        // The end of a connection is forwarded, but is worth no entry.
        row("FIN", vec![send(&tcp(CLIENT, WEB, FIN | ACK), To(A)), Flows(vec![])]),
        row("RST", vec![send(&tcp(CLIENT, WEB, RST), To(A)), Flows(vec![])]),
        row(
            "no backend",
            vec![Slots(WEB_SERVICE, vec![]), send(&tcp(CLIENT, WEB, ACK), crate::case::Drop(NoBackend)), Flows(vec![])],
        ),
    ]
}

fn remembered(what: &str, flags: u8) -> Case {
    let steps = [
        send(&tcp(CLIENT, WEB, flags), To(A)),
        Slots(WEB_SERVICE, vec![B]),
        send(&tcp(CLIENT, WEB, ACK), To(A)),
        Flows(vec![(Established, A)]),
        Counted { backend: A, new: 1, closed: 0 },
        send(&tcp((CLIENT.0, 40_002), WEB, flags), To(B)),
        Counted { backend: B, new: 1, closed: 0 },
    ];
    case(what, &services(&[A]), steps)
}
