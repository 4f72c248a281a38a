//! How a bar's value is computed out of figures.

use crate::figure::Figure;

/// Which of a figure's samples counts.
///
/// What the program itself costs (nanoseconds, instructions) is the least sample: everything that disturbs it only adds.
/// Rates and times in which a whole system takes part vary both ways: there it is the median. Where something must hold
/// each time it is the greatest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Statistic {
    Minimum,
    Median,
    Maximum,
}

/// One figure of a bar's section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    pub(super) case: &'static str,
    pub(super) subject: &'static str,
    pub(super) quantity: &'static str,
    /// The number of flows that the figure must be of; any if `None`.
    pub(super) flows: Option<u64>,
    pub(super) statistic: Statistic,
}

impl Term {
    /// The same of another subject.
    pub(super) const fn of(self, subject: &'static str) -> Self {
        Self { subject, ..self }
    }

    /// The same in another case.
    pub(super) const fn in_case(self, case: &'static str) -> Self {
        Self { case, ..self }
    }

    fn value(&self, section: &str, figures: &[Figure]) -> Option<f64> {
        let figure = figures.iter().find(|figure| {
            figure.section == section
                && figure.case == self.case
                && figure.subject == self.subject
                && figure.quantity == self.quantity
                && (self.flows.is_none() || figure.flows == self.flows)
        })?;
        Some(match self.statistic {
            Statistic::Minimum => figure.minimum,
            Statistic::Median => figure.median,
            Statistic::Maximum => figure.maximum,
        })
    }
}

/// The computation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Formula {
    /// The figure itself.
    Value(Term),
    /// One over another.
    Ratio(Term, Term),
    /// What `subject` adds to `direct`, over what `other` adds to it.
    Added { subject: Term, other: Term, direct: Term },
}

impl Formula {
    /// `None` without one of the figures, not a number if there is nothing to divide by.
    pub(super) fn value(&self, section: &str, figures: &[Figure]) -> Option<f64> {
        let value = |term: &Term| term.value(section, figures);
        match self {
            Self::Value(term) => value(term),
            Self::Ratio(above, below) => Some(ratio(value(above)?, value(below)?)),
            Self::Added { subject, other, direct } => {
                let direct = value(direct)?;
                Some(ratio(value(subject)? - direct, value(other)? - direct))
            }
        }
    }
}

/// A reference that costs nothing measurable was not measured properly: nothing can be said in relation to it.
fn ratio(above: f64, below: f64) -> f64 {
    if below > 0.0 { above / below } else { f64::NAN }
}
