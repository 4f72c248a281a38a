//! Line 16: table full → the oldest closing, then the oldest idle candidate is replaced, else the flow goes untracked by
//! hash; never dropped. The table has two buckets here, so that every entry is a candidate.

use super::{CLIENT, CLIENT6, DNS, TRANSLATIONS, WEB, WEB_SERVICE, WEB6, services};
use crate::{
    case::{Case, Expect, Slots, Step, Table, To, Wait, case, send},
    wire::{ACK, FIN, SYN, tcp, udp},
    world::{A, B},
};

/// Entries of the table.
const FLOWS: u16 = 8;

pub(super) fn cases() -> Vec<Case> {
    vec![
        untracked(),
        untracked_others(),
        closing(),
        oldest_closing(),
        closing_before_idle(),
        oldest_idle(),
        timed_out(),
    ]
}

fn packet(flow: u16, flags: u8, expect: Expect) -> Step {
    send(&tcp((CLIENT.0, 50_000 + flow), WEB, flags), expect)
}

/// Fills the table with established flows 0 to 7 to A; then new flows go to B.
fn full(what: &str, steps: Vec<Step>) -> Case {
    let fill = (0..FLOWS).map(|flow| packet(flow, ACK, To(A)));
    let before = [Table { untracked: 0, evicted: 0 }, Slots(WEB_SERVICE, vec![B])];
    case(what, &services(&[A]), fill.chain(before).chain(steps))
}

/// All flows but one are still known: this refreshes them, too.
fn known_but(gone: Option<u16>) -> impl Iterator<Item = Step> {
    (0..FLOWS).filter(move |flow| Some(*flow) != gone).map(|flow| packet(flow, ACK, To(A)))
}

fn untracked() -> Case {
    let steps = [packet(8, SYN, To(B)), packet(8, ACK, To(B)), Table { untracked: 2, evicted: 0 }];
    let moved = [
        Slots(WEB_SERVICE, vec![A]),
        packet(8, ACK, To(A)),
        Slots(WEB_SERVICE, vec![B]),
        packet(8, ACK, To(B)),
        Table { untracked: 4, evicted: 0 },
    ];
    full("only live flows: untracked by hash", steps.into_iter().chain(known_but(None)).chain(moved).collect())
}

fn untracked_others() -> Case {
    let steps =
        [send(&udp(CLIENT, DNS), To(A)), send(&tcp(CLIENT6, WEB6, SYN), To(A)), Table { untracked: 2, evicted: 0 }];
    full("UDP and IPv6 likewise", steps.into_iter().chain(known_but(None)).collect())
}

/// After the new flow 8 came, `gone` is forgotten and all others are known.
fn replaced(gone: u16) -> Vec<Step> {
    let new = [packet(8, SYN, To(B)), Table { untracked: 0, evicted: 1 }, Slots(WEB_SERVICE, vec![A])];
    let kept = [packet(8, ACK, To(B)), Slots(WEB_SERVICE, vec![B]), packet(gone, ACK, To(B))];
    new.into_iter().chain(known_but(Some(gone))).chain(kept).collect()
}

fn closing() -> Case {
    full("a closing flow is replaced", [vec![packet(3, FIN | ACK, To(A))], replaced(3)].concat()).except(&TRANSLATIONS)
}

fn oldest_closing() -> Case {
    let steps =
        vec![packet(6, FIN | ACK, To(A)), Wait(2), packet(1, FIN | ACK, To(A)), packet(4, FIN | ACK, To(A)), Wait(2)];
    full("of several, the one closing longest", [steps, replaced(6)].concat()).except(&TRANSLATIONS)
}

fn closing_before_idle() -> Case {
    let steps = vec![Wait(300), packet(5, FIN | ACK, To(A)), Wait(1)];
    full("a closing flow before any that is idle", [steps, replaced(5)].concat()).except(&TRANSLATIONS)
}

fn oldest_idle() -> Case {
    let busy = |flows: &[u16]| flows.iter().map(|flow| packet(*flow, ACK, To(A))).collect::<Vec<_>>();
    let steps = [
        vec![Wait(100)],
        busy(&[0, 1, 3, 4, 5, 6, 7]),
        vec![Wait(100)],
        busy(&[1, 3, 5]),
        vec![Wait(100)],
        busy(&[0, 4, 6, 7]),
    ]
    .concat();
    full("no closing flow: the one idle longest", [steps, replaced(2)].concat())
}

fn timed_out() -> Case {
    let steps = [Wait(910), packet(8, SYN, To(B)), packet(3, ACK, To(B)), Table { untracked: 0, evicted: 0 }];
    full("timed out flows are no flows", steps.to_vec())
}
