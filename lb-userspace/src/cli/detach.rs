//! `evenkeel detach`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::output;
use crate::{config, dataplane::kernel::Pins, probe};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file that names the pin directory.
    #[arg(long, short, value_name = "FILE", conflicts_with = "pin_directory")]
    config: Option<PathBuf>,
    /// The pin directory.
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/bpf/evenkeel")]
    pin_directory: PathBuf,
}

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<()> {
    let directory = match &arguments.config {
        Some(file) => config::load(file)?.node.pin_directory,
        None => arguments.pin_directory.clone(),
    };
    remove(&Pins::at(&directory), &directory, "the daemon is running; stop it first")?;
    // Those of a daemon that was killed.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(probe::remove_leftover_rules())
}

/// Detaches and removes all pins in a directory and says so; `busy` is said if somebody has them.
pub(super) fn remove(pins: &Pins, directory: &Path, busy: &'static str) -> anyhow::Result<()> {
    if !directory.exists() {
        output::print(&format!("nothing is attached: {} does not exist", directory.display()));
        return Ok(());
    }
    let _lock = pins.lock().context(busy)?;
    let links = pins.remove()?;
    for link in &links {
        let name = link.split(':').next().unwrap_or(link).replace("%2E", ".");
        output::print(&format!("detached from {name}"));
    }
    output::print(&format!("removed {}", directory.display()));
    Ok(())
}
