//! nftables' rules.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{names::scratch, namespace::Namespace};

/// Loads rules into a namespace.
///
/// # Errors
///
/// Without nftables, or if it refuses them; the message has what it said.
pub(crate) fn load(namespace: &Namespace, rules: &str) -> Result<()> {
    let directory = scratch("nft")?;
    let file = directory.path().join("rules");
    fs::write(&file, rules)?;
    let mut command = Command::new("nft");
    command.arg("-f").arg(&file);
    let output = namespace.run(command).context("nftables is needed; run `cargo xtask setup`")?;
    ensure!(output.status.success(), "nft refuses: {}\n{rules}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
