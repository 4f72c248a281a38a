//! The command line, and which sections it asks for.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::section::{Run, Section};

/// The section that boots guests: it runs only where it is asked for.
const ON_REQUEST: &str = "vm";
/// The section that has a flag of its own.
const FLAGGED: &str = "schedulers";

/// Measures Evenkeel against references in the same run.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
pub(crate) struct Arguments {
    /// Sections to run; all but `vm` if none is named.
    sections: Vec<String>,
    /// Only what the bars need, in a few minutes.
    #[arg(long)]
    short: bool,
    /// Fail if a bar falls short, or has no figures though its section ran.
    #[arg(long)]
    pub(crate) check: bool,
    /// Print ratios to an earlier run's results.
    #[arg(long, value_name = "OLD.json")]
    pub(crate) compare: Option<PathBuf>,
    /// Measure this pinned XDP program as well.
    #[arg(long, value_name = "PIN")]
    program: Option<PathBuf>,
    /// Run the section `vm` too: IPVS and Evenkeel in a QEMU guest.
    #[arg(long)]
    vm: bool,
    /// The section `schedulers`: who gets flows with each scheduler, beside a model.
    #[arg(long)]
    schedulers: bool,
    /// Write the tables of `schedulers` into docs/schedulers.md.
    #[arg(long)]
    pub(crate) write_docs: bool,
    /// Print all results as JSON instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// CPU to measure on.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
}

impl Arguments {
    /// How sections are to be run.
    pub(crate) fn run(&self) -> Run {
        Run { short: self.short, cpu: self.cpu, program: self.program.clone() }
    }

    /// Those of `all` that are asked for, in their order there.
    ///
    /// # Errors
    ///
    /// If one is asked for that does not exist.
    pub(crate) fn select<'a>(&self, all: &'a [Section]) -> Result<Vec<&'a Section>> {
        let vm = self.vm.then_some(ON_REQUEST);
        for name in self.sections.iter().map(String::as_str).chain(vm) {
            let names: Vec<_> = all.iter().map(|section| section.name).collect();
            ensure!(names.contains(&name), "there is no section {name}; there are {}", names.join(", "));
        }
        Ok(all.iter().filter(|section| self.asks_for(section.name)).collect())
    }

    fn asks_for(&self, name: &str) -> bool {
        let named = self.sections.iter().any(|section| section == name) || name == FLAGGED && self.schedulers;
        named || if name == ON_REQUEST { self.vm } else { self.sections.is_empty() && !self.schedulers }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn selected(words: &[&str]) -> Result<Vec<&'static str>> {
        const fn section(name: &'static str) -> Section {
            Section { name, about: "", run: |_| Ok(Vec::new()) }
        }
        const ALL: &[Section] = &[section("data-path"), section("veth"), section("schedulers"), section("vm")];
        let arguments = Arguments::parse_from([&["bench"], words].concat());
        Ok(arguments.select(ALL)?.iter().map(|section| section.name).collect())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn guests_are_booted_only_on_request() {
        for (words, expected) in [
            (&[][..], &["data-path", "veth", "schedulers"][..]),
            (&["--vm"], &["data-path", "veth", "schedulers", "vm"]),
            (&["--schedulers"], &["schedulers"]),
            (&["veth", "--schedulers"], &["veth", "schedulers"]),
            (&["veth"], &["veth"]),
            (&["veth", "--vm"], &["veth", "vm"]),
            (&["vm"], &["vm"]),
        ] {
            assert_eq!(selected(words).expect("they exist"), expected, "{words:?}");
        }
    }

    #[test]
    fn a_section_that_does_not_exist_is_an_error_with_those_that_do() {
        let error = selected(&["vteh"]).expect_err("misspelt").to_string();
        assert_eq!(error, "there is no section vteh; there are data-path, veth, schedulers, vm");
    }
}
