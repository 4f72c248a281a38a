//! Line 13: FIN and RST → forwarded; the entry goes to a short closing time; the active count goes down once.

use super::{CLIENT, CLIENT6, TRANSLATIONS, WEB, WEB_SERVICE, WEB6, services};
use crate::{
    case::{Case, Closing, Counted, Established, Flows, Setup, Slots, To, Wait, case, send},
    wire::{ACK, FIN, PSH, RST, SYN, tcp},
    world::{A, B},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        unless_both_seen(ended("FIN", &[FIN | ACK])),
        unless_both_seen(ended("FIN without ACK", &[FIN])),
        unless_both_seen(ended("FIN with data", &[FIN | PSH | ACK])),
        unless_both_seen(ended("FIN, sent again, and the last ACK", &[FIN | ACK, FIN | ACK, ACK])),
        ended("RST", &[RST]),
        ended("RST with ACK", &[RST | ACK]),
        ended("FIN, then RST", &[FIN | ACK, RST]),
        ended("RST, sent again", &[RST, RST]),
        in_setup("RST in setup", RST),
        unless_both_seen(in_setup("FIN in setup", FIN | ACK)),
        unless_both_seen(ipv6()),
        unless_both_seen(again()),
    ]
}

/// Where both sides are seen, one FIN ends nothing.
fn unless_both_seen(case: Case) -> Case {
    case.except(&TRANSLATIONS)
}

fn ended(what: &str, end: &[u8]) -> Case {
    let open = [SYN, ACK, PSH | ACK].map(|flags| send(&tcp(CLIENT, WEB, flags), To(A)));
    let before = [Flows(vec![(Established, A)]), Counted { backend: A, new: 1, closed: 0 }];
    // Entries are written once a tick at most: without time between them, the second packet would be skipped.
    let close = end.iter().flat_map(|flags| [Wait(1), send(&tcp(CLIENT, WEB, *flags), To(A))]);
    let after = [
        Flows(vec![(Closing, A)]),
        Counted { backend: A, new: 1, closed: 1 },
        Slots(WEB_SERVICE, vec![B]),
        // The last ACKs still find their way.
        send(&tcp(CLIENT, WEB, ACK).payload(b""), To(A)),
        Counted { backend: A, new: 1, closed: 1 },
        Wait(15),
        Flows(vec![]),
    ];
    case(what, &services(&[A]), open.into_iter().chain(before).chain(close).chain(after))
}

fn in_setup(what: &str, end: u8) -> Case {
    let steps = [
        send(&tcp(CLIENT, WEB, SYN), To(A)),
        Flows(vec![(Setup, A)]),
        send(&tcp(CLIENT, WEB, end), To(A)),
        Flows(vec![(Closing, A)]),
        Counted { backend: A, new: 1, closed: 1 },
    ];
    case(what, &services(&[A]), steps)
}

fn ipv6() -> Case {
    let steps = [SYN, ACK, FIN | ACK].map(|flags| send(&tcp(CLIENT6, WEB6, flags), To(A)));
    let after = [Flows(vec![(Closing, A)]), Counted { backend: A, new: 1, closed: 1 }];
    case("IPv6", &services(&[A]), steps.into_iter().chain(after))
}

/// A tuple that is used again is counted again.
fn again() -> Case {
    let life = [SYN, ACK, FIN | ACK];
    let first = life.map(|flags| send(&tcp(CLIENT, WEB, flags), To(A)));
    let second = life.map(|flags| send(&tcp(CLIENT, WEB, flags), To(B)));
    let between = [Slots(WEB_SERVICE, vec![B])];
    let after = [
        Flows(vec![(Closing, B)]),
        Counted { backend: A, new: 1, closed: 1 },
        Counted { backend: B, new: 1, closed: 1 },
    ];
    case("the same tuple again", &services(&[A]), first.into_iter().chain(between).chain(second).chain(after))
}
