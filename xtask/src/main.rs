//! Evenkeel's development commands, run as `cargo xtask COMMAND`: one command a file.

mod bench;
mod build;
mod demo;
mod lint;
mod progress;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets up, builds, tests, measures and checks Evenkeel.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing need, or say what is missing.
    Setup(setup::Options),
    /// Build the daemon with its XDP program.
    Build(build::Options),
    /// Show it at work: real servers, real traffic, a failure and a drain.
    Demo(demo::Options),
    /// Measure it against references: tables, JSON and a report with plots.
    Bench(bench::Options),
    /// Run the unit, packet and end-to-end tests, or a part of them.
    Test(test::Options),
    /// Check format, lints (for this machine and for BPF) and documentation.
    Lint,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::main(&options),
        Command::Build(options) => build::main(&options),
        Command::Demo(options) => demo::main(&options),
        Command::Bench(options) => bench::main(&options),
        Command::Test(options) => test::main(&options),
        Command::Lint => lint::main(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
