//! `cargo xtask bench`: how fast it is, against references measured in the same run.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf, absolute},
    process::Command,
};

use anyhow::{Context, Error, Result, ensure};
use clap::Args;

use crate::{
    build,
    setup::{self, Purpose},
    workspace,
};

/// What `cargo xtask bench` takes; all of it is passed on to the bench.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Sections to run: `data-path`, `quic`, `veth`, `services`, `flood`, `control-plane`, `probes`, `schedulers`, `vm` (default: all but `vm`).
    #[arg(value_name = "SECTION")]
    sections: Vec<String>,
    /// Only what the bars need, in a few minutes.
    #[arg(long)]
    short: bool,
    /// Fail if a bar falls short, or has no figures though its section ran.
    #[arg(long)]
    check: bool,
    /// Print ratios to an earlier run's results (bench/results/*.json).
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Measure this pinned XDP program as well.
    #[arg(long, value_name = "PIN")]
    program: Option<PathBuf>,
    /// Run the section `vm` too: IPVS and Evenkeel in a QEMU guest.
    #[arg(long)]
    vm: bool,
    /// Run the section `schedulers`: who gets flows with each scheduler, beside a model.
    #[arg(long)]
    schedulers: bool,
    /// Write the tables of `schedulers` into docs/schedulers.md.
    #[arg(long)]
    write_docs: bool,
    /// Print all results as JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// CPU to measure on (default: 0).
    #[arg(long)]
    cpu: Option<usize>,
}

/// The command. It ends with the bench's exit code.
///
/// # Errors
///
/// When we are not root, the set-up is incomplete, the daemon does not build or the bench cannot be started.
pub(crate) fn main(options: &Options) -> Result<()> {
    ensure!(workspace::is_root()?, "the bench loads XDP programs and makes network namespaces: run it as root");
    setup::ensure(&[Purpose::Build, Purpose::Test])?;
    if options.vm || options.sections.iter().any(|section| section == "vm") {
        setup::ensure(&[Purpose::Vm])?;
    }
    let built = build::daemon(true)?;
    eprintln!("building the bench");
    // In our place: a Ctrl-C is then the bench's alone.
    Err(Error::new(command(options, &built.binary)?.exec()).context("cargo run"))
}

/// A program of its own, for the same reason as the demo.
fn command(options: &Options, daemon: &Path) -> Result<Command> {
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--quiet", "--release", "--package", "evenkeel-bench", "--"]).env("EVENKEEL_BIN", daemon);
    cargo.args(&options.sections);
    for (flag, given) in [
        ("--short", options.short),
        ("--check", options.check),
        ("--vm", options.vm),
        ("--schedulers", options.schedulers),
        ("--write-docs", options.write_docs),
        ("--json", options.json),
    ] {
        cargo.args(given.then_some(flag));
    }
    // The bench runs in the workspace's root, and paths are meant from where we are.
    for (flag, path) in [("--compare", &options.compare), ("--program", &options.program)] {
        if let Some(path) = path {
            cargo.arg(flag).arg(absolute(path).with_context(|| path.display().to_string())?);
        }
    }
    if let Some(cpu) = options.cpu {
        cargo.arg("--cpu").arg(cpu.to_string());
    }
    Ok(cargo)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        options: Options,
    }

    /// What the bench is given for these words.
    fn given(words: &[&str]) -> Vec<String> {
        let wrapper = Wrapper::parse_from([&["bench"], words].concat());
        let command =
            command(&wrapper.options, Path::new("/w/target/release/evenkeel")).expect("paths are well-formed");
        let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let (cargo, bench) = arguments.split_at(arguments.iter().position(|word| word == "--").expect("cargo run"));
        assert!(cargo.iter().any(|word| word == "--release"), "{cargo:?}");
        bench[1..].to_vec()
    }

    #[test]
    fn every_argument_is_passed_on() {
        let empty: [&str; 0] = [];
        assert_eq!(given(&[]), empty);
        let words = ["data-path", "veth", "--short", "--check", "--vm", "--schedulers", "--write-docs", "--json"];
        let words = [&words[..], &["--compare", "/old.json"]].concat();
        let words = [&words[..], &["--program", "/sys/fs/bpf/other", "--cpu", "1"]].concat();
        assert_eq!(given(&words), words);
    }

    #[test]
    fn paths_are_meant_from_where_the_command_is_called() {
        let expected = std::env::current_dir().expect("there is one").join("old.json");
        assert_eq!(given(&["--compare", "old.json"])[1], expected.to_string_lossy());
    }

    #[test]
    fn the_bench_runs_the_optimised_daemon() {
        let command = command(&Options::default(), Path::new("/w/target/release/evenkeel")).expect("no paths");
        let daemon = command.get_envs().find(|(name, _)| *name == "EVENKEEL_BIN").and_then(|(_, path)| path);
        assert_eq!(daemon, Some("/w/target/release/evenkeel".as_ref()));
    }
}
