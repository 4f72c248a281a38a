//! Line 11: any other packet of a known flow → its destination, whatever has changed in the slot table since.

use super::{CLIENT, CLIENT6, DNS, DNS_SERVICE, DNS6, WEB, WEB_SERVICE, WEB6, services};
use crate::{
    case::{Case, Established, Flows, Slots, Step, To, case, send},
    wire::{ACK, FIN, PSH, RST, SYN, Wire, tcp, udp},
    world::{A, B, C, State},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        row("other slots", vec![Slots(WEB_SERVICE, vec![B]), Slots(WEB_SERVICE + 1, vec![B])]),
        row(
            "other slots, twice",
            vec![Slots(WEB_SERVICE, vec![B]), Slots(WEB_SERVICE, vec![C, B]), Slots(WEB_SERVICE + 1, vec![C])],
        ),
        row("no slots at all", vec![Slots(WEB_SERVICE, vec![]), Slots(WEB_SERVICE + 1, vec![])]),
        row("draining: known flows only", draining(WEB_SERVICE)),
        gone("a destination that keeps no flows", State { keeps: false, resets: false, takes: false, generation: 1 }),
        gone(
            "an id that was given to another backend",
            State { keeps: true, resets: false, takes: true, generation: 2 },
        ),
        datagrams(),
        other_tuples(),
    ]
}

fn draining(service: usize) -> Vec<Step> {
    let draining = State { takes: false, ..State::default() };
    vec![
        Step::State(service, A, draining),
        Step::State(service + 1, A, draining),
        Slots(service, vec![B]),
        Slots(service + 1, vec![B]),
    ]
}

/// Every kind of segment that a connection has after its SYN.
fn row(what: &str, change: Vec<Step>) -> Case {
    let segment = |flags| [tcp(CLIENT, WEB, flags), tcp(CLIENT6, WEB6, flags)];
    let to_a = |wire: &Wire| send(wire, To(A));
    let urgent = 0x20;
    let after = [ACK, PSH | ACK, ACK | urgent, 0, SYN | ACK, FIN | PSH | ACK, ACK, RST | ACK, RST];
    let steps = segment(SYN).iter().chain(&segment(ACK)).map(to_a).collect::<Vec<_>>();
    let rest = after.into_iter().flat_map(|flags| segment(flags).map(|wire| to_a(&wire)));
    case(what, &services(&[A]), steps.into_iter().chain(change).chain(rest))
}

/// The destination is no longer this flow's: the flow goes where its hash says now, and is remembered there.
fn gone(what: &str, state: State) -> Case {
    let steps = [
        send(&tcp(CLIENT, WEB, SYN), To(A)),
        send(&tcp(CLIENT, WEB, ACK), To(A)),
        Slots(WEB_SERVICE, vec![B]),
        Step::State(WEB_SERVICE, A, state),
        send(&tcp(CLIENT, WEB, ACK), To(B)),
        Slots(WEB_SERVICE, vec![C]),
        send(&tcp(CLIENT, WEB, ACK), To(B)),
        send(&tcp((CLIENT.0, 40_002), WEB, ACK), To(C)),
    ];
    case(what, &services(&[A]), steps)
}

fn datagrams() -> Case {
    let steps = [
        send(&udp(CLIENT, DNS), To(A)),
        send(&udp(CLIENT6, DNS6), To(A)),
        Slots(DNS_SERVICE, vec![B]),
        Slots(DNS_SERVICE + 1, vec![]),
        send(&udp(CLIENT, DNS), To(A)),
        send(&udp(CLIENT6, DNS6).payload(b""), To(A)),
        send(&udp((CLIENT.0, 40_002), DNS), To(B)),
    ];
    case("UDP", &services(&[A]), steps)
}

/// One field of the tuple makes another flow.
fn other_tuples() -> Case {
    let both = [crate::world::Service::tcp(WEB.0, 80, &[A]).ports(80, 81), crate::world::Service::udp(WEB.0, 80, &[C])];
    let steps = [
        send(&tcp(CLIENT, WEB, ACK), To(A)),
        Slots(0, vec![B]),
        send(&tcp((CLIENT.0, CLIENT.1 + 1), WEB, ACK), To(B)),
        send(&tcp(("192.0.2.6", CLIENT.1), WEB, ACK), To(B)),
        send(&tcp(CLIENT, (WEB.0, 81), ACK), To(B)),
        send(&udp(CLIENT, WEB), To(C)),
        send(&tcp(CLIENT, WEB, ACK), To(A)),
        Flows(vec![
            (Established, A),
            (Established, B),
            (Established, B),
            (Established, B),
            (crate::case::UdpSingle, C),
        ]),
    ];
    case("a flow is its whole tuple", &both, steps)
}
