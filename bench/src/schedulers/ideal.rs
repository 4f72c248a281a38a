//! What a scheduler would do that knows everything at every moment: the model, written without the data path's code.
//!
//! By weight there is a formula. By score nobody has one for unequal times, so there the same traffic is given out by
//! somebody with perfect knowledge, several times, which also tells how far chance moves a share.

use anyhow::Result;
use evenkeel::config::model::SchedulerKind;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IteratorRandom as _};

use super::{
    pool::{Backend, by_weight},
    traffic::{Balancer, Traffic},
};

/// How often the traffic is given out.
const RUNS: usize = 12;
/// Backends that are all looked at; with more of them two are.
const ALL: usize = 64;

/// What a share should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    /// Each backend's share, 0 to 1.
    pub(super) shares: Vec<f64>,
    /// How far chance moves each: one standard deviation.
    pub(super) deviations: Vec<f64>,
}

impl Model {
    /// Of a scheduler with this traffic.
    ///
    /// # Errors
    ///
    /// None that a balancer with perfect knowledge could have.
    pub(super) fn of(kind: SchedulerKind, traffic: &Traffic<'_>) -> Result<Self> {
        let backends = traffic.backends;
        let drawn = |share: &f64| (share * (1.0 - share) / f64::from(traffic.flows)).sqrt();
        let even = || vec![1.0 / backends.len() as f64; backends.len()];
        Ok(match kind {
            SchedulerKind::Maglev | SchedulerKind::SourceHash | SchedulerKind::Random => {
                let shares = by_weight(backends);
                Self { deviations: shares.iter().map(drawn).collect(), shares }
            }
            SchedulerKind::RoundRobin => Self { shares: even(), deviations: vec![0.0; backends.len()] },
            SchedulerKind::WeightedRoundRobin => {
                Self { shares: by_weight(backends), deviations: vec![0.0; backends.len()] }
            }
            SchedulerKind::LeastConnections
            | SchedulerKind::LeastBandwidth
            | SchedulerKind::LeastResponseTime
            | SchedulerKind::PowerOfTwo => Self::simulated(kind, traffic)?,
        })
    }

    fn simulated(kind: SchedulerKind, traffic: &Traffic<'_>) -> Result<Self> {
        let runs: Vec<Vec<f64>> = (1..=RUNS as u64)
            .map(|run| {
                let traffic = Traffic { seed: traffic.seed + run, ..*traffic };
                Ok(traffic.run(&mut Knowing::new(kind, traffic.backends, run))?.shares)
            })
            .collect::<Result<_>>()?;
        // Equal backends have equal shares, so each of them says more of all.
        let alike = |backend: usize| {
            let all = traffic.backends.iter().enumerate();
            all.filter(move |(_, other)| **other == traffic.backends[backend]).map(|(other, _)| other)
        };
        let samples = |backend: usize| -> Vec<f64> {
            alike(backend).flat_map(|other| runs.iter().map(move |shares| shares[other])).collect()
        };
        let (shares, deviations) = (0..traffic.backends.len()).map(|backend| mean(&samples(backend))).unzip();
        Ok(Self { shares, deviations })
    }
}

/// The mean and the standard deviation.
fn mean(samples: &[f64]) -> (f64, f64) {
    let number = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / number;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, (squares / (number - 1.0)).sqrt())
}

/// Knows how many flows each backend has.
struct Knowing<'a> {
    kind: SchedulerKind,
    backends: &'a [Backend],
    live: Vec<u32>,
    random: StdRng,
}

impl<'a> Knowing<'a> {
    fn new(kind: SchedulerKind, backends: &'a [Backend], seed: u64) -> Self {
        // Not the random numbers of the traffic.
        Self { kind, backends, live: vec![0; backends.len()], random: StdRng::seed_from_u64(!seed) }
    }

    /// What is to be the least: flows, the new one counted, over weight; with the time that each takes, if that counts. All
    /// flows send as much as each other, so bandwidth is their number.
    fn cost(&self, backend: usize) -> f64 {
        let Backend { weight, seconds } = self.backends[backend];
        let time = if self.kind == SchedulerKind::LeastResponseTime { seconds } else { 1.0 };
        f64::from(self.live[backend] + 1) / f64::from(weight) * time
    }

    fn least(&mut self, among: impl Iterator<Item = usize> + Clone) -> usize {
        let costs = among.clone().map(|backend| self.cost(backend));
        let lowest = costs.fold(f64::INFINITY, f64::min);
        let best: Vec<usize> = among.filter(|backend| self.cost(*backend) <= lowest * (1.0 + 1e-9)).collect();
        best[self.random.random_range(0..best.len())]
    }
}

impl Balancer for Knowing<'_> {
    fn begin(&mut self, _: u32) -> Result<usize> {
        let all = 0..self.backends.len();
        let backend = if self.kind == SchedulerKind::PowerOfTwo || all.len() > ALL {
            let two = all.choose_multiple(&mut self.random, 2);
            self.least(two.into_iter())
        } else {
            self.least(all)
        };
        self.live[backend] += 1;
        Ok(backend)
    }

    fn end(&mut self, _: u32, backend: usize) -> Result<()> {
        self.live[backend] -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedulers::pool;

    fn model(kind: SchedulerKind) -> Model {
        let backends = pool::unequal(8);
        Model::of(kind, &Traffic { backends: &backends, flows: 20_000, seed: 0 }).expect("nothing can go wrong")
    }

    /// What the shares come to where backends have many flows.
    fn in_the_limit(power: i32) -> Vec<f64> {
        let parts: Vec<f64> = pool::unequal(8).iter().map(|b| f64::from(b.weight) / b.seconds.powi(power)).collect();
        parts.iter().map(|part| part / parts.iter().sum::<f64>()).collect()
    }

    /// Not that of two choices: no backend is among them more often than two times in eight.
    #[test]
    fn models_by_score_are_near_their_limits() {
        assert!(model(SchedulerKind::PowerOfTwo).shares.iter().all(|share| *share < 0.26));
        for (kind, power) in [
            (SchedulerKind::LeastConnections, 1),
            (SchedulerKind::LeastBandwidth, 1),
            (SchedulerKind::LeastResponseTime, 2),
        ] {
            for (share, limit) in model(kind).shares.iter().zip(in_the_limit(power)) {
                assert!((share / limit - 1.0).abs() < 0.06, "{}: {share}, {limit}", kind.name());
            }
        }
    }

    #[test]
    fn models_by_weight_are_the_weights() {
        assert_eq!(model(SchedulerKind::RoundRobin).shares, [0.125; 8]);
        for kind in [SchedulerKind::Maglev, SchedulerKind::WeightedRoundRobin] {
            assert_eq!(model(kind).shares[..4], [0.05, 0.1, 0.15, 0.2]);
        }
        // Binomial: √(0.05 × 0.95 / 20 000).
        assert!((model(SchedulerKind::Random).deviations[0] - 0.00154).abs() < 0.00001);
        assert_eq!(mean(&[1.0, 2.0, 3.0]), (2.0, 1.0));
    }
}
