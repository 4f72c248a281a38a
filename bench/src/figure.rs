//! What a bench finds.

use serde::{Deserialize, Serialize};

/// One quantity of one subject in one case, over all repetitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The section that measured it: `data-path`, `veth`, `services`, `flood`, `vm`, `control-plane`, `probes`,
    /// `schedulers`.
    pub(crate) section: String,
    /// What was done: `tcp4-hit`.
    pub(crate) case: String,
    /// Who did it: `evenkeel`, `mac-swap`, `textbook`, `nginx`.
    pub(crate) subject: String,
    /// What was measured: `raw`, `net`, `rate`, `p50`.
    pub(crate) quantity: String,
    /// Number of different flows, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flows: Option<u64>,
    /// `ns`, `Mpps`, `1/s`, `B`, …
    pub(crate) unit: String,
    /// The least of the samples.
    pub(crate) minimum: f64,
    /// Their median.
    pub(crate) median: f64,
    /// The greatest.
    pub(crate) maximum: f64,
    /// How many there are.
    pub(crate) samples: u32,
}

/// Names a figure before its samples are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// See [`Figure::section`].
    pub(crate) section: &'a str,
    /// See [`Figure::case`].
    pub(crate) case: &'a str,
    /// See [`Figure::subject`].
    pub(crate) subject: &'a str,
    /// See [`Figure::quantity`].
    pub(crate) quantity: &'a str,
    /// See [`Figure::flows`].
    pub(crate) flows: Option<u64>,
}

impl Figure {
    /// Of samples, of which there must be one at least.
    ///
    /// # Panics
    ///
    /// Without a sample, or with one that is no number.
    #[must_use]
    pub(crate) fn of(name: Name<'_>, unit: &str, samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(|a, b| a.partial_cmp(b).expect("samples are numbers"));
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Self {
            section: name.section.to_owned(),
            case: name.case.to_owned(),
            subject: name.subject.to_owned(),
            quantity: name.quantity.to_owned(),
            flows: name.flows,
            unit: unit.to_owned(),
            minimum: sorted[0],
            median,
            maximum: sorted[sorted.len() - 1],
            samples: sorted.len() as u32,
        }
    }

    /// Its name.
    #[must_use]
    pub(crate) fn name(&self) -> Name<'_> {
        Name {
            section: &self.section,
            case: &self.case,
            subject: &self.subject,
            quantity: &self.quantity,
            flows: self.flows,
        }
    }

    /// Whether it has this name.
    #[must_use]
    pub(crate) fn is(&self, name: Name<'_>) -> bool {
        self.name() == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Name<'static> =
        Name { section: "data-path", case: "tcp4-hit", subject: "evenkeel", quantity: "raw", flows: Some(1) };

    #[test]
    fn minimum_median_and_maximum_are_those_of_the_samples() {
        let odd = Figure::of(NAME, "ns", &[5.0, 1.0, 3.0]);
        assert_eq!((odd.minimum, odd.median, odd.maximum, odd.samples), (1.0, 3.0, 5.0, 3));
        let even = Figure::of(NAME, "ns", &[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((even.minimum, even.median, even.maximum, even.samples), (1.0, 2.5, 4.0, 4));
    }

    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        let figure = Figure::of(NAME, "ns", &[1.0]);
        assert!(figure.is(NAME));
        assert!(!figure.is(Name { flows: None, ..NAME }));
        assert!(!figure.is(Name { case: "tcp6-hit", ..NAME }));
    }
}
