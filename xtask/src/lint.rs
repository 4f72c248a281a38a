//! `cargo xtask lint`: format, lints for this machine and for BPF, documentation.

use anyhow::{Context, Result, bail, ensure};
use lb_ebpf::Toolchain;

use crate::{
    setup::{self, Purpose},
    workspace,
};

/// One check.
struct Check {
    name: &'static str,
    run: fn() -> Result<()>,
}

const CHECKS: &[Check] = &[
    Check { name: "format", run: || cargo("fmt --all --check", &[]) },
    Check { name: "clippy", run: || cargo("clippy --workspace --all-targets -- -Dwarnings", &[]) },
    Check { name: "clippy for BPF", run: clippy_for_bpf },
    Check { name: "documentation", run: || cargo("doc --workspace --no-deps", &[("RUSTDOCFLAGS", "-Dwarnings")]) },
];

/// The command. All checks are run, whatever the first ones find.
///
/// # Errors
///
/// When the set-up is incomplete or a check finds something.
pub(crate) fn main() -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Lint])?;
    failures(CHECKS)
}

fn failures(checks: &[Check]) -> Result<()> {
    let mut failed = Vec::new();
    for (number, check) in checks.iter().enumerate() {
        println!("[{}/{}] {}", number + 1, checks.len(), check.name);
        if let Err(error) = (check.run)() {
            println!("{error:#}");
            failed.push(check.name);
        }
    }
    ensure!(failed.is_empty(), "lint failed: {}", failed.join(", "));
    println!("lint found nothing");
    Ok(())
}

fn cargo(arguments: &str, environment: &[(&str, &str)]) -> Result<()> {
    let mut cargo = workspace::cargo();
    let status = cargo.args(arguments.split(' ')).envs(environment.iter().copied()).status().context("cargo")?;
    ensure!(status.success(), "`cargo {arguments}`: {status}");
    Ok(())
}

fn clippy_for_bpf() -> Result<()> {
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(missing) => bail!("{}", missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    };
    let target = workspace::metadata()?.target_directory.join("bpf-clippy");
    for source in [lb_ebpf::EVENKEEL, lb_ebpf::DECAP, lb_ebpf::BENCH] {
        lb_ebpf::clippy(source, &toolchain, target.as_std_path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn all_checks_run_and_those_that_failed_are_named() {
        static RUN: AtomicU32 = AtomicU32::new(0);
        let good = || {
            RUN.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let checks = [
            Check { name: "first", run: || bail!("found something") },
            Check { name: "second", run: good },
            Check { name: "third", run: || bail!("found more") },
        ];
        let error = failures(&checks).expect_err("two fail").to_string();
        assert_eq!(error, "lint failed: first, third");
        assert_eq!(RUN.load(Ordering::Relaxed), 1);
        assert!(failures(&checks[1..2]).is_ok());
    }
}
