//! Inside the guest. This program is its first process and, under another name, the daemon.
//!
//! ```text
//!  client                    balancer                     server
//! ┌───────────┐             ┌─────────────┐             ┌───────────┐
//! │ generator ├ c0 ───── l0 ┤  a subject  ├ l1 ───── s0 ┤ sink      │
//! └───────────┘             └─────────────┘             └───────────┘
//!  direct: c0 ───────────────────────────────────────── s0
//! ```
//!
//! - [`stage`]: the namespaces and cables of the picture.
//! - [`traffic`]: generator and sink. [`subject`]: the balancers, of which [`evenkeel`] and [`peers`] are two kinds.
//! - [`measure`]: what is measured, in which order. [`alone`]: Evenkeel's program without the way to it and from it.

mod alone;
mod evenkeel;
mod measure;
mod peers;
mod stage;
mod subject;
mod traffic;

use std::{fs::File, io::Write, process::ExitCode};

use anyhow::Result;
use evenkeel_tests::vm::{DAEMON, INIT, first_process};

use super::report::Line;

/// Does what is to be done under the name that this program was started by; `None` outside of the guest.
pub(crate) fn main() -> Option<ExitCode> {
    match std::env::args_os().next()?.to_str()? {
        DAEMON => Some(::evenkeel::cli::main()),
        INIT if std::process::id() == 1 => Some(measure_and_end()),
        _ => None,
    }
}

fn measure_and_end() -> ExitCode {
    match prepare() {
        Ok(mut report) => {
            let outcome = measure::run(&mut report);
            let last = outcome.map_or_else(|error| Line::Failed(format!("{error:#}")), |()| Line::Done);
            report.send(&last).unwrap_or_else(|error| eprintln!("{error:#}"));
        }
        Err(error) => eprintln!("{error:#}"),
    }
    first_process::end()
}

/// Mounts and loads what is needed, and opens the way to the host.
fn prepare() -> Result<Report> {
    first_process::prepare()?;
    // IPVS's table of connections is too small as it comes.
    first_process::load_module(&["ip_vs", "conn_tab_bits=18"])?;
    first_process::report().map(Report)
}

/// The way to the host.
struct Report(File);

impl Report {
    fn send(&mut self, line: &Line) -> Result<()> {
        Ok(self.0.write_all(line.text().as_bytes())?)
    }

    fn progress(&mut self, what: &str) -> Result<()> {
        self.send(&Line::Progress(what.to_owned()))
    }
}
