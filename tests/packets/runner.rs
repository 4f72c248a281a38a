//! Runs rows: alone against what they expect, and in two machines against each other, cut at every length.

use std::fmt::Write as _;

use lb_common::flow::FlowState;

use crate::{
    case::{Case, Expect, Step},
    cut::{self, Predicted},
    limits,
    machine::{Action, Books, Machine},
    oracle, outer,
    translated::translated,
    world::{self, Backend, Service},
};

/// What was seen of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) action: Action,
    pub(crate) bytes: Vec<u8>,
    pub(crate) books: Books,
}

/// A machine that has a row's configuration, and what it was asked so far.
pub(crate) struct Run<'a, M> {
    pub(crate) machine: &'a mut M,
    begin: Books,
    last: Books,
    /// Counters of the destinations when the row began: packets, bytes, new, closed.
    destinations: Vec<[u64; 4]>,
    services: usize,
    descriptions: Vec<Service>,
}

impl<'a, M: Machine> Run<'a, M> {
    /// Sets up a row.
    pub(crate) fn begin(machine: &'a mut M, case: &Case) -> Self {
        let mut run = Self::begin_without_destinations(machine, case);
        run.destinations = destinations(run.machine, run.services);
        run
    }

    /// The same where the destinations' counters, which cost a system call each, are not asked for.
    fn begin_without_destinations(machine: &'a mut M, case: &Case) -> Self {
        world::install(machine, &case.services);
        let books = Books::of(machine);
        Self {
            machine,
            begin: books.clone(),
            last: books,
            destinations: Vec::new(),
            services: case.services.len(),
            descriptions: case.services.clone(),
        }
    }

    /// Runs a packet and closes the books over it.
    ///
    /// # Errors
    ///
    /// What the books say if they do not balance.
    pub(crate) fn packet(&mut self, frame: &[u8]) -> Result<Outcome, String> {
        let (action, bytes) = self.machine.run(frame);
        let now = Books::of(self.machine);
        let books = now.since(&self.last);
        self.last = now;
        let outcome = Outcome { action, bytes, books };
        audit(frame, &outcome)?;
        Ok(outcome)
    }

    /// What destinations counted since the row began, by backend over all services.
    pub(crate) fn counted(&self, backend: Backend) -> [u64; 4] {
        let now = destinations(self.machine, self.services);
        let mut sum = [0; 4];
        for service in 0..self.services {
            let id = backend.id(service) as usize - 1;
            for (field, value) in sum.iter_mut().enumerate() {
                *value += now[id][field] - self.destinations[id][field];
            }
        }
        sum
    }

    /// Carries out a step that is no packet; checks what it claims.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Packet(..) => {}
            Step::Wait(seconds) => self.machine.advance(seconds * self.machine.constants().ticks_per_second),
            Step::Slots(service, slots) => world::set_slots(self.machine, *service, slots),
            Step::Limits(service, limits) => {
                let description = self.descriptions[*service].clone();
                limits::set(self.machine, *service, &description, limits);
            }
            Step::Exhaust => limits::exhaust(self.machine),
            Step::State(service, backend, state) => world::set_state(self.machine, *service, *backend, *state),
            Step::Flows(expected) => return same("flows", &flows(self.machine), &sorted(expected.clone())),
            Step::Counted { backend, new, closed } => {
                let [_, _, was_new, was_closed] = self.counted(*backend);
                return same("flows new and closed", &[was_new, was_closed], &[*new, *closed]);
            }
            Step::Table { untracked, evicted } => {
                let since = self.last.since(&self.begin);
                let [_, _, was_evicted, _, was_untracked, ..] = since.other;
                return same("untracked and evicted", &[was_untracked, was_evicted], &[*untracked, *evicted]);
            }
            Step::Unrouted(count) => {
                let [.., unrouted, _] = self.last.since(&self.begin).other;
                return same("unrouted", &unrouted, count);
            }
        }
        Ok(())
    }
}

/// Runs rows on one machine; what went wrong, by row and step.
pub(crate) fn run_all(machine: &mut impl Machine, cases: &[Case]) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        if let Err(message) = run(machine, case) {
            wrong.push(format!("{}: {message}", case.what));
        }
    }
    wrong
}

fn run(machine: &mut impl Machine, case: &Case) -> Result<(), String> {
    let mut run = Run::begin(machine, case);
    let mut forwarded = [[0_u64; 2]; Backend::ALL.len()];
    for (number, step) in case.steps.iter().enumerate() {
        let at = |message: String| format!("step {number}: {message}");
        let Step::Packet(frame, expect) = step else {
            run.step(step).map_err(at)?;
            continue;
        };
        let outcome = run.packet(frame).map_err(at)?;
        meets(frame, &outcome, expect).map_err(at)?;
        if let Expect::To(backend) | Expect::Wrapped(backend, _) | Expect::Translated(backend, _) = expect {
            forwarded[*backend as usize][0] += 1;
            forwarded[*backend as usize][1] += frame.len() as u64;
        }
    }
    for backend in Backend::ALL {
        let [packets, bytes, ..] = run.counted(backend);
        let name = format!("packets and bytes of {backend:?}");
        same(&name, &[packets, bytes], &forwarded[backend as usize])?;
    }
    Ok(())
}

/// Line 33 for one packet: received once, under one verdict with one reason, and left as it was if it was passed.
fn audit(frame: &[u8], outcome: &Outcome) -> Result<(), String> {
    let books = &outcome.books;
    let once = [1, frame.len() as u64];
    same("received packets and bytes", &books.received, &once)?;
    let counted = |is: bool| if is { once } else { [0, 0] };
    same("transmitted", &books.transmitted, &counted(outcome.action == Action::Transmit))?;
    same("redirected", &books.redirected, &counted(outcome.action == Action::Redirect))?;
    let reasons: u64 = books.passed.iter().map(|(_, n)| n).chain(books.dropped.iter().map(|(_, n)| n)).sum();
    same("reasons", &reasons, &u64::from(matches!(outcome.action, Action::Pass | Action::Drop)))?;
    same("a pass reason", &books.pass_reason().is_some(), &(outcome.action == Action::Pass))?;
    if !books.balance() {
        return Err(format!("the books do not balance: {books:?}"));
    }
    if outcome.action == Action::Pass && outcome.bytes != frame {
        return Err(format!("passed, but changed:{}", difference(&outcome.bytes, frame)));
    }
    Ok(())
}

/// Whether a packet became what was expected.
pub(crate) fn meets(frame: &[u8], outcome: &Outcome, expect: &Expect) -> Result<(), String> {
    let books = &outcome.books;
    let seen = describe(outcome);
    let (action, bytes) = match expect {
        Expect::Pass(reason) if books.pass_reason() == Some(*reason) => (Action::Pass, frame.to_vec()),
        Expect::Host if outcome.action == Action::Pass => (Action::Pass, frame.to_vec()),
        Expect::Drop(reason) if books.drop_reason() == Some(*reason) => (Action::Drop, outcome.bytes.clone()),
        Expect::To(backend) => (leaving(*backend), forwarded(frame, *backend)),
        Expect::Wrapped(backend, outer) if matches!(outcome.action, Action::Transmit | Action::Redirect) => {
            let (bytes, _) = outer::wrapped(frame, &outcome.bytes, *backend, *outer)?;
            (leaving(*backend), bytes)
        }
        Expect::Translated(backend, translation) if matches!(outcome.action, Action::Transmit | Action::Redirect) => {
            (leaving(*backend), translated(frame, &outcome.bytes, *backend, *translation)?)
        }
        Expect::Reply(reply) => {
            same("replies", &books.other[0], &1).map_err(|message| format!("{message} ({seen})"))?;
            (Action::Transmit, reply.clone())
        }
        _ => return Err(format!("expected {expect:?}, seen {seen}{}", hex(frame))),
    };
    if outcome.action != action {
        return Err(format!("expected {action:?} for {expect:?}, seen {seen}{}", hex(frame)));
    }
    if outcome.bytes != bytes {
        return Err(format!("{seen}, but with other bytes:{}", difference(&outcome.bytes, &bytes)));
    }
    if matches!(expect, Expect::Reply(_)) { oracle::checksums_are_right(&outcome.bytes) } else { Ok(()) }
}

fn leaving(backend: Backend) -> Action {
    if backend == Backend::Far { Action::Redirect } else { Action::Transmit }
}

/// `dsr-l2`: only the two MAC addresses change (line 21), and the tags where a VLAN leads to the backend.
pub(crate) fn forwarded(frame: &[u8], backend: Backend) -> Vec<u8> {
    let link = outer::link(frame);
    [&backend.mac()[..], &backend.egress_mac(), &backend.tags(&frame[12..link - 2]), &frame[link - 2..]].concat()
}

fn describe(outcome: &Outcome) -> String {
    let to = Backend::ALL.into_iter().find(|backend| outcome.bytes.starts_with(&backend.mac()));
    match outcome.action {
        Action::Pass => format!("Pass({:?})", outcome.books.pass_reason()),
        Action::Drop => format!("Drop({:?})", outcome.books.drop_reason()),
        action => match to {
            Some(backend) => format!("{action:?} to {backend:?}"),
            None => format!("{action:?}"),
        },
    }
}

/// Runs rows in two machines in step, each packet also cut at every length; (cuts, what went wrong).
pub(crate) fn cut_all(one: &mut impl Machine, other: &mut impl Machine, cases: &[Case]) -> (usize, Vec<String>) {
    let mut cuts = 0;
    let mut wrong = Vec::new();
    for case in cases {
        for (number, step) in case.steps.iter().enumerate() {
            let Step::Packet(frame, expect) = step else { continue };
            for len in lengths(frame.len()) {
                cuts += 1;
                let predicted = cut::predict(frame, expect, len);
                if let Err(message) = cut_at(one, other, case, number, &frame[..len], &predicted) {
                    wrong.push(format!("{}: step {number} cut to {len} bytes: {message}", case.what));
                    break;
                }
            }
        }
    }
    (cuts, wrong)
}

/// Every length of a packet with little payload; of a larger one every length of its headers, and some others.
fn lengths(whole: usize) -> impl Iterator<Item = usize> {
    const HEADERS: usize = 256;
    (0..=whole).filter(move |len| *len < HEADERS || len % 61 == 0 || whole - len < 8)
}

fn cut_at(
    one: &mut impl Machine,
    other: &mut impl Machine,
    case: &Case,
    number: usize,
    frame: &[u8],
    predicted: &Predicted,
) -> Result<(), String> {
    let a = replay(one, case, number, frame)?;
    let b = replay(other, case, number, frame)?;
    if let (Some(a), Some(b)) = (&a, &b) {
        same_outcome(a, b)?;
    }
    for outcome in [a, b].into_iter().flatten() {
        match predicted {
            Predicted::Expect(expect) => meets(frame, &outcome, expect)?,
            Predicted::Stays if matches!(outcome.action, Action::Pass | Action::Drop) => {}
            Predicted::Stays => return Err(format!("{} of a packet that is cut", describe(&outcome))),
        }
    }
    Ok(())
}

/// Whether two machines did the same with a packet, byte for byte and counter for counter.
///
/// # Errors
///
/// What differs.
pub(crate) fn same_outcome(a: &Outcome, b: &Outcome) -> Result<(), String> {
    if a == b {
        return Ok(());
    }
    let (one, other) = (describe(a), describe(b));
    let bytes = if a.bytes == b.bytes { String::new() } else { difference(&b.bytes, &a.bytes) };
    Err(format!("the machines differ: {one} and {other}{bytes}\n  {:?}\n  {:?}", a.books, b.books))
}

/// The steps before `number`, then a frame; `None` if the machine cannot be given it.
fn replay<M: Machine>(machine: &mut M, case: &Case, number: usize, frame: &[u8]) -> Result<Option<Outcome>, String> {
    if frame.len() < M::SHORTEST {
        return Ok(None);
    }
    let mut run = Run::begin_without_destinations(machine, case);
    for step in &case.steps[..number] {
        match step {
            // What is the host's may leave a note for the fragments that follow it, and a reset closes its flow.
            Step::Packet(
                frame,
                Expect::To(_)
                | Expect::Wrapped(..)
                | Expect::Translated(..)
                | Expect::Host
                | Expect::Pass(_)
                | Expect::Reply(_),
            ) => {
                run.machine.run(frame);
            }
            // Leaves nothing behind but the counters, and replies are not had without limit.
            Step::Packet(..) => {}
            Step::Wait(_) | Step::Slots(..) | Step::State(..) | Step::Limits(..) | Step::Exhaust => run.step(step)?,
            Step::Flows(_) | Step::Counted { .. } | Step::Table { .. } | Step::Unrouted(_) => {}
        }
    }
    run.last = Books::of(run.machine);
    run.packet(frame).map(Some).map_err(|message| format!("{}: {message}", M::NAME))
}

/// By destination id from 1: packets, bytes, flows new and closed.
pub(crate) fn destinations(machine: &impl Machine, services: usize) -> Vec<[u64; 4]> {
    let ids = 1..=(services * Backend::ALL.len()) as u32;
    ids.map(|id| {
        let counters = machine.destination_counters(id);
        let forwarded = counters.forwarded();
        [&forwarded.packets, &forwarded.bytes, &counters.flows_new, &counters.flows_closed].map(|counter| counter.get())
    })
    .collect()
}

/// The flows of the table that are within their time.
fn flows(machine: &impl Machine) -> Vec<(FlowState, Backend)> {
    let tables = machine.tables();
    let now = machine.now();
    let words = tables.flows.iter().flat_map(|bucket| &bucket.entries).map(|entry| entry.word());
    let live = words.filter_map(|word| {
        let state = word.state()?;
        let destination = tables.destinations[word.destination() as usize].state();
        let timeout = tables.services[destination.service as usize].timeout(state);
        let backend = Backend::ALL[(word.destination() as usize - 1) % Backend::ALL.len()];
        (word.idle(now) < timeout).then_some((state, backend))
    });
    sorted(live.collect())
}

fn sorted(mut flows: Vec<(FlowState, Backend)>) -> Vec<(FlowState, Backend)> {
    flows.sort_by_key(|(state, backend)| (*state as u8, *backend));
    flows
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, expected: &T) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}, seen {seen:?}")) }
}

fn hex(frame: &[u8]) -> String {
    frame.chunks(16).enumerate().fold(String::new(), |mut text, (i, line)| {
        let _ = write!(text, "\n    {:04x} {line:02x?}", 16 * i);
        text
    })
}

fn difference(seen: &[u8], expected: &[u8]) -> String {
    let first = seen.iter().zip(expected).position(|(a, b)| a != b);
    let at = first.unwrap_or(seen.len().min(expected.len()));
    format!(
        " first at byte {at}, {} of {} bytes\n  expected{}\n  seen{}",
        seen.len(),
        expected.len(),
        hex(expected),
        hex(seen)
    )
}
