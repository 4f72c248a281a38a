//! Line 35: a TCP flow whose destination resets its flows: its next packet is answered with a reset (RFC 9293, section 3.5.2) from
//! the VIP, with the number that the client acknowledged. Nobody else's flow is.

use super::{CLIENT, CLIENT6, DNS, DNS6, WEB, WEB_SERVICE, WEB6, no_backend::reset, services};
use crate::{
    case::{Case, Closing, Counted, Established, Flows, Setup, Slots, Step, To, Udp, Wait, case, send},
    wire::{ACK, FIN, PSH, RST, SYN, Wire, tcp, udp},
    world::{A, B, Service, State},
};

/// Gone, with a reset for each client.
const RESETS: State = State { keeps: false, resets: true, takes: false, generation: 1 };

pub(super) fn cases() -> Vec<Case> {
    [segments(), entries(), others()].concat()
}

/// A segment of the client's with data, that acknowledges what it had from the server.
fn segment(client: (&str, u16), service: (&str, u16), flags: u8, payload: &[u8]) -> Wire {
    tcp(client, service, flags).tcp_with(|tcp| {
        tcp.seq = 0x0102_0304;
        tcp.ack = 0xfffe_fdfc;
        tcp.payload = payload.to_vec();
    })
}

/// Begins a connection to A over each family.
fn begin() -> impl Iterator<Item = Step> {
    let each = |flags| [tcp(CLIENT, WEB, flags), tcp(CLIENT6, WEB6, flags)];
    [each(SYN), each(ACK)].into_iter().flatten().map(|wire| send(&wire, To(A))).collect::<Vec<_>>().into_iter()
}

/// A resets its flows of all services, and B takes new ones.
fn resets() -> impl Iterator<Item = Step> {
    (0..4).flat_map(|service| [Slots(service, vec![B]), Step::State(service, A, RESETS)])
}

/// Every kind of segment that a connection has, alone and with what may be in front of it and behind.
fn segments() -> Vec<Case> {
    let row = |what: &str, flags: u8, payload: &[u8], change: &dyn Fn(Wire) -> Wire| {
        let wires = [(CLIENT, WEB), (CLIENT6, WEB6)].map(|(client, web)| change(segment(client, web, flags, payload)));
        let answered = wires.iter().map(|wire| send(wire, reset(wire))).collect::<Vec<_>>();
        let flows = Flows(vec![(Closing, A), (Closing, A)]);
        case(format!("reset: {what}"), &services(&[A]), begin().chain(resets()).chain(answered).chain([flows]))
    };
    let same = |wire: Wire| wire;
    vec![
        row("ACK", ACK, b"", &same),
        row("data", PSH | ACK, b"GET / HTTP/1.1\r\n", &same),
        row("the largest segment of an Ethernet", PSH | ACK, &[0x55; 1440], &same),
        row("FIN", FIN | ACK, b"last words", &same),
        row("no flag", 0, b"odd", &same),
        row("SYN and ACK", SYN | ACK, b"", &same),
        row("padding", ACK, b"", &|wire| wire.with(|wire| wire.padding = 9)),
        row("a VLAN tag", ACK, b"x", &|wire| wire.tagged(&[(0x8100, 100)])),
        row("an acknowledgment that wraps", ACK, b"", &|wire| wire.tcp_with(|tcp| tcp.ack = u32::MAX)),
    ]
}

/// What becomes of the flow.
fn entries() -> Vec<Case> {
    let (ack, ack6) = (segment(CLIENT, WEB, ACK, b""), segment(CLIENT6, WEB6, ACK, b""));
    let (syn, rst) = (tcp(CLIENT, WEB, SYN), tcp(CLIENT, WEB, RST));
    let row = |what: &str, steps: Vec<Step>| case(what, &services(&[A]), begin().chain(resets()).chain(steps));
    let counted = |closed| Counted { backend: A, new: 2, closed };
    vec![
        row(
            "closed once, by its first answer; what is still under way is answered, too",
            vec![
                counted(0),
                send(&ack, reset(&ack)),
                counted(1),
                send(&ack, reset(&ack)),
                // What a client asks that had more from the server meanwhile (RFC 5961, section 3.2).
                send(&ack.clone().tcp_with(|tcp| tcp.ack += 1448), reset(&ack.clone().tcp_with(|tcp| tcp.ack += 1448))),
                counted(1),
                Flows(vec![(Closing, A), (Established, A)]),
                send(&ack6, reset(&ack6)),
                counted(2),
                Flows(vec![(Closing, A), (Closing, A)]),
            ],
        ),
        row(
            "the client's own reset goes on to the backend",
            vec![send(&rst, To(A)), counted(1), send(&tcp(CLIENT, WEB, RST | ACK), To(A)), counted(1)],
        ),
        row(
            "a SYN is a new connection, elsewhere",
            vec![
                send(&ack, reset(&ack)),
                send(&syn, To(B)),
                send(&ack, To(B)),
                Flows(vec![(Established, A), (Established, B)]),
            ],
        ),
        row("a SYN without an answer before", vec![send(&syn, To(B)), Flows(vec![(Established, A), (Setup, B)])]),
        row(
            "its entry is forgotten after the time of a closing one",
            vec![send(&ack, reset(&ack)), Wait(15), send(&ack, To(B)), Flows(vec![(Established, A), (Established, B)])],
        ),
        row(
            "the backend came back",
            vec![
                send(&ack6, reset(&ack6)),
                Step::State(WEB_SERVICE, A, State::default()),
                send(&ack, To(A)),
                send(&segment(CLIENT, WEB, PSH | ACK, b"more"), To(A)),
            ],
        ),
        case(
            "one that was closing",
            &services(&[A]),
            begin()
                .chain([send(&tcp(CLIENT, WEB, RST), To(A))])
                .chain(resets())
                .chain([send(&ack, reset(&ack)), counted(1)]),
        ),
        case(
            "one that was being set up",
            &services(&[A]),
            [send(&syn, To(A))].into_iter().chain(resets()).chain([send(&ack, reset(&ack)), Flows(vec![(Closing, A)])]),
        ),
    ]
}

/// Whom it does not concern.
fn others() -> Vec<Case> {
    let (ack, other) = (segment(CLIENT, WEB, ACK, b""), tcp((CLIENT.0, 40_002), WEB, ACK));
    let datagrams = [udp(CLIENT, DNS), udp(CLIENT6, DNS6)];
    let both = [Service::both(WEB.0, WEB.1, &[A])];
    vec![
        case(
            "flows of other backends, and such as nobody knows",
            &services(&[A]),
            [send(&ack, To(A)), Slots(WEB_SERVICE, vec![B]), send(&other, To(B))].into_iter().chain(resets()).chain([
                send(&other, To(B)),
                send(&ack, reset(&ack)),
                send(&tcp((CLIENT.0, 40_003), WEB, ACK), To(B)),
                send(&other, To(B)),
                Counted { backend: B, new: 2, closed: 0 },
            ]),
        ),
        case(
            "flows of a backend that had the id before",
            &services(&[A]),
            begin().chain([
                Slots(WEB_SERVICE, vec![B]),
                Step::State(WEB_SERVICE, A, State { generation: 2, ..RESETS }),
                send(&ack, To(B)),
                send(&segment(CLIENT6, WEB6, ACK, b""), To(A)),
            ]),
        ),
        case("idle for too long", &services(&[A]), begin().chain(resets()).chain([Wait(4000), send(&ack, To(B))])),
        case(
            "UDP goes elsewhere",
            &services(&[A]),
            datagrams
                .iter()
                .chain(&datagrams)
                .map(|wire| send(wire, To(A)))
                .chain(resets())
                .chain(datagrams.iter().chain(&datagrams).map(|wire| send(wire, To(B))))
                .chain([Flows(vec![(Udp, B), (Udp, B)])]),
        ),
        case(
            "of a service of both protocols, TCP alone",
            &both,
            [
                send(&ack, To(A)),
                send(&udp(CLIENT, WEB), To(A)),
                Slots(0, vec![B]),
                Step::State(0, A, RESETS),
                send(&udp(CLIENT, WEB), To(B)),
                send(&ack, reset(&ack)),
            ],
        ),
    ]
}
