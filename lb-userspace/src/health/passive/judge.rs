//! Which backends of a service stand out by their connections that were not answered.
//!
//! A backend is compared with the median of the others, and has to be worse by a fixed margin. Not by a number of standard deviations:
//! where all answer nearly everything the deviation is so small that a single lost packet stands out, and with few backends the one at
//! fault makes it so large that nothing does. The median is the upper one, so where half of the others are at fault nobody stands out, nor
//! if all are, or the network of the clients.
//!
//! A client whose packets come and whose answers are lost, or a flood, may meet one backend alone, if the scheduler goes by source. That
//! one then still answers everybody else, as often as the others do. So a backend stands out only if it also answers less for its
//! weight than the median of the others.

use super::Totals;
use crate::config::model::PassiveHealth;

/// What is judged of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What was counted in an interval.
    pub totals: Totals,
    /// Its weight.
    pub weight: u32,
}

impl Sample {
    fn answered_by_weight(&self) -> f64 {
        self.totals.answered() as f64 / f64::from(self.weight.max(1))
    }
}

/// A backend that stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// Its place among the samples.
    pub index: usize,
    /// The share that it did not answer, 0 to 1.
    pub failure: f64,
    /// The median of the others.
    pub others: f64,
}

/// Those that stand out among backends of a service, the worst first.
#[must_use]
pub fn outliers(rules: &PassiveHealth, samples: &[Sample]) -> Vec<Outlier> {
    let enough: Vec<usize> =
        (0..samples.len()).filter(|i| samples[*i].totals.opened >= u64::from(rules.min_connections)).collect();
    let margin = f64::from(rules.failure_margin) / 100.0;
    let mut found = Vec::new();
    for &index in &enough {
        let of_others = |value: &dyn Fn(&Sample) -> f64| -> Vec<f64> {
            let mut values: Vec<f64> = enough.iter().filter(|i| **i != index).map(|i| value(&samples[*i])).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let failures = of_others(&|sample| sample.totals.failure());
        let Some(others) = failures.get(failures.len() / 2).copied() else { continue };
        let answered = of_others(&Sample::answered_by_weight);
        let usual = answered[(answered.len() - 1) / 2];
        let (sample, failure) = (&samples[index], samples[index].totals.failure());
        if failure - others >= margin && sample.answered_by_weight() < usual {
            found.push(Outlier { index, failure, others });
        }
    }
    found.sort_by(|a, b| b.failure.total_cmp(&a.failure).then(a.index.cmp(&b.index)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(opened: u64, failed: u64) -> Sample {
        Sample { totals: Totals { opened, confirmed: opened - failed, ..Totals::default() }, weight: 1 }
    }

    const NOBODY: [usize; 0] = [];

    fn found(samples: &[(u64, u64)]) -> Vec<usize> {
        let samples: Vec<_> = samples.iter().map(|(opened, failed)| sample(*opened, *failed)).collect();
        outliers(&PassiveHealth::default(), &samples).iter().map(|outlier| outlier.index).collect()
    }

    #[test]
    fn one_that_does_not_answer_stands_out_among_those_that_do() {
        assert_eq!(found(&[(100, 0), (100, 100), (100, 0)]), [1]);
        assert_eq!(found(&[(100, 1), (100, 31)]), [1]);
        assert_eq!(found(&[(100, 2), (100, 31)]), NOBODY);
        assert_eq!(found(&[(100, 90), (100, 0), (100, 0), (100, 100), (100, 0)]), [3, 0]);
    }

    #[test]
    fn a_client_that_reset_was_answered() {
        let scanned = Totals { opened: 100, aborted: 100, ..Totals::default() };
        let samples = [sample(100, 0), Sample { totals: scanned, weight: 1 }, sample(100, 0)];
        assert_eq!(outliers(&PassiveHealth::default(), &samples), []);
    }

    #[test]
    fn where_all_or_most_are_at_fault_nobody_stands_out() {
        assert_eq!(found(&[(100, 100), (100, 100), (100, 100)]), NOBODY);
        assert_eq!(found(&[(100, 60), (100, 50), (100, 70)]), NOBODY);
        assert_eq!(found(&[(100, 100), (100, 100), (100, 0)]), NOBODY);
        assert_eq!(found(&[(100, 100), (100, 100), (100, 100), (100, 0), (100, 0)]), NOBODY);
    }

    #[test]
    fn too_few_connections_tell_nothing() {
        assert_eq!(found(&[(19, 19), (100, 0), (100, 0)]), NOBODY);
        // Nor is there anybody to compare with.
        assert_eq!(found(&[(100, 100), (19, 0)]), NOBODY);
        assert_eq!(found(&[(100, 100)]), NOBODY);
        assert_eq!(found(&[]), NOBODY);
    }

    /// As with `source-hash`: all of a client, or of a flood, meets one backend.
    #[test]
    fn one_that_answers_everybody_else_does_not_stand_out() {
        assert_eq!(found(&[(1100, 1000), (100, 0), (100, 0)]), NOBODY);
        assert_eq!(found(&[(1090, 1000), (100, 0), (100, 0)]), [0]);
        // It has half of the work to do.
        let samples = [Sample { totals: sample(60, 30).totals, weight: 1 }, sample(100, 0)];
        let half = [samples[0], Sample { weight: 4, ..samples[1] }];
        assert_eq!(outliers(&PassiveHealth::default(), &samples).len(), 1);
        assert_eq!(outliers(&PassiveHealth::default(), &half).len(), 0);
    }
}
