//! Line 15: UDP without an entry → scheduled; to a destination that is gone → re-scheduled at once.

use super::{CLIENT, CLIENT6, DNS, DNS_SERVICE, DNS6, services};
use crate::{
    case::{Case, Counted, Drop, Flows, NoBackend, Slots, Step, To, Udp, UdpSingle, case, send},
    wire::udp,
    world::{A, B, C, State},
};

pub(super) fn cases() -> Vec<Case> {
    let down = State { keeps: false, resets: false, takes: false, generation: 1 };
    let reused = State { generation: 2, ..State::default() };
    vec![
        scheduled(),
        again("down, or drained past its deadline", Step::State(DNS_SERVICE, A, down)),
        again("an id that was given to another backend", Step::State(DNS_SERVICE, A, reused)),
        nobody_left(down),
        draining(),
    ]
}

fn scheduled() -> Case {
    let steps = [
        send(&udp(CLIENT, DNS), To(A)),
        Flows(vec![(UdpSingle, A)]),
        send(&udp(CLIENT, DNS), To(A)),
        Flows(vec![(Udp, A)]),
        send(&udp(CLIENT, DNS), To(A)),
        send(&udp(CLIENT6, DNS6), To(A)),
        Flows(vec![(UdpSingle, A), (Udp, A)]),
        Counted { backend: A, new: 2, closed: 0 },
    ];
    case("scheduled once", &services(&[A]), steps)
}

fn again(what: &str, change: Step) -> Case {
    let steps = [
        send(&udp(CLIENT, DNS), To(A)),
        send(&udp(CLIENT, DNS), To(A)),
        Slots(DNS_SERVICE, vec![B]),
        change,
        send(&udp(CLIENT, DNS), To(B)),
        Slots(DNS_SERVICE, vec![C]),
        send(&udp(CLIENT, DNS), To(B)),
        Flows(vec![(Udp, B)]),
        Counted { backend: B, new: 1, closed: 0 },
    ];
    // Entries of a gone destination are free, but the flow of this row has only one.
    case(what, &services(&[A]), steps)
}

fn nobody_left(down: State) -> Case {
    let steps = [
        send(&udp(CLIENT, DNS), To(A)),
        Slots(DNS_SERVICE, vec![]),
        send(&udp(CLIENT, DNS), To(A)),
        Step::State(DNS_SERVICE, A, down),
        send(&udp(CLIENT, DNS), Drop(NoBackend)),
    ];
    case("down, and nobody left", &services(&[A]), steps)
}

fn draining() -> Case {
    let steps = [
        send(&udp(CLIENT, DNS), To(A)),
        Slots(DNS_SERVICE, vec![B]),
        Step::State(DNS_SERVICE, A, State { takes: false, ..State::default() }),
        send(&udp(CLIENT, DNS), To(A)),
        send(&udp((CLIENT.0, 9), DNS), To(B)),
    ];
    case("draining, before its deadline", &services(&[A]), steps)
}
