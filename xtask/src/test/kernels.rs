//! `cargo xtask test kernels`: what this machine's kernel may lack, on Debian's kernels in QEMU.

use std::{
    collections::BTreeMap,
    io::BufReader,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;

use super::{count, runs::TESTS, summary::Counts};
use crate::{
    setup::{self, Purpose},
    workspace,
};

/// The series that are tried, those that Debian 12 has, and what is run there when nothing else is asked for: what depends on the
/// verifier on both; what needs modules that other kernels lack on one of them, as it takes minutes.
const SERIES: [(&str, &[&str]); 2] = [
    ("6.1", &["verifier::", "kernel_tunnels::ipip", "kernel_tunnels::direct", "import::rules"]),
    ("6.12", &["verifier::", "kernel_tunnels::gue", "vlan::", "bond::"]),
];
/// The program that runs test programs in a guest.
const RUNNER: &str = "evenkeel-guest";
/// Test programs that go along.
const PROGRAMS: [&str; 2] = ["e2e", "packets"];
/// One after the other: the guest has one CPU. The serial line looks like a terminal.
const ARGUMENTS: [&str; 4] = ["--nocapture", "--test-threads=1", "--color", "never"];

/// Runs them on every kernel; a guest that could not be run counts as a failure.
///
/// # Errors
///
/// When the tests do not build.
pub(super) fn run(daemon: &Path, filters: &[String], variables: &[(&str, String)]) -> Result<Counts> {
    if !setup::is_complete(Purpose::Vm) {
        println!("\nkernels: skipped: `cargo xtask setup --vm` fetches QEMU and the kernels");
        return Ok(Counts { skipped: SERIES.len() as u64, ..Counts::default() });
    }
    let built = build()?;
    let mut counts = Counts::default();
    for (series, usual) in SERIES {
        let usual: Vec<_> = usual.iter().map(|filter| (*filter).to_owned()).collect();
        let command = command(&built, series, daemon, if filters.is_empty() { &usual } else { filters })?;
        println!("\nkernels: {RUNNER} --kernel {series}");
        counts += count_all(command, variables)?;
    }
    Ok(counts)
}

fn count_all(mut command: Command, variables: &[(&str, String)]) -> Result<Counts> {
    command.envs(variables.iter().cloned()).current_dir(workspace::root()).stdin(Stdio::null());
    count(command)
}

/// Runner and test programs by name.
fn build() -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-run", "--package", TESTS, "--message-format=json-render-diagnostics"]);
    PROGRAMS.iter().for_each(|name| {
        cargo.args(["--test", name]);
    });
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cargo test --no-run")?;
    let stdout = child.stdout.take().context("the output of cargo test")?;
    let messages = Message::parse_stream(BufReader::new(stdout)).collect::<Result<Vec<_>, _>>();
    ensure!(child.wait()?.success(), "the tests do not build");
    Ok(programs(&messages?))
}

/// Cargo builds a package's programs before its tests, and reports both.
fn programs(messages: &[Message]) -> BTreeMap<String, PathBuf> {
    let artifacts = messages.iter().filter_map(|message| match message {
        Message::CompilerArtifact(artifact) => Some(artifact),
        _ => None,
    });
    let programs = artifacts.filter_map(|artifact| {
        let program = artifact.executable.clone()?.into_std_path_buf();
        let is_wanted = PROGRAMS.contains(&artifact.target.name.as_str()) || artifact.target.name == RUNNER;
        is_wanted.then(|| (artifact.target.name.clone(), program))
    });
    programs.collect()
}

fn command(built: &BTreeMap<String, PathBuf>, series: &str, daemon: &Path, filters: &[String]) -> Result<Command> {
    let Some(runner) = built.get(RUNNER) else { bail!("cargo built no {RUNNER}") };
    let mut command = Command::new(runner);
    command.args(["--kernel", series, "--daemon"]).arg(daemon);
    for name in PROGRAMS {
        command.arg("--test").arg(built.get(name).with_context(|| format!("cargo built no {name}"))?);
    }
    command.arg("--").args(ARGUMENTS).args(filters);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built() -> BTreeMap<String, PathBuf> {
        let programs = [("e2e", "/t/deps/e2e-1"), ("packets", "/t/deps/packets-1"), (RUNNER, "/t/evenkeel-guest")];
        programs.map(|(name, path)| (name.to_owned(), path.into())).into()
    }

    #[test]
    fn the_runner_is_given_programs_and_filters() {
        let line = |filters: &[String]| {
            let command = command(&built(), "6.1", Path::new("/t/evenkeel"), filters).expect("all are built");
            let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
            words.join(" ")
        };
        let start = "--kernel 6.1 --daemon /t/evenkeel --test /t/deps/e2e-1 --test /t/deps/packets-1 -- --nocapture \
                     --test-threads=1 --color never";
        assert_eq!(line(&["vlan".to_owned()]), format!("{start} vlan"));
        let mut without = built();
        without.remove("packets");
        let error = command(&without, "6.1", Path::new("/d"), &[]).expect_err("one is missing").to_string();
        assert!(error.contains("packets"), "{error}");
    }
}
