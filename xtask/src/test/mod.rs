//! `cargo xtask test`: everything, or a part of it.

mod kernels;
mod runs;
mod summary;

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::{
    runs::{Kind, Run, selection},
    summary::Counts,
};
use crate::{
    build,
    setup::{self, Purpose},
    workspace,
};

/// What `cargo xtask test` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// `unit`, `packets`, `e2e` or `kernels` (default: all), then parts of the names of the tests to run.
    #[arg(value_name = "PART|FILTER")]
    words: Vec<String>,
    /// Fifty times the usual work for the tests that draw random steps.
    #[arg(long)]
    long: bool,
    /// The seed that they draw from, to repeat a failure; each prints its own.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

impl Options {
    /// What the tests are told by their environment.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let long = self.long.then(|| ("EVENKEEL_TEST_LONG", "1".to_owned()));
        let seed = self.seed.map(|seed| ("EVENKEEL_TEST_SEED", seed.to_string()));
        long.into_iter().chain(seed).collect()
    }
}

/// The command.
///
/// # Errors
///
/// When the set-up is incomplete, the daemon does not build, a test fails or none matches.
pub(crate) fn main(options: &Options) -> Result<()> {
    let (kinds, filters) = selection(&options.words);
    let with_tools = kinds.contains(&Kind::EndToEnd);
    setup::ensure(if with_tools { &[Purpose::Build, Purpose::Test] } else { &[Purpose::Build] })?;
    // Asked for by name it is set up; as one part of everything it may be missing, as it is large.
    if kinds == [Kind::Kernels] {
        setup::ensure(&[Purpose::Test, Purpose::Vm])?;
    }
    let targets = runs::targets(&workspace::metadata()?);
    if with_tools {
        build::next_layout()?;
    }
    let daemon = build::daemon(false).map(|built| built.binary);
    let mut total = Counts::default();
    for kind in kinds {
        let outcome = match (kind, &daemon) {
            (Kind::Kernels, Ok(daemon)) => kernels::run(daemon, &filters, &options.variables()),
            _ => {
                let run = runs::run_of(kind, &filters, &targets).context("evenkeel-tests has no such target");
                run.and_then(|run| execute(&run, &daemon, &options.variables()))
            }
        };
        total += outcome.unwrap_or_else(|error| broken(kind, &error));
    }
    println!("\n{total}");
    verdict(total)
}

fn verdict(total: Counts) -> Result<()> {
    if total.failed > 0 {
        bail!("tests failed")
    }
    // A misspelt filter must not look like a success.
    if total.passed == 0 {
        bail!("no test was run")
    }
    Ok(())
}

/// What could not be run counts as one failure, so that the sum never looks clean.
fn broken(kind: Kind, why: &anyhow::Error) -> Counts {
    println!("the {kind} tests did not run: {why:#}");
    Counts { failed: 1, ..Counts::default() }
}

/// Runs one `cargo test`. The crates' own tests need no daemon, and may say why it does not build.
fn execute(run: &Run, daemon: &Result<PathBuf>, variables: &[(&str, String)]) -> Result<Counts> {
    println!("\n{}: cargo {}", run.kind, run.arguments.join(" "));
    let mut cargo = workspace::cargo();
    cargo.args(&run.arguments).envs(variables.iter().cloned());
    match daemon {
        Ok(binary) => {
            cargo.env("EVENKEEL_BIN", binary);
        }
        Err(error) if run.kind == Kind::Unit => println!("there is no daemon: {error:#}"),
        Err(error) => bail!("there is no daemon: {error:#}"),
    }
    let counts = count(cargo)?;
    Ok(if daemon.is_ok() { counts } else { counts.with_status(false) })
}

/// Runs a command that runs tests: its lines go to our output as they come and are counted on the way.
fn count(mut command: Command) -> Result<Counts> {
    let what = command.get_program().to_string_lossy().into_owned();
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| what.clone())?;
    let stdout = child.stdout.take().with_context(|| format!("the output of {what}"))?;
    let mut counts = Counts::default();
    let mut out = std::io::stdout().lock();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        if let Some(more) = Counts::of_line(&String::from_utf8_lossy(&line)) {
            counts += more;
        }
    }
    let success = child.wait()?.success();
    Ok(counts.with_status(success))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_for_random_tests_go_by_the_environment() {
        let variables = |long, seed| Options { words: Vec::new(), long, seed }.variables();
        assert_eq!(variables(false, None), []);
        let both = [("EVENKEEL_TEST_LONG", "1".to_owned()), ("EVENKEEL_TEST_SEED", "7".to_owned())];
        assert_eq!(variables(true, Some(7)), both);
    }

    #[test]
    fn only_passed_tests_without_a_failure_are_a_success() {
        for (passed, failed, skipped, expected) in
            [(3, 0, 0, true), (3, 0, 2, true), (3, 1, 0, false), (0, 0, 0, false), (0, 0, 4, false)]
        {
            let counts = Counts { passed, failed, skipped };
            assert_eq!(verdict(counts).is_ok(), expected, "{counts:?}");
        }
    }
}
