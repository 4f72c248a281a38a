//! Line 10: a SYN without ACK is a new flow, also of a tuple that is closed or timed out; a retransmitted SYN is not.

use super::{CLIENT, CLIENT6, TRANSLATIONS, WEB, WEB_SERVICE, WEB6, services};
use crate::{
    case::{Case, Closing, Counted, Established, Flows, Setup, Slots, Step, To, Wait, case, send},
    wire::{ACK, FIN, PSH, RST, SYN, tcp},
    world::{A, B, State},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        fresh(),
        row("retransmitted in setup", &[SYN], vec![], send(&tcp(CLIENT, WEB, SYN), To(A)), (Setup, A)),
        row("closed by FIN", &[SYN, ACK, FIN | ACK], vec![], send(&tcp(CLIENT, WEB, SYN), To(B)), (Setup, B))
            .except(&TRANSLATIONS),
        row("closed by RST", &[SYN, ACK, RST], vec![], send(&tcp(CLIENT, WEB, SYN), To(B)), (Setup, B)),
        row("timed out in setup", &[SYN], vec![Wait(66)], send(&tcp(CLIENT, WEB, SYN), To(B)), (Setup, B)),
        row("timed out, established", &[SYN, ACK], vec![Wait(906)], send(&tcp(CLIENT, WEB, SYN), To(B)), (Setup, B)),
        // The endpoint answers a stray SYN of a connection in use with a challenge ACK (RFC 9293, section 3.10.7.4).
        row("in use", &[SYN, ACK], vec![], send(&tcp(CLIENT, WEB, SYN), To(A)), (Established, A)),
        row("SYN and ACK is no SYN", &[SYN, ACK, FIN], vec![], send(&tcp(CLIENT, WEB, SYN | ACK), To(A)), (Closing, A))
            .except(&TRANSLATIONS),
        retransmitted_while_draining(),
        ecn(),
        fast_open(),
    ]
}

/// Some segments to A; then new flows go to B, and time passes; then one packet, and the only flow is as told.
fn row(
    what: &str,
    before: &[u8],
    between: Vec<Step>,
    packet: Step,
    flow: (lb_common::flow::FlowState, crate::world::Backend),
) -> Case {
    let steps = before.iter().map(|flags| send(&tcp(CLIENT, WEB, *flags), To(A)));
    let steps = steps.chain([Slots(WEB_SERVICE, vec![B])]).chain(between).chain([packet, Flows(vec![flow])]);
    case(what, &services(&[A]), steps)
}

fn retransmitted_while_draining() -> Case {
    let draining = Step::State(WEB_SERVICE, A, State { takes: false, ..State::default() });
    // A drain takes no new connection, and one in setup may be an earlier one that the backend refused: see ARCHITECTURE.md.
    let packet = send(&tcp(CLIENT, WEB, SYN), To(B));
    row("retransmitted in setup, while its destination drains", &[SYN], vec![draining], packet, (Setup, B))
}

fn fresh() -> Case {
    let steps = [
        send(&tcp(CLIENT, WEB, SYN), To(A)),
        send(&tcp((CLIENT.0, 40_002), WEB, SYN), To(A)),
        send(&tcp(("192.0.2.8", CLIENT.1), WEB, SYN), To(A)),
        send(&tcp(CLIENT6, WEB6, SYN), To(A)),
        Flows(vec![(Setup, A), (Setup, A), (Setup, A), (Setup, A)]),
        Counted { backend: A, new: 4, closed: 0 },
    ];
    case("each tuple is a flow", &services(&[A]), steps)
}

fn ecn() -> Case {
    // RFC 3168, section 6.1.1: an ECN-setup SYN has ECE and CWR set.
    let steps = [
        send(&tcp(CLIENT, WEB, SYN | 0xc0), To(A)),
        Flows(vec![(Setup, A)]),
        Slots(WEB_SERVICE, vec![B]),
        send(&tcp(CLIENT, WEB, SYN), To(A)),
    ];
    case("with ECN bits, retransmitted without", &services(&[A]), steps)
}

fn fast_open() -> Case {
    let syn = tcp(CLIENT, WEB, SYN | PSH).payload(b"data in the SYN (RFC 7413)");
    let options = |tcp: &mut crate::wire::Tcp| tcp.options = vec![2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1];
    let steps = [send(&syn.tcp_with(options), To(A)), Flows(vec![(Setup, A)])];
    case("with options and data", &services(&[A]), steps)
}
