//! What Evenkeel has to reach, computed out of the figures of one run: the machine's speed does not matter then.
//!
//! [`list`] has the bars, [`formula`] how one is computed.

mod formula;
mod list;

use std::fmt;

pub(crate) use list::BARS;

use crate::figure::Figure;
use formula::Formula;

/// Something that must hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    /// What it is about, in a few words.
    pub(crate) name: &'static str,
    /// The section whose figures it needs.
    pub(crate) section: &'static str,
    /// How it is computed.
    formula: Formula,
    /// What the result must be.
    pub(crate) bound: Bound,
    /// Where that is not reached yet: what a change must not make worse, which is all that `--check` asks for then.
    kept: Option<Bound>,
}

/// What a result must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// This or less.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// This or more.
    AtLeast(f64),
}

impl Bound {
    /// A value that is no number is never allowed.
    fn allows(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
            Self::Below(bound) => write!(f, "< {bound}"),
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
        }
    }
}

/// How a run stands to a bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It holds, with this value.
    Ok(f64),
    /// It does not. The value is no number if what it is divided by is not above 0.
    Short(f64),
    /// A figure is missing.
    NotMeasured,
}

impl Outcome {
    /// What was measured, if anything.
    pub(crate) const fn value(self) -> Option<f64> {
        match self {
            Self::Ok(value) | Self::Short(value) => Some(value),
            Self::NotMeasured => None,
        }
    }

    /// In a word or two.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Short(_) => "short",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Bar {
    /// How these figures stand to it.
    pub(crate) fn outcome(&self, figures: &[Figure]) -> Outcome {
        match self.formula.value(self.section, figures) {
            Some(value) if self.bound.allows(value) => Outcome::Ok(value),
            Some(value) => Outcome::Short(value),
            None => Outcome::NotMeasured,
        }
    }

    /// Why `--check` must fail on its account: it falls short (of what is kept, if that is less), or its section ran and left
    /// it without figures.
    fn complaint(&self, figures: &[Figure], ran: &[String]) -> Option<String> {
        let asked = self.kept.unwrap_or(self.bound);
        match self.outcome(figures) {
            Outcome::Ok(_) => None,
            Outcome::Short(value) if asked.allows(value) => None,
            Outcome::Short(value) => Some(format!("{}: {value:.3}, must be {asked}", self.name)),
            Outcome::NotMeasured => {
                let ran = ran.iter().any(|section| section == self.section);
                ran.then(|| format!("{}: section {} ran but did not measure it", self.name, self.section))
            }
        }
    }
}

/// Sections with bars for which `--check` must fail.
pub(crate) fn complaining(bars: &[Bar], figures: &[Figure], ran: &[String]) -> Vec<&'static str> {
    let mut sections: Vec<_> =
        bars.iter().filter(|bar| bar.complaint(figures, ran).is_some()).map(|bar| bar.section).collect();
    sections.dedup();
    sections
}

/// Everything for which `--check` must fail, one line each.
pub(crate) fn complaints(bars: &[Bar], figures: &[Figure], ran: &[String]) -> Vec<String> {
    bars.iter().filter_map(|bar| bar.complaint(figures, ran)).collect()
}

#[cfg(test)]
mod tests;
