//! Schedulers other than by the flow's hash: many new flows in memory and through the loaded program, and who gets them.

use lb_common::abi::{Pick, Scheduling, ScoreTerms};

use crate::{
    case::{Step, case},
    in_kernel::InKernel,
    in_memory::InMemory,
    lines::{CLIENT, CLIENT6, DNS, WEB, WEB6},
    machine::{Action, CRAMPED, Machine, ROOMY},
    runner::Run,
    wire::{ACK, FIN, RST, SYN, Wire, tcp, udp},
    world::{A, B, Backend, C, Service},
};

/// Runs a test on both machines.
fn everywhere(test: impl Fn(&mut dyn Tested)) {
    test(&mut InMemory::new(ROOMY));
    if let Some(mut kernel) = InKernel::new(ROOMY) {
        test(&mut kernel);
    }
}

/// What a test does with either machine.
trait Tested {
    /// The backends that packets get to, in order, and what they are answered; `None`: they do not leave for a backend.
    fn backends(&mut self, services: &[Service], scores: &[(Backend, u32)], packets: &[Wire]) -> Vec<Option<Backend>>;
}

impl<M: Machine> Tested for M {
    fn backends(&mut self, services: &[Service], weights: &[(Backend, u32)], packets: &[Wire]) -> Vec<Option<Backend>> {
        let mut run = Run::begin(self, &case("schedulers", services, []));
        for service in 0..services.len() {
            for (backend, weight) in weights {
                let score = &run.machine.tables().scores[backend.id(service) as usize];
                score.set_terms(ScoreTerms::of_weight(*weight, 1));
                score.set_load(0);
            }
        }
        packets.iter().map(|wire| backend_of(&mut run, wire)).collect()
    }
}

fn backend_of<M: Machine>(run: &mut Run<'_, M>, wire: &Wire) -> Option<Backend> {
    let outcome = run.packet(&wire.frame()).expect("the books");
    let is_at = |backend: &Backend| outcome.bytes.starts_with(&backend.mac());
    let leaves = matches!(outcome.action, Action::Transmit | Action::Redirect);
    Backend::ALL.into_iter().find(is_at).filter(|_| leaves)
}

fn by(pick: Pick) -> Scheduling {
    Scheduling { pick, ..Scheduling::default() }
}

/// Both families and protocols, over the same slots.
fn services(slots: &[Backend], scheduling: Scheduling) -> Vec<Service> {
    [Service::tcp(WEB.0, WEB.1, slots), Service::tcp(WEB6.0, WEB6.1, slots), Service::udp(DNS.0, DNS.1, slots)]
        .map(|service| service.scheduled(scheduling))
        .to_vec()
}

/// Flow `n` of a client.
fn flow(client: &'static str, n: u16, flags: u8) -> Wire {
    let port = 1024 + n;
    if client.contains(':') { tcp((client, port), WEB6, flags) } else { tcp((client, port), WEB, flags) }
}

fn syns(count: u16) -> Vec<Wire> {
    (0..count).map(|n| flow(CLIENT.0, n, SYN)).collect()
}

fn shares(backends: &[Option<Backend>]) -> [usize; 3] {
    [A, B, C].map(|backend| backends.iter().filter(|found| **found == Some(backend)).count())
}

#[test]
fn a_clients_flows_stay_together_by_source_hash() {
    let scheduling = |source_prefix| Scheduling { pick: Pick::SourceHash, source_prefix, ..Scheduling::default() };
    everywhere(|machine| {
        let one: Vec<Wire> = [syns(50), (0..50).map(|n| udp((CLIENT.0, 1024 + n), DNS)).collect()].concat();
        let found = machine.backends(&services(&[A, B, C], scheduling(32)), &[], &one);
        assert!(found[0].is_some() && found.iter().all(|backend| *backend == found[0]), "{found:?}");
        // No entry, no SYN, and ICMP errors would do the same: it is stateless.
        let late = [flow(CLIENT.0, 99, ACK)];
        assert_eq!(machine.backends(&services(&[A, B, C], scheduling(32)), &[], &late), [found[0]]);
        let neighbours: Vec<Wire> =
            ["192.0.2.1", "192.0.2.77", "192.0.2.254"].map(|client| flow(client, 1, SYN)).to_vec();
        let found = machine.backends(&services(&[A, B, C], scheduling(24)), &[], &neighbours);
        assert!(found.iter().all(|backend| *backend == found[0]), "{found:?}");
        let in_prefix = ["2001:db8:c:1::1", "2001:db8:c:1:ffff::2"].map(|client| flow(client, 1, SYN));
        let found = machine.backends(&services(&[A, B, C], scheduling(64)), &[], &in_prefix);
        assert_eq!(found[0], found[1]);
    });
    // Clients are spread, and both machines agree.
    let clients: Vec<String> = (0..=250).map(|n| format!("10.7.{}.{}", n / 4, n)).collect();
    let clients: Vec<Wire> = clients.into_iter().map(|client| flow(client.leak(), 1, SYN)).collect();
    let configuration = services(&[A, B, C], scheduling(32));
    let memory = InMemory::new(ROOMY).backends(&configuration, &[], &clients);
    assert!(shares(&memory).iter().all(|share| *share > 50), "{:?}", shares(&memory));
    if let Some(mut kernel) = InKernel::new(ROOMY) {
        assert_eq!(kernel.backends(&configuration, &[], &clients), memory);
    }
}

#[test]
fn slots_have_their_turn() {
    everywhere(|machine| {
        let found = machine.backends(&services(&[A, B, A, C], by(Pick::Turn)), &[], &syns(400));
        assert_eq!(shares(&found), [200, 100, 100]);
        for four in found.windows(4) {
            assert_eq!(shares(four), [2, 1, 1], "{four:?}");
        }
        // Each service has turns of its own.
        let mixed: Vec<Wire> = (0..30).flat_map(|n| [flow(CLIENT.0, n, SYN), flow(CLIENT6.0, n, SYN)]).collect();
        let found = machine.backends(&services(&[A, B, C], by(Pick::Turn)), &[], &mixed);
        let of_one: Vec<_> = found.iter().step_by(2).copied().collect();
        assert_eq!(shares(&of_one), [10, 10, 10]);
    });
}

#[test]
fn a_flow_stays_whatever_its_scheduler() {
    for pick in [Pick::SourceHash, Pick::Turn, Pick::Random, Pick::Least, Pick::TwoChoices] {
        everywhere(|machine| {
            let weights = [(A, 1), (B, 1), (C, 1)];
            let packets: Vec<Wire> =
                (0..40).flat_map(|n| [SYN, SYN, ACK, ACK].map(|flags| flow(CLIENT.0, n, flags))).collect();
            let found = machine.backends(&services(&[A, B, C], by(pick)), &weights, &packets);
            for four in found.chunks(4) {
                assert!(four[0].is_some() && four.iter().all(|backend| *backend == four[0]), "{pick:?}: {four:?}");
            }
            let packets: Vec<Wire> = (0..40).flat_map(|n| vec![udp((CLIENT.0, 1024 + n), DNS); 3]).collect();
            let found = machine.backends(&services(&[A, B, C], by(pick)), &weights, &packets);
            for three in found.chunks(3) {
                assert!(three[0].is_some() && three.iter().all(|backend| *backend == three[0]), "{pick:?}: {three:?}");
            }
        });
    }
}

#[test]
fn at_random_everybody_has_a_share() {
    everywhere(|machine| {
        // The table has room for fewer flows: those that it forgot were given all the same.
        let found = machine.backends(&services(&[A, B, A, C], by(Pick::Random)), &[], &syns(1000));
        let [a, b, c] = shares(&found);
        // Six standard deviations.
        assert!(a.abs_diff(500) < 95 && b.abs_diff(250) < 85 && c.abs_diff(250) < 85, "{:?}", [a, b, c]);
        let in_turn = found.windows(2).filter(|two| two[0] == two[1]).count();
        assert!(in_turn > 200, "no turns");
    });
}

#[test]
fn least_connections_fill_up_what_has_least() {
    everywhere(|machine| {
        let found = machine.backends(&services(&[A, B, C], by(Pick::Least)), &[(A, 1), (B, 1), (C, 1)], &syns(300));
        assert_eq!(shares(&found), [100, 100, 100]);
        // Of equals each has its turn at random: not always the first.
        let firsts: Vec<_> = found.iter().copied().step_by(3).collect();
        assert!(shares(&firsts).iter().all(|share| *share > 10), "{:?}", shares(&firsts));
        let found = machine.backends(&services(&[A, B, C], by(Pick::Least)), &[(A, 4), (B, 2), (C, 1)], &syns(280));
        let [a, b, c] = shares(&found);
        assert!(a.abs_diff(160) < 4 && b.abs_diff(80) < 4 && c.abs_diff(40) < 4, "{:?}", [a, b, c]);
    });
}

#[test]
fn ended_flows_make_room() {
    for end in [FIN | ACK, RST] {
        everywhere(|machine| {
            let opened = syns(30);
            let mut packets = opened.clone();
            // Which of them A has is not known beforehand: all end, and one backend's are opened anew.
            packets.extend((0..30).map(|n| flow(CLIENT.0, n, end)));
            packets.extend((100..130).map(|n| flow(CLIENT.0, n, SYN)));
            let found = machine.backends(&services(&[A, B, C], by(Pick::Least)), &[(A, 1), (B, 1), (C, 1)], &packets);
            assert_eq!(shares(&found[60..]), [10, 10, 10]);
        });
    }
    everywhere(|machine| {
        // Only the flows of one backend end: it gets as many new ones.
        let configuration = services(&[A, B], by(Pick::Least));
        let opened = machine.backends(&configuration, &[(A, 1), (B, 1)], &syns(20));
        let of_a =
            |found: &[Option<Backend>]| (0..20).filter(|n| found[usize::from(*n)] == Some(A)).collect::<Vec<u16>>();
        assert_eq!(of_a(&opened).len(), 10);
        // Again, since who gets the first flow is drawn.
        let mut run = syns(20);
        run.extend((0..20).map(|n| flow(CLIENT.0, n, RST)));
        run.extend((50..70).map(|n| flow(CLIENT.0, n, SYN)));
        let found = machine.backends(&configuration, &[(A, 1), (B, 1)], &run);
        assert_eq!(of_a(&found[40..]).len(), 10);
    });
}

#[test]
fn two_choices_spare_the_busiest() {
    everywhere(|machine| {
        let found =
            machine.backends(&services(&[A, B, C], by(Pick::TwoChoices)), &[(A, 1), (B, 1), (C, 1)], &syns(600));
        let shares = shares(&found);
        // Of three the one with most flows is never chosen, so they stay together; chance would spread them by tens.
        assert!(shares.iter().all(|share| share.abs_diff(200) <= 4), "{shares:?}");
        let alone = machine.backends(&services(&[A], by(Pick::TwoChoices)), &[(A, 1)], &syns(3));
        assert_eq!(alone, [Some(A); 3]);
    });
}

/// More than the data path looks at.
#[test]
fn a_clients_flows_stay_together_by_affinity() {
    for pick in [Pick::FlowHash, Pick::Turn, Pick::Random, Pick::Least, Pick::TwoChoices] {
        let scheduling = Scheduling { pick, affinity_seconds: 300, source_prefix: 24, ..Scheduling::default() };
        let weights = [(A, 1), (B, 1), (C, 1)];
        everywhere(|machine| {
            // Of 40 clients, in 20 networks of two; each has three flows, in turn with the others'.
            let clients: Vec<&'static str> = (0..40).map(|n| &*format!("10.7.{}.{}", n / 2, n).leak()).collect();
            let packets: Vec<Wire> =
                (0..3).flat_map(|port| clients.iter().map(move |client| flow(client, port, SYN))).collect();
            let found = machine.backends(&services(&[A, B, C], scheduling), &weights, &packets);
            for network in 0..20 {
                let of: Vec<_> = (0..3).flat_map(|port| [0, 1].map(|n| found[port * 40 + network * 2 + n])).collect();
                assert!(of[0].is_some() && of.iter().all(|backend| *backend == of[0]), "{pick:?}: {of:?}");
            }
            assert!(shares(&found).iter().all(|share| *share > 0), "{pick:?}: {:?}", shares(&found));
        });
    }
}

#[test]
fn affinity_ends_with_its_time() {
    let scheduling = Scheduling { pick: Pick::Turn, affinity_seconds: 1, source_prefix: 32, ..Scheduling::default() };
    // In turn, three flows of one client would be at three backends.
    let mut machine = InMemory::new(ROOMY);
    let mut run = Run::begin(&mut machine, &case("affinity", services(&[A, B, C], scheduling).as_slice(), []));
    let first = backend_of(&mut run, &flow(CLIENT.0, 1, SYN));
    assert_eq!(backend_of(&mut run, &flow(CLIENT.0, 2, SYN)), first);
    run.step(&Step::Wait(2)).expect("time passes");
    assert_ne!(backend_of(&mut run, &flow(CLIENT.0, 3, SYN)), first);
}

#[test]
fn a_long_list_is_chosen_from_by_twos() {
    everywhere(|machine| {
        // The world has room for 16 slots a service, so the list is long by repetition and lies where nothing else does.
        let long: Vec<Backend> = (0..100).map(|n| [A, B][n % 2]).collect();
        let configuration = [Service::tcp(WEB.0, WEB.1, &long).scheduled(by(Pick::Least))];
        let found = machine.backends(&configuration, &[(A, 1), (B, 1)], &syns(200));
        let [a, b, _] = shares(&found);
        assert!(a + b == 200 && a.abs_diff(b) < 60, "{a} and {b}");
    });
}

#[test]
fn what_opens_nothing_goes_by_hash_or_is_refused() {
    for pick in [Pick::Turn, Pick::Random, Pick::Least, Pick::TwoChoices] {
        let weights = [(A, 1), (B, 1), (C, 1)];
        everywhere(|machine| {
            let late: Vec<Wire> = (0..40).map(|n| flow(CLIENT.0, n, ACK)).collect();
            let hashed = machine.backends(&services(&[A, B, C], by(Pick::FlowHash)), &weights, &late);
            assert_eq!(machine.backends(&services(&[A, B, C], by(pick)), &weights, &late), hashed, "{pick:?}");
            let resets = Scheduling { pick, resets_unknown: true, ..Scheduling::default() };
            let refused = machine.backends(&services(&[A, B, C], resets), &weights, &late);
            assert_eq!(refused, vec![None; 40], "{pick:?}");
            let taken = machine.backends(&services(&[A, B, C], resets), &weights, &syns(9));
            assert!(taken.iter().all(Option::is_some), "{pick:?}");
        });
    }
}

/// Nobody remembers an untracked flow, so its packets have to find one place by themselves.
#[test]
fn untracked_flows_go_by_their_hash() {
    for pick in [Pick::Turn, Pick::Random, Pick::Least, Pick::TwoChoices] {
        let weights = [(A, 1), (B, 1), (C, 1)];
        let test = |machine: &mut dyn Tested| {
            // The table has eight entries, and they live.
            let fill = (0..8).map(|n| flow(CLIENT.0, n, ACK));
            let others = (100..140).flat_map(|n| [SYN, ACK, ACK].map(|flags| flow(CLIENT.0, n, flags)));
            let packets: Vec<Wire> = fill.chain(others).collect();
            let found = machine.backends(&services(&[A, B, C], by(pick)), &weights, &packets);
            for three in found[8..].chunks(3) {
                assert!(three[0].is_some() && three.iter().all(|backend| *backend == three[0]), "{pick:?}: {three:?}");
            }
        };
        test(&mut InMemory::new(CRAMPED));
        if let Some(mut kernel) = InKernel::new(CRAMPED) {
            test(&mut kernel);
        }
    }
}

#[test]
fn without_slots_nobody_is_chosen() {
    for pick in Pick::ALL {
        everywhere(|machine| {
            assert_eq!(machine.backends(&services(&[], by(pick)), &[], &syns(2)), [None, None], "{pick:?}");
        });
    }
}
