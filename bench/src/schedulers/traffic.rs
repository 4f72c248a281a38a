//! Flows that arrive, send and end, in simulated time: the same ones for whatever gives them their backends.
//!
//! ```text
//!   begin ──┬── data ── data ── … ── end        begins: Poisson, RATE a second
//!           └ after at most PERIOD              data:   every PERIOD, where somebody looks at it
//! ```

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration};

use anyhow::Result;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::pool::Backend;

/// New flows in a second.
const RATE: f64 = 500.0;
/// Seconds between two packets of a flow.
const PERIOD: f64 = 0.25;
/// Seconds between two looks at what the daemon has to do, which are as far apart in the daemon.
const TICK: f64 = 0.25;

/// Gives flows their backends.
pub(super) trait Balancer {
    /// A flow begins; returns the index of its backend.
    ///
    /// # Errors
    ///
    /// If it gets none.
    fn begin(&mut self, flow: u32) -> Result<usize>;

    /// A flow ends at the backend that it had.
    ///
    /// # Errors
    ///
    /// If it is at another now.
    fn end(&mut self, flow: u32, backend: usize) -> Result<()>;

    /// A flow sends a packet to the backend that it has.
    ///
    /// # Errors
    ///
    /// If it is at another now.
    fn data(&mut self, _flow: u32, _backend: usize) -> Result<()> {
        Ok(())
    }

    /// Whether it wants to hear of [`Self::data`].
    fn wants_data(&self) -> bool {
        false
    }

    /// So much time has gone by since the beginning.
    ///
    /// # Errors
    ///
    /// If what is due cannot be done.
    fn tick(&mut self, _now: Duration) -> Result<()> {
        Ok(())
    }
}

/// Which flows there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic<'a> {
    /// The backends, which say how long flows last.
    pub(super) backends: &'a [Backend],
    /// How many flows.
    pub(super) flows: u32,
    /// Other flows for another one.
    pub(super) seed: u64,
}

/// Who got what.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// Each backend's part of all flows, 0 to 1.
    pub(super) shares: Vec<f64>,
    /// Live flows of each backend at the end.
    pub(super) live: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Begin(u32),
    Data(u32, usize, f64),
    End(u32, usize),
    Tick,
}

/// Something that happens so many seconds after the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Event {
    at: f64,
    what: What,
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What comes first is the greatest: the heap gives that.
impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at)
    }
}

impl Traffic<'_> {
    /// Lets it happen, until the last flow has begun.
    ///
    /// # Errors
    ///
    /// Those of the balancer.
    pub(super) fn run(&self, balancer: &mut impl Balancer) -> Result<Outcome> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut events =
            BinaryHeap::from([Event { at: 0.0, what: What::Tick }, Event { at: 0.0, what: What::Begin(0) }]);
        let (mut counts, mut live) = (vec![0_u32; self.backends.len()], vec![0_u32; self.backends.len()]);
        while let Some(Event { at, what }) = events.pop() {
            match what {
                What::Begin(flow) => {
                    let backend = balancer.begin(flow)?;
                    counts[backend] += 1;
                    live[backend] += 1;
                    let end = at + self.backends[backend].seconds * random.random_range(0.8..1.2);
                    let first = at + PERIOD * random.random::<f64>();
                    if end.is_finite() {
                        events.push(Event { at: end, what: What::End(flow, backend) });
                    }
                    if balancer.wants_data() && first < end {
                        events.push(Event { at: first, what: What::Data(flow, backend, end) });
                    }
                    if flow + 1 == self.flows {
                        break;
                    }
                    let wait = -(1.0 - random.random::<f64>()).ln() / RATE;
                    events.push(Event { at: at + wait, what: What::Begin(flow + 1) });
                }
                What::Data(flow, backend, end) => {
                    balancer.data(flow, backend)?;
                    if at + PERIOD < end {
                        events.push(Event { at: at + PERIOD, what });
                    }
                }
                What::End(flow, backend) => {
                    live[backend] -= 1;
                    balancer.end(flow, backend)?;
                }
                What::Tick => {
                    balancer.tick(Duration::from_secs_f64(at))?;
                    events.push(Event { at: at + TICK, what });
                }
            }
        }
        let shares = counts.iter().map(|count| f64::from(*count) / f64::from(self.flows)).collect();
        Ok(Outcome { shares, live })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedulers::pool;

    /// Gives flows to backends in turn, and notes what it hears.
    #[derive(Default)]
    struct InTurn {
        backends: usize,
        begun: u32,
        ended: u32,
        data: u32,
        ticks: Vec<Duration>,
    }

    impl Balancer for InTurn {
        fn begin(&mut self, flow: u32) -> Result<usize> {
            self.begun += 1;
            Ok(flow as usize % self.backends)
        }

        fn end(&mut self, flow: u32, backend: usize) -> Result<()> {
            assert_eq!(flow as usize % self.backends, backend);
            self.ended += 1;
            Ok(())
        }

        fn data(&mut self, _: u32, _: usize) -> Result<()> {
            self.data += 1;
            Ok(())
        }

        fn wants_data(&self) -> bool {
            true
        }

        fn tick(&mut self, now: Duration) -> Result<()> {
            self.ticks.push(now);
            Ok(())
        }
    }

    #[test]
    fn flows_come_at_their_rate_send_as_long_as_they_live_and_end() {
        let backends = pool::unequal(8);
        let mut balancer = InTurn { backends: 8, ..InTurn::default() };
        let outcome = Traffic { backends: &backends, flows: 20_000, seed: 1 }.run(&mut balancer).expect("no error");
        assert_eq!(outcome.shares, [0.125; 8]);
        let live: u32 = outcome.live.iter().sum();
        assert_eq!((balancer.begun, balancer.ended + live), (20_000, 20_000));
        // 500 a second for 2.85 s on average, each with four packets a second.
        assert!(live.abs_diff(1425) < 150, "{live}");
        let each = f64::from(balancer.data) / f64::from(balancer.ended);
        assert!((each - 11.4).abs() < 1.0, "{each}");
        let length = balancer.ticks.last().expect("there were some").as_secs_f64();
        assert!((length - 40.0).abs() < 2.0, "{length}");
        assert!(balancer.ticks.is_sorted() && balancer.ticks.len().abs_diff(160) < 8, "{}", balancer.ticks.len());
    }

    #[test]
    fn endless_flows_stay() {
        let backends = pool::endless(4);
        let mut balancer = InTurn { backends: 4, ..InTurn::default() };
        let outcome = Traffic { backends: &backends, flows: 1000, seed: 1 }.run(&mut balancer).expect("no error");
        assert_eq!((outcome.live, balancer.ended), (vec![250; 4], 0));
    }
}
