//! What is counted of backends' connections for passive health. No line of the catalogue: nothing becomes of a packet for it.

use lb_common::{abi::Mode, features::Features};

use super::{
    CLIENT, CLIENT6, DNS, WEB, WEB_SERVICE, WEB6,
    nat_node::{PORT, Tested, back, configuration, everywhere, forth, reply_of, with_flags},
    nat_replies::{arriving, error},
    services,
};
use crate::{
    case::case,
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Action, CRAMPED, Machine, PassiveCounts, ROOMY},
    runner::Run,
    wire::{ACK, FIN, PSH, RST, SYN, Wire, tcp, udp},
    world::A,
};

/// The service of [`WEB6`].
const WEB6_SERVICE: usize = 1;

/// Flags of a client's segments in a flow, and what is counted of them: opened, confirmed, aborted, repeated, reset, refused, broken,
/// unreachable.
type Row = (&'static str, &'static [u8], PassiveCounts);

/// In all modes the same, as only the client's segments are there.
const ROWS: [Row; 13] = [
    ("not answered", &[SYN], [1, 0, 0, 0, 0, 0, 0, 0]),
    ("not answered, and repeated", &[SYN, SYN, SYN], [1, 0, 0, 2, 0, 0, 0, 0]),
    ("answered", &[SYN, ACK], [1, 1, 0, 0, 0, 0, 0, 0]),
    ("answered once", &[SYN, ACK, PSH | ACK, ACK], [1, 1, 0, 0, 0, 0, 0, 0]),
    ("answered at last", &[SYN, SYN, ACK], [1, 1, 0, 1, 0, 0, 0, 0]),
    ("answered with data", &[SYN, PSH | ACK], [1, 1, 0, 0, 0, 0, 0, 0]),
    ("ended at once", &[SYN, FIN | ACK], [1, 1, 0, 0, 0, 0, 0, 0]),
    ("answered, and not wanted", &[SYN, RST], [1, 0, 1, 0, 0, 0, 0, 0]),
    ("answered, and not wanted, twice", &[SYN, RST | ACK, RST], [1, 0, 1, 0, 0, 0, 0, 0]),
    ("reset later, twice", &[SYN, ACK, RST, RST], [1, 1, 0, 0, 1, 0, 0, 0]),
    ("opened again", &[SYN, ACK, RST, SYN, SYN], [2, 1, 0, 1, 1, 0, 0, 0]),
    ("of an unknown flow", &[ACK, ACK], [0; 8]),
    ("of an unknown flow, reset", &[ACK, RST], [0, 0, 0, 0, 1, 0, 0, 0]),
];

fn since(now: PassiveCounts, before: PassiveCounts) -> PassiveCounts {
    std::array::from_fn(|i| now[i] - before[i])
}

/// Both families, flow `n`.
fn segments(n: usize, flags: &[u8]) -> [(usize, Vec<Wire>); 2] {
    let port = 50_000 + n as u16;
    let of = |flow: &dyn Fn(u8) -> Wire| flags.iter().map(|flags| flow(*flags)).collect();
    [
        (WEB_SERVICE, of(&|flags| tcp((CLIENT.0, port), WEB, flags))),
        (WEB6_SERVICE, of(&|flags| tcp((CLIENT6.0, port), WEB6, flags))),
    ]
}

fn counts_rows<M: Machine>(machine: &mut M, counts: bool) {
    let mut run = Run::begin(machine, &case("passive", &services(&[A]), []));
    for (n, (what, flags, expected)) in ROWS.into_iter().enumerate() {
        for (service, wires) in segments(n, flags) {
            let before = run.machine.passive_counters(A.id(service));
            for wire in wires {
                // A SYN that is repeated in the same tick is not counted; none is in practice.
                run.machine.advance(1);
                let outcome = run.packet(&wire.frame()).expect("the books");
                assert_eq!(outcome.action, Action::Transmit, "{what}");
            }
            let seen = since(run.machine.passive_counters(A.id(service)), before);
            let expected = if counts { expected } else { [0; 8] };
            assert_eq!(seen, expected, "{}, service {service}: {what}", M::NAME);
        }
    }
    let all = |run: &Run<'_, M>| -> Vec<_> {
        (1..ROOMY.destinations as u32).map(|id| run.machine.passive_counters(id)).collect()
    };
    let before = all(&run);
    for _ in 0..3 {
        run.packet(&udp(CLIENT, DNS).frame()).expect("the books");
    }
    assert_eq!(all(&run), before, "datagrams");
}

#[test]
fn segments_of_clients() {
    counts_rows(&mut InMemory::new(ROOMY), true);
    let without = Features::ALL.without(Features::PASSIVE_HEALTH);
    counts_rows(&mut InMemory::specialised(ROOMY, without), false);
    if let Some(mut kernel) = InKernel::new(ROOMY) {
        counts_rows(&mut kernel, true);
    }
    if let Some(mut kernel) = InKernel::specialised(ROOMY, without) {
        counts_rows(&mut kernel, false);
    }
}

#[test]
fn segments_of_clients_that_are_translated() {
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            for (n, (what, flags, expected)) in ROWS.into_iter().enumerate() {
                for (service, wires) in segments(n, flags) {
                    let before = node.passive(service, A);
                    for wire in &wires {
                        node.wait(1);
                        node.packet(&wire.frame());
                    }
                    let seen = since(node.passive(service, A), before);
                    assert_eq!(seen, expected, "{mode:?}, service {service}: {what}");
                }
            }
        });
    });
}

/// A flow that found no room would never be seen to be answered.
#[test]
fn flows_without_an_entry_are_not_counted() {
    fn check<M: Machine>(machine: &mut M) {
        let mut run = Run::begin(machine, &case("passive", &services(&[A]), []));
        for n in 0..8 {
            run.packet(&tcp((CLIENT.0, 1024 + n), WEB, ACK).frame()).expect("the books");
        }
        let before = run.machine.passive_counters(A.id(WEB_SERVICE));
        for flags in [SYN, SYN, ACK] {
            run.packet(&tcp((CLIENT.0, 2000), WEB, flags).frame()).expect("the books");
        }
        assert_eq!(run.machine.passive_counters(A.id(WEB_SERVICE)), before, "{}", M::NAME);
    }
    check(&mut InMemory::new(CRAMPED));
    if let Some(mut kernel) = InKernel::new(CRAMPED) {
        check(&mut kernel);
    }
}

/// Segments after a SYN, from the client or back, and what is counted.
type Conversation = (&'static str, &'static [(bool, u8)], PassiveCounts);

/// Opens a connection as far as these segments go, from the client or back.
fn converse(node: &mut dyn Tested, client: &dyn Fn(u8) -> Wire, segments: &[(bool, u8)]) {
    let ends = forth(node, &client(SYN));
    for (is_back, flags) in segments {
        let wire = client(*flags);
        if *is_back {
            back(node, &wire, &with_flags(reply_of(&wire, ends, A), *flags));
        } else {
            forth(node, &wire);
        }
    }
}

#[test]
fn resets_of_backends() {
    const FORTH: bool = false;
    const BACK: bool = true;
    let rows: [Conversation; 5] = [
        ("refused", &[(BACK, RST | ACK)], [1, 0, 0, 0, 0, 1, 0, 0]),
        ("refused, twice", &[(BACK, RST | ACK), (BACK, RST | ACK)], [1, 0, 0, 0, 0, 1, 0, 0]),
        ("not reset", &[(BACK, SYN | ACK), (FORTH, ACK), (BACK, ACK)], [1, 1, 0, 0, 0, 0, 0, 0]),
        ("reset later", &[(BACK, SYN | ACK), (FORTH, ACK), (BACK, RST)], [1, 1, 0, 0, 0, 0, 1, 0]),
        ("reset by both", &[(BACK, SYN | ACK), (FORTH, ACK), (BACK, RST), (FORTH, RST)], [1, 1, 0, 0, 0, 0, 1, 0]),
    ];
    everywhere(|mode, begin| {
        for (what, segments, expected) in rows {
            begin(&configuration(mode, &[A], PORT), &mut |node| {
                for (service, client) in [
                    (WEB_SERVICE, &(|flags| tcp(CLIENT, WEB, flags)) as &dyn Fn(u8) -> Wire),
                    (WEB6_SERVICE, &|flags| tcp(CLIENT6, WEB6, flags)),
                ] {
                    let before = node.passive(service, A);
                    converse(node, client, segments);
                    let seen = since(node.passive(service, A), before);
                    assert_eq!(seen, expected, "{mode:?}, service {service}: {what}");
                }
            });
        }
    });
}

#[test]
fn icmp_errors_about_what_backends_get() {
    let check = |mode: Mode, node: &mut dyn Tested, (service, wire): (usize, Wire), kind: [u8; 2], counts: bool| {
        let ends = forth(node, &wire);
        let before = node.passive(service, A);
        let quoted = arriving(&wire, ends).packet();
        let outcome = node.packet(&error(ends.backend.0, ends.source.0, kind, &quoted).frame());
        assert_eq!(outcome.action, Action::Transmit, "{mode:?} {kind:?}: {:?}", outcome.books.pass_reason());
        let [.., unreachable] = since(node.passive(service, A), before);
        assert_eq!(unreachable, u64::from(counts), "{mode:?} {kind:?}");
    };
    everywhere(|mode, begin| {
        begin(&configuration(mode, &[A], PORT), &mut |node| {
            for (kind, counts) in [([3, 1], true), ([3, 3], true), ([3, 4], false), ([11, 0], false), ([12, 0], false)]
            {
                check(mode, node, (WEB_SERVICE, tcp(CLIENT, WEB, SYN)), kind, counts);
            }
            for (kind, counts) in [([1, 0], true), ([1, 4], true), ([2, 0], false), ([3, 0], false), ([4, 0], false)] {
                check(mode, node, (WEB6_SERVICE, tcp(CLIENT6, WEB6, SYN)), kind, counts);
            }
        });
    });
}
