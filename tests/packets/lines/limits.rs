//! Limits of new flows, and lists of clients. No line of the catalogue: it says nothing of them.

use lb_common::abi::{Mode, Pick, Rate, Scheduling};

use super::{CLIENT, CLIENT6, DNS, DNS_SERVICE, DNS6, WEB, WEB_SERVICE, WEB6, no_backend::reset, services};
use crate::{
    case::{
        Case, Denied, Drop, Established, Exhaust, Flows, LimitClient, LimitConnections, LimitFlood, LimitService,
        Limits as SetLimits, Setup, Slots, Step, To, Udp, UdpSingle, Wait, case, send,
    },
    limits::Limits,
    wire::{ACK, RST, SYN, Wire, tcp, udp},
    world::{A, B, Backend, Service},
};

/// Modes that need more state than a flow's entry.
const TRANSLATIONS: [Mode; 2] = [Mode::Nat, Mode::FullNat];

/// In the prefix of [`CLIENT`] (/24) and of [`CLIENT6`] (/64), and not.
const NEIGHBOUR: (&str, u16) = ("192.0.2.200", 40_001);
const NEIGHBOUR6: (&str, u16) = ("2001:db8:c::200", 40_001);
const STRANGER: (&str, u16) = ("203.0.113.9", 40_001);
const STRANGER6: (&str, u16) = ("2001:db8:d::9", 40_001);

const ONE: Rate = Rate { per_second: 1, burst: 1 };
const TWO: Rate = Rate { per_second: 1, burst: 2 };
/// Longer than [`Exhaust`] lasts.
const REFILLED: Step = Wait(2000);

pub(super) fn cases() -> Vec<Case> {
    [lists(), changes(), rates(), clients(), connections(), refusals(), floods()].concat()
}

fn limited(slots: &[Backend], limits: &Limits) -> [Service; 4] {
    services(slots).map(|service| service.limited(limits.clone()))
}

fn row(what: &str, limits: &Limits, steps: impl IntoIterator<Item = Step>) -> Case {
    case(what, &limited(&[A], limits), steps)
}

/// Flow `n` of a client.
fn other((address, port): (&'static str, u16), n: u16) -> (&'static str, u16) {
    (address, port + n)
}

/// What opens a flow, over both families and protocols.
fn openings(client: (&'static str, u16), client6: (&'static str, u16)) -> [Wire; 4] {
    [tcp(client, WEB, SYN), tcp(client6, WEB6, SYN), udp(client, DNS), udp(client6, DNS6)]
}

fn lists() -> Vec<Case> {
    let denies = |rules: &[(&'static str, bool)]| Limits { rules: rules.to_vec(), ..Limits::default() };
    let clients = [(CLIENT, CLIENT6), (NEIGHBOUR, NEIGHBOUR6), (STRANGER, STRANGER6)];
    let becomes = |what: &str, rules: &[(&'static str, bool)], served: [bool; 3]| {
        let steps = clients.iter().zip(served).flat_map(|((client, client6), is_served)| {
            openings(*client, *client6).map(|wire| send(&wire, if is_served { To(A) } else { Drop(Denied) }))
        });
        row(what, &denies(rules), steps.collect::<Vec<_>>())
    };
    vec![
        becomes("no list", &[], [true, true, true]),
        becomes("a denied prefix", &[("192.0.2.0/24", true), ("2001:db8:c::/64", true)], [false, false, true]),
        becomes("a denied address", &[("192.0.2.7", true), ("2001:db8:c::7", true)], [false, true, true]),
        becomes("an allowed prefix", &[("192.0.2.0/24", false), ("2001:db8:c::/64", false)], [true, true, false]),
        becomes(
            "an allowed address in a denied prefix",
            &[("192.0.2.0/24", true), ("192.0.2.7", false), ("2001:db8:c::/48", true), ("2001:db8:c::7", false)],
            [true, false, false],
        ),
        becomes(
            "a denied address in an allowed prefix",
            &[("192.0.2.7", true), ("192.0.2.0/24", false), ("2001:db8:c::7", true), ("2001:db8:c::/48", false)],
            [false, true, false],
        )
        .ending(openings(("192.0.3.1", 5), ("2001:db9::1", 5)).map(|wire| send(&wire, Drop(Denied)))),
        becomes("everybody", &[("0.0.0.0/0", true), ("::/0", true)], [false, false, false]),
        becomes(
            "the first and the last address",
            &[("0.0.0.0/1", true), ("255.255.255.255", true), ("::", true), ("8000::/1", true)],
            [true, true, true],
        )
        .ending([
            send(&tcp(("64.0.0.1", 5), WEB, SYN), Drop(Denied)),
            send(&tcp(("128.0.0.1", 5), WEB, SYN), To(A)),
            send(&tcp(("8001:db8::1", 5), WEB6, SYN), Drop(Denied)),
        ]),
        row(
            "what is denied leaves no entry",
            &denies(&[("192.0.2.0/24", true)]),
            [send(&tcp(CLIENT, WEB, SYN), Drop(Denied)), send(&tcp(CLIENT, WEB, ACK), Drop(Denied)), Flows(vec![])],
        ),
    ]
}

/// Lists that change while there are flows.
fn changes() -> Vec<Case> {
    let lists = |rules: &[(&'static str, bool)]| Limits { rules: rules.to_vec(), ..Limits::default() };
    let (all, none) = (lists(&[("192.0.2.0/24", true)]), lists(&[]));
    let (seven, stranger) = (lists(&[("192.0.2.7", true)]), lists(&[("203.0.113.0/24", true)]));
    vec![
        row(
            "a known flow of a client that is denied from now on",
            &stranger,
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                send(&tcp(CLIENT, WEB, ACK), To(A)),
                send(&tcp(NEIGHBOUR, WEB, SYN), To(A)),
                send(&tcp(NEIGHBOUR, WEB, ACK), To(A)),
                Wait(1),
                SetLimits(WEB_SERVICE, seven),
                send(&tcp(CLIENT, WEB, ACK), Drop(Denied)),
                send(&tcp(NEIGHBOUR, WEB, ACK), To(A)),
                Wait(1),
                send(&tcp(CLIENT, WEB, ACK), Drop(Denied)),
                send(&tcp(CLIENT, WEB, RST), Drop(Denied)),
                send(&tcp(NEIGHBOUR, WEB, ACK), To(A)),
                Flows(vec![(Established, A), (Established, A)]),
            ],
        ),
        row(
            "the first list",
            &none,
            [
                send(&udp(CLIENT, DNS), To(A)),
                send(&udp(CLIENT, DNS), To(A)),
                Wait(1),
                SetLimits(DNS_SERVICE, all.clone()),
                send(&udp(CLIENT, DNS), Drop(Denied)),
                Flows(vec![(Udp, A)]),
            ],
        ),
        row(
            "a client that is allowed again",
            &all,
            [
                send(&tcp(CLIENT, WEB, SYN), Drop(Denied)),
                SetLimits(WEB_SERVICE, none),
                send(&tcp(CLIENT, WEB, SYN), To(A)),
            ],
        ),
        row(
            "another service's list",
            &lists(&[]),
            [SetLimits(DNS_SERVICE, all), send(&tcp(CLIENT, WEB, SYN), To(A)), send(&udp(CLIENT, DNS), Drop(Denied))],
        ),
    ]
}

fn rates() -> Vec<Case> {
    let limits = Limits { rate: TWO, ..Limits::default() };
    let over = |what: &str, wires: [Wire; 3]| {
        let [first, second, third] = wires;
        row(
            what,
            &limits,
            [
                send(&first, To(A)),
                send(&second, To(A)),
                Exhaust,
                send(&third, Drop(LimitService)),
                send(&first, To(A)),
                REFILLED,
                send(&third, To(A)),
            ],
        )
    };
    let flows = |client, of: fn((&'static str, u16)) -> Wire| [0, 1, 2].map(|n| of(other(client, n)));
    vec![
        over("TCP over IPv4", flows(CLIENT, |client| tcp(client, WEB, SYN))),
        over("TCP over IPv6", flows(CLIENT6, |client| tcp(client, WEB6, SYN))),
        over("UDP over IPv4", flows(CLIENT, |client| udp(client, DNS))),
        over("UDP over IPv6", flows(CLIENT6, |client| udp(client, DNS6))),
        row(
            "no more than the burst at once",
            &Limits { rate: Rate { per_second: 1, burst: 3 }, ..Limits::default() },
            {
                let opened = (0..3).map(|n| send(&tcp(other(CLIENT, n), WEB, SYN), To(A)));
                opened.chain([
                    Exhaust,
                    send(&tcp(other(CLIENT, 3), WEB, SYN), Drop(LimitService)),
                    Flows(vec![(Setup, A); 3]),
                ])
            },
        ),
        row(
            "a segment of no known flow opens none",
            &limits,
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                Exhaust,
                send(&tcp(other(CLIENT, 1), WEB, ACK), To(A)),
                send(&tcp(other(CLIENT, 2), WEB, RST), To(A)),
            ],
        ),
        row(
            "a rate that is set and removed",
            &Limits::default(),
            [
                SetLimits(WEB_SERVICE, Limits { rate: ONE, ..Limits::default() }),
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                Exhaust,
                send(&tcp(other(CLIENT, 1), WEB, SYN), Drop(LimitService)),
                SetLimits(WEB_SERVICE, Limits::default()),
                send(&tcp(other(CLIENT, 1), WEB, SYN), To(A)),
            ],
        ),
    ]
}

fn clients() -> Vec<Case> {
    let by = |prefix| Limits { client: TWO, client_prefix: prefix, ..Limits::default() };
    vec![
        row(
            "one IPv4 address is above its rate and another is not",
            &by(32),
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                Exhaust,
                send(&tcp(other(CLIENT, 1), WEB, SYN), Drop(LimitClient)),
                send(&tcp(NEIGHBOUR, WEB, SYN), To(A)),
                send(&tcp(STRANGER, WEB, SYN), To(A)),
                send(&tcp(CLIENT, WEB, ACK), To(A)),
                REFILLED,
                send(&tcp(other(CLIENT, 1), WEB, SYN), To(A)),
            ],
        ),
        row(
            "one IPv4 prefix",
            &by(24),
            [
                send(&udp(CLIENT, DNS), To(A)),
                Exhaust,
                send(&udp(NEIGHBOUR, DNS), Drop(LimitClient)),
                send(&udp(STRANGER, DNS), To(A)),
            ],
        ),
        row(
            "one IPv6 prefix",
            &by(64),
            [
                send(&tcp(CLIENT6, WEB6, SYN), To(A)),
                Exhaust,
                send(&tcp(NEIGHBOUR6, WEB6, SYN), Drop(LimitClient)),
                send(&tcp(STRANGER6, WEB6, SYN), To(A)),
            ],
        ),
        row(
            "one IPv6 address",
            &by(128),
            [
                send(&tcp(CLIENT6, WEB6, SYN), To(A)),
                Exhaust,
                send(&tcp(other(CLIENT6, 1), WEB6, SYN), Drop(LimitClient)),
                send(&tcp(NEIGHBOUR6, WEB6, SYN), To(A)),
            ],
        ),
        row(
            "a client has a rate for each service",
            &by(32),
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                Exhaust,
                send(&tcp(other(CLIENT, 1), WEB, SYN), Drop(LimitClient)),
                send(&udp(CLIENT, DNS), To(A)),
            ],
        ),
        row(
            "no more than the burst at once",
            &by(32),
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                send(&tcp(other(CLIENT, 1), WEB, SYN), To(A)),
                Exhaust,
                send(&tcp(other(CLIENT, 2), WEB, SYN), Drop(LimitClient)),
            ],
        ),
    ]
}

fn connections() -> Vec<Case> {
    let one = Limits { most: 1, ..Limits::default() };
    let scheduled = |what: &str, pick: Pick, steps: Vec<Step>| {
        let scheduling = Scheduling { pick, source_prefix: 32, ..Scheduling::default() };
        case(what, &limited(&[A], &one).map(|service| service.scheduled(scheduling)), steps)
    };
    let first_full = |slots: &[Backend]| {
        let syn = |n| tcp(other(CLIENT, n), WEB, SYN);
        vec![
            send(&syn(0), To(A)),
            send(&syn(1), Drop(LimitConnections)),
            // Whatever is chosen first, the other is found.
            Slots(WEB_SERVICE, slots.to_vec()),
            send(&syn(1), To(B)),
            send(&syn(2), Drop(LimitConnections)),
            send(&syn(0), To(A)),
            send(&tcp(CLIENT, WEB, ACK), To(A)),
            send(&tcp(CLIENT, WEB, RST), To(A)),
            send(&syn(2), To(A)),
            send(&syn(3), Drop(LimitConnections)),
        ]
    };
    let mut rows: Vec<Case> = Pick::ALL
        .into_iter()
        .map(|pick| scheduled(&format!("others get what a full backend does not: {pick:?}"), pick, first_full(&[A, B])))
        .collect();
    rows.extend([
        row(
            "IPv6 and UDP",
            &one,
            [
                send(&tcp(CLIENT6, WEB6, SYN), To(A)),
                send(&tcp(other(CLIENT6, 1), WEB6, SYN), Drop(LimitConnections)),
                send(&udp(CLIENT, DNS), To(A)),
                send(&udp(other(CLIENT, 1), DNS), Drop(LimitConnections)),
                send(&udp(CLIENT, DNS), To(A)),
                send(&udp(CLIENT6, DNS6), To(A)),
                send(&udp(other(CLIENT6, 1), DNS6), Drop(LimitConnections)),
            ],
        ),
        row(
            "a segment of no known flow opens none",
            &one,
            [send(&tcp(CLIENT, WEB, SYN), To(A)), send(&tcp(other(CLIENT, 1), WEB, ACK), To(A))],
        ),
        row(
            "nobody is full when flows were not counted for long",
            &one,
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                Wait(25),
                send(&tcp(other(CLIENT, 1), WEB, SYN), Drop(LimitConnections)),
                Wait(10),
                send(&tcp(other(CLIENT, 1), WEB, SYN), To(A)),
            ],
        ),
        row(
            "a limit that is raised and removed",
            &one,
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                send(&tcp(other(CLIENT, 1), WEB, SYN), Drop(LimitConnections)),
                SetLimits(WEB_SERVICE, Limits { most: 2, ..Limits::default() }),
                send(&tcp(other(CLIENT, 1), WEB, SYN), To(A)),
                send(&tcp(other(CLIENT, 2), WEB, SYN), Drop(LimitConnections)),
                SetLimits(WEB_SERVICE, Limits::default()),
                send(&tcp(other(CLIENT, 2), WEB, SYN), To(A)),
            ],
        ),
    ]);
    rows
}

/// `on_exceed: reject`.
fn refusals() -> Vec<Case> {
    let rejects = |limits: Limits| Limits { rejects: true, ..limits };
    let later = |client| [tcp(other(client, 1), WEB, SYN)];
    let refused = |what: &str, limits: Limits| {
        row(what, &rejects(limits), {
            let opened = [send(&tcp(CLIENT, WEB, SYN), To(A)), Exhaust];
            opened.into_iter().chain(later(CLIENT).map(|wire| send(&wire, reset(&wire)))).collect::<Vec<_>>()
        })
    };
    let syn6 = tcp(other(CLIENT6, 1), WEB6, SYN);
    vec![
        refused("the service's rate", Limits { rate: ONE, ..Limits::default() }),
        refused("the client's rate", Limits { client: ONE, client_prefix: 32, ..Limits::default() }),
        refused("connections", Limits { most: 1, ..Limits::default() }),
        row(
            "connections over IPv6",
            &rejects(Limits { most: 1, ..Limits::default() }),
            [send(&tcp(CLIENT6, WEB6, SYN), To(A)), send(&syn6, reset(&syn6))],
        ),
        row(
            "a denied client hears nothing",
            &rejects(Limits { rules: vec![("192.0.2.7", true)], ..Limits::default() }),
            [send(&tcp(CLIENT, WEB, SYN), Drop(Denied))],
        ),
    ]
}

fn floods() -> Vec<Case> {
    let limits = Limits { flood: 1, ..Limits::default() };
    let forgotten = |what: &str, first: Wire, second: Wire, kept| {
        row(
            what,
            &limits,
            [
                send(&first, To(A)),
                Exhaust,
                send(&second, To(A)),
                Flows(vec![kept]),
                // It goes where the slots say, since nobody knows it.
                Slots(WEB_SERVICE, vec![B]),
                Slots(WEB_SERVICE + 1, vec![B]),
                Slots(DNS_SERVICE, vec![B]),
                send(&second, To(B)),
                send(&first, To(A)),
            ],
        )
        .except(&TRANSLATIONS)
    };
    let translated = |mode| {
        let [service, ..] = limited(&[A], &limits);
        let wire = tcp(other(CLIENT, 1), WEB, SYN);
        case(
            format!("a new flow that is translated: {mode:?}"),
            &[service.translated(mode, 8080)],
            [Exhaust, send(&wire, Drop(LimitFlood)), Flows(vec![])],
        )
    };
    let scheduled = |pick| {
        let scheduling = Scheduling { pick, ..Scheduling::default() };
        let services = limited(&[A, B], &limits).map(|service| service.scheduled(scheduling));
        let (syn, ack) = (tcp(CLIENT, WEB, SYN), tcp(CLIENT, WEB, ACK));
        let hashed = hashed();
        case(
            format!("by hash, whatever the scheduler: {pick:?}"),
            &services,
            [Exhaust, send(&syn, To(hashed)), send(&syn, To(hashed)), send(&ack, To(hashed)), Flows(vec![])],
        )
        .except(&TRANSLATIONS)
    };
    let mut rows = vec![
        forgotten("TCP", tcp(CLIENT, WEB, SYN), tcp(other(CLIENT, 1), WEB, SYN), (Setup, A)),
        forgotten("TCP over IPv6", tcp(CLIENT6, WEB6, SYN), tcp(other(CLIENT6, 1), WEB6, SYN), (Setup, A)),
        forgotten("UDP", udp(CLIENT, DNS), udp(other(CLIENT, 1), DNS), (UdpSingle, A)),
        row(
            "who answers is remembered, as far as segments have a rate of their own",
            &limits,
            [
                send(&tcp(CLIENT, WEB, SYN), To(A)),
                send(&tcp(CLIENT, WEB, ACK), To(A)),
                send(&tcp(other(CLIENT, 1), WEB, ACK), To(A)),
                Flows(vec![(Established, A), (Established, A)]),
                Exhaust,
                send(&tcp(other(CLIENT, 2), WEB, ACK), To(A)),
                Flows(vec![(Established, A), (Established, A)]),
                REFILLED,
                send(&tcp(other(CLIENT, 3), WEB, SYN), To(A)),
                Flows(vec![(Setup, A)]),
            ],
        )
        .except(&TRANSLATIONS),
    ];
    rows.extend([Pick::Turn, Pick::Random, Pick::Least, Pick::TwoChoices].map(scheduled));
    rows.extend([Mode::Nat, Mode::FullNat].map(translated));
    rows
}

/// What the hash of the first client's flow chooses of two slots.
fn hashed() -> Backend {
    use lb_common::{
        features::Features,
        hash::FlowHash,
        memory::Packet,
        parse::{Parsed, parse},
    };

    use crate::{in_memory::InMemory, machine::ROOMY};

    let memory = InMemory::new(ROOMY);
    let mut parsed = Parsed::new();
    parse(Features::ALL, &Packet::new(tcp(CLIENT, WEB, SYN).frame()), &mut parsed).expect("a packet");
    [A, B][FlowHash::of(&memory.view(0), &parsed).slot(2) as usize]
}
