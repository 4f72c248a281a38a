//! Measures Evenkeel against references in the same run; started by `cargo xtask bench`.

mod data_path;
mod figure;
mod section;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use section::{Run, Section};

const SECTIONS: &[Section] = &[data_path::SECTION];

/// Measures Evenkeel against references in the same run.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Sections to run; all if none is named.
    sections: Vec<String>,
    /// Only what the bars need, in under two minutes.
    #[arg(long)]
    short: bool,
    /// Exit with 1 if a bar is missed.
    #[arg(long)]
    check: bool,
    /// Print ratios to an earlier run's results.
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Measure this pinned XDP program as well.
    #[arg(long, value_name = "PIN")]
    program: Option<PathBuf>,
    /// CPU to measure on.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
}

fn main() -> ExitCode {
    match bench(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<()> {
    let run = Run { short: arguments.short, cpu: arguments.cpu, program: arguments.program.clone() };
    pin(run.cpu)?;
    let mut figures = Vec::new();
    for section in SECTIONS {
        if arguments.sections.is_empty() || arguments.sections.iter().any(|name| name == section.name) {
            eprintln!("{}: {}", section.name, section.about);
            figures.extend((section.run)(&run)?);
        }
    }
    for figure in &figures {
        println!(
            "{:30} {:10} {:9} {:>9} {:>9.1} {:>9.1}",
            figure.case,
            figure.subject,
            figure.quantity,
            figure.flows.unwrap_or(0),
            figure.minimum,
            figure.median
        );
    }
    Ok(())
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("there is no CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}
