//! `cargo xtask demo`: the balancer at work, on this machine alone.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::{Error, Result, ensure};
use clap::Args;

use crate::{
    build,
    setup::{self, Purpose},
    workspace,
};

/// What `cargo xtask demo` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave everything running at the end, to be played with, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// The command. It ends with the demo's exit code: 0 only if all that it showed was as it should be.
///
/// # Errors
///
/// When we are not root, the set-up is incomplete, the daemon does not build or the demo cannot be started.
pub(crate) fn main(options: &Options) -> Result<()> {
    ensure!(workspace::is_root()?, "the demo makes network namespaces and loads an XDP program: run it as root");
    setup::ensure(&[Purpose::Build, Purpose::Test])?;
    let built = build::daemon(false)?;
    // In our place: a Ctrl-C is then the demo's alone, and nobody returns to the shell while it still cleans up.
    Err(Error::new(command(options, &built.binary).exec()).context("cargo run"))
}

/// A program of its own, so that this one does not have to compile the daemon before it can set the machine up.
fn command(options: &Options, daemon: &Path) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--quiet", "--package", "evenkeel-tests", "--bin", "evenkeel-demo", "--"]);
    cargo.args(options.keep.then_some("--keep")).env("EVENKEEL_BIN", daemon);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_given_the_daemon_and_the_options() {
        for (keep, last) in [(false, "--"), (true, "--keep")] {
            let command = command(&Options { keep }, Path::new("/w/target/debug/evenkeel"));
            assert_eq!(command.get_args().last(), Some(last.as_ref()));
            let daemon = command.get_envs().find(|(name, _)| *name == "EVENKEEL_BIN").and_then(|(_, path)| path);
            assert_eq!(daemon, Some("/w/target/debug/evenkeel".as_ref()));
        }
    }
}
