//! Everything that a run found.

use serde::{Deserialize, Serialize};

use crate::{figure::Figure, machine::Machine};

/// What a run found, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Where and when.
    #[serde(flatten)]
    pub(crate) machine: Machine,
    /// Whether only what the bars need was measured.
    pub(crate) short: bool,
    /// The sections that ran, those that failed included.
    pub(crate) sections: Vec<String>,
    /// What they found, in the order in which it was measured.
    pub(crate) figures: Vec<Figure>,
}

impl Results {
    /// `short` or `full`.
    pub(crate) const fn form(&self) -> &'static str {
        if self.short { "short" } else { "full" }
    }

    /// The figures section by section and, in them, case by case, as they first came.
    pub(crate) fn grouped(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for figure in &self.figures {
            match groups.iter_mut().find(|group| group.section == figure.section && group.case == figure.case) {
                Some(group) => group.figures.push(figure),
                None => groups.push(Group { section: &figure.section, case: &figure.case, figures: vec![figure] }),
            }
        }
        groups
    }
}

/// The figures of one case.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) section: &'a str,
    pub(crate) case: &'a str,
    pub(crate) figures: Vec<&'a Figure>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::figure::Name;

    /// One figure with this minimum and a median that is 1 greater.
    pub(crate) fn figure(
        [section, case, subject, quantity]: [&str; 4],
        flows: Option<u64>,
        unit: &str,
        minimum: f64,
    ) -> Figure {
        let name = Name { section, case, subject, quantity, flows };
        Figure::of(name, unit, &[minimum, minimum + 1.0, minimum + 2.0])
    }

    /// A short run with something of each plot.
    pub(crate) fn example() -> Results {
        let hit = |subject, quantity, flows, minimum| {
            figure(["data-path", "tcp4-hit", subject, quantity], Some(flows), "ns", minimum)
        };
        let rate =
            |subject, flows, minimum| figure(["veth", "tcp4-hit", subject, "rate"], Some(flows), "Mpps", minimum);
        let connections =
            |subject, minimum| figure(["services", "new-connections", subject, "rate"], None, "1/s", minimum);
        Results {
            machine: Machine {
                date: "2026-01-02T03:04:05Z".to_owned(),
                commit: "0123456789ab".to_owned(),
                kernel: "6.12.1".to_owned(),
                cpu: "Some CPU <fast>".to_owned(),
                cores: 2,
            },
            short: true,
            sections: ["data-path", "veth", "services"].map(str::to_owned).to_vec(),
            figures: vec![
                hit("mac-swap", "raw", 1, 40.0),
                hit("evenkeel", "raw", 1, 48.0),
                hit("evenkeel", "net", 1, 8.0),
                hit("textbook", "net", 1, 60.0),
                rate("mac-swap", 1, 1.1),
                rate("evenkeel", 1 << 20, 1.0),
                hit("evenkeel", "net", 1 << 20, 20.0),
                hit("textbook", "net", 1 << 20, 250.0),
                connections("direct", 13_000.0),
                connections("evenkeel", 11_000.0),
            ],
        }
    }

    #[test]
    fn a_case_is_one_group_whenever_its_figures_came() {
        let results = example();
        let groups: Vec<_> =
            results.grouped().iter().map(|group| (group.section.to_owned(), group.figures.len())).collect();
        let expected = [("data-path", 6), ("veth", 2), ("services", 2)];
        assert_eq!(groups, expected.map(|(section, figures)| (section.to_owned(), figures)));
    }
}
