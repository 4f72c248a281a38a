//! Coming from IPVS: what `ipvsadm -S` or keepalived's file says, as our configuration, and what became of each line.
//!
//! [`ipvsadm`] and [`keepalived`] read their text into one neutral `model`; `map` finds what each thing is here, and
//! `output` writes it. What was written goes through [`crate::config::parse`], the check of `evenkeel check`: what that
//! refuses is taken out and reported, so whatever is handed out is accepted.
//!
//! ```text
//! ipvsadm -S -n ──► ipvsadm ───┐                           ┌──► configuration
//!                              ├──► model ──► map ──► output
//! keepalived.conf ► keepalived ┘                ▲          └──► report: a row for each line
//!                                               └─ config::parse
//! ```

pub mod ipvsadm;
pub mod keepalived;
mod map;
mod model;
mod output;
mod probes;
pub mod report;
mod scheduler;
mod values;

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::Serialize;

use self::report::{Ledger, Place};
pub use self::report::{Outcome, Report, Row};

/// What neither IPVS nor keepalived says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Interfaces that receive packets for VIPs; none: `eth0` is assumed, and said in the report.
    pub interfaces: Vec<String>,
    /// Outer source addresses or prefixes of tunnels, one for each family at most; needed where there are tunnels.
    pub tunnel_sources: Vec<IpNet>,
    /// Of keepalived's file: which lines with `@NAME` are taken, as its `--config-id`.
    pub config_id: Option<String>,
    /// The text of `/etc/services`, for ports with names.
    pub services: String,
}

/// A configuration that `evenkeel check` accepts, and what became of each line.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// The configuration file.
    pub configuration: String,
    /// A row for each line that was read.
    pub report: Report,
}

/// One thing that is wrong with what was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Line, from 1; 0: no place in the file.
    pub line: u32,
    /// Column in characters, from 1; 0: no place in the file.
    pub column: u32,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// All that is wrong with what was read; one line `FILE:LINE:COLUMN: reason; remedy` each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl std::error::Error for ImportError {}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { file, line, column, reason, remedy }) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match line {
                0 => write!(f, "{file}: {reason}; {remedy}")?,
                _ => write!(f, "{file}:{line}:{column}: {reason}; {remedy}")?,
            }
        }
        Ok(())
    }
}

/// What a reader notes as it goes: rows of the report, and what is wrong.
#[derive(Default)]
struct Context {
    ledger: Ledger,
    faults: Vec<(Place, String, String)>,
}

/// Most problems that are told at once: a file of another kind has one in each line.
const MOST_PROBLEMS: usize = 100;

impl Context {
    fn fault(&mut self, at: Place, reason: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push((at, reason.into(), remedy.into()));
    }

    /// Nothing if there was no fault.
    fn error(&self) -> Option<ImportError> {
        let mut faults = self.faults.clone();
        faults.sort();
        faults.dedup();
        let problem = |(at, reason, remedy): &(Place, String, String)| Problem {
            file: self.ledger.name(*at).to_owned(),
            line: at.line,
            column: at.column,
            reason: values::shown(reason),
            remedy: values::shown(remedy),
        };
        let problems: Vec<Problem> = faults.iter().take(MOST_PROBLEMS).map(problem).collect();
        (!problems.is_empty()).then_some(ImportError { problems })
    }
}

/// The outer source of tunnels to backends of a family.
fn tunnel_source(options: &Options, backend: IpAddr) -> Option<IpNet> {
    options.tunnel_sources.iter().copied().find(|source| source.addr().is_ipv4() == backend.is_ipv4())
}
