//! Two runs of one packet function: random packets and random changes of tables, given to the function in this process and
//! to the loaded program, which have to agree after each step on the packet's bytes, the verdict, every counter, the
//! budget for replies and the whole flow table.
//!
//! ```text
//! seed ── generate ── steps ──┬─ step::apply ── memory ──┐
//!                             └─ step::apply ── kernel ──┴─ pair: same outcome? ── no: shrunk, printed
//! ```
//!
//! Steps come in runs of up to [`STEPS_IN_A_RUN`], each from fresh tables and a seed of its own, so that a failure can be
//! shrunk and replayed alone. The kernel's clock cannot be held; [`clock`] says why that does no harm.
//!
//! [`recipe`] makes packets, [`setting`] is the configuration that they meet.

mod clock;
mod generate;
mod pair;
mod recipe;
mod setting;
mod step;
mod tally;

use std::{cell::RefCell, panic, thread};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};

use self::{pair::Pair, setting::FLOW_BUCKETS, step::Step};
use crate::{
    cpus::{cpus, pin},
    effort,
};

/// Steps of one run, at most.
const STEPS_IN_A_RUN: usize = 400;
/// Steps in all; fifty times as many for a long test.
const STEPS: usize = 100_000;
/// Attempts to make a failed run shorter, at most.
const SHRINKS: u32 = 20_000;

#[test]
fn memory_and_kernel_agree_after_each_random_step() {
    // A thread of its own ends with its affinity; counters and budgets are those of one CPU.
    if let Err(panic) = thread::spawn(agree).join() {
        panic::resume_unwind(panic);
    }
}

fn agree() {
    let cpu = cpus()[0];
    pin(cpu);
    let Some(pairs) = FLOW_BUCKETS.iter().map(|buckets| Pair::new(*buckets, cpu)).collect::<Option<Vec<_>>>() else {
        return;
    };
    let pairs: Vec<_> = pairs.into_iter().map(RefCell::new).collect();
    let seed = effort::seed();
    let steps = effort::times(STEPS);
    println!("differential: {steps} steps, seed {seed}");
    let done = || pairs.iter().map(|pair| pair.borrow().steps()).sum::<usize>();
    for run in (0..).take_while(|_| done() < steps) {
        run_from(seed.wrapping_add(run), &pairs);
    }
    let mut sum = pairs[0].borrow().tally().clone();
    pairs[1..].iter().for_each(|pair| sum.add(pair.borrow().tally()));
    println!("differential: {} steps, seed {seed}\n{sum}", done());
    let missed = sum.missed();
    assert!(missed.is_empty(), "the steps of seed {seed} never led to {missed:?}");
}

/// One run of steps; fails with the fewest steps that show the difference.
fn run_from(seed: u64, pairs: &[RefCell<Pair>]) {
    let config = Config {
        cases: 1,
        max_shrink_iters: SHRINKS,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let strategy = (0..pairs.len(), generate::steps(STEPS_IN_A_RUN)).prop_map(|(pair, steps)| Script { pair, steps });
    let outcome = TestRunner::new(config).run(&strategy, |script| {
        let mut pair = pairs[script.pair].borrow_mut();
        pair.begin();
        script.steps.iter().enumerate().try_for_each(|(number, step)| {
            let failed = |message| TestCaseError::fail(format!("step {number}: {message}"));
            pair.step(step).map_err(failed)
        })
    });
    if let Err(TestError::Fail(reason, script)) = outcome {
        let buckets = FLOW_BUCKETS[script.pair];
        let steps = script.steps.iter().enumerate().map(|(number, step)| format!("  {number:3} {step:?}\n"));
        let replay = format!("cargo xtask test packets differential --seed {seed}");
        let steps = steps.collect::<String>();
        panic!("memory and kernel differ; {buckets} flow buckets; again by: {replay}\n{reason}\nsteps:\n{steps}");
    }
}

/// The steps of a run, and the size of table that they meet.
#[derive(Clone, Debug)]
struct Script {
    pair: usize,
    steps: Vec<Step>,
}
