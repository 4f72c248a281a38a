//! A simulator of what decides who gets flows: the machines of the targets' health, the reconciler and the planner, over tables
//! in memory, through many random events drawn from a seed. No clock, no socket.
//!
//! ```text
//!   event ─┬─▶ Machine per target ─▶ Reconciler ─▶ tables ─▶ packets       (and a twin of it all)
//!          └─▶ Oracle ─────────────── who should take flows ──┘ the same?
//! ```
//!
//! After each event:
//! - the tables let exactly those take flows that the oracle names: nobody who is down (unless the service fails open), drained,
//!   disabled, without weight or removed;
//! - the same again is no news: nothing is written;
//! - the twin, which was told the same, wrote the same.
//!
//! `EVENKEEL_TEST_SEED` repeats a run, `EVENKEEL_TEST_LONG` asks for a hundred times as many events.

#[path = "simulator/oracle.rs"]
mod oracle;
#[path = "simulator/simulation.rs"]
mod simulation;
#[path = "simulator/world.rs"]
mod world;

use std::{collections::BTreeMap, env, time::UNIX_EPOCH};

use rand::{SeedableRng as _, rngs::StdRng};

use self::simulation::Simulation;

/// Events of one run, which begins with empty tables.
const EVENTS: usize = 2_000;
const RUNS: u64 = 10;
const LONG_RUNS: u64 = 1_000;

#[test]
fn takers_are_who_they_should_be_and_nothing_oscillates() {
    let seed = match env::var("EVENKEEL_TEST_SEED") {
        Ok(text) => text.parse().expect("EVENKEEL_TEST_SEED is a number"),
        Err(_) => UNIX_EPOCH.elapsed().map_or(1, |time| time.as_micros() as u64),
    };
    println!("EVENKEEL_TEST_SEED={seed}");
    let runs = if env::var_os("EVENKEEL_TEST_LONG").is_some() { LONG_RUNS } else { RUNS };
    let (mut random, mut seen) = (StdRng::seed_from_u64(seed), BTreeMap::<&str, u64>::new());
    for run in 0..runs {
        let mut simulation = Simulation::new(&mut random);
        for number in 0..EVENTS {
            let event = world::event(&mut random);
            simulation.happen(&event);
            simulation.check(&format!("seed {seed}, run {run}, event {number}: {event:?}"));
        }
        simulation.finish();
        simulation.seen().into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    println!("{} events: {seen:?}", runs * EVENTS as u64);
    for (what, count) in seen {
        assert!(count > 0, "never: {what}");
    }
}
