//! `evenkeel detach`

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use anyhow::bail;
use clap::Args;

use super::output;
use crate::{config, dataplane::kernel::Pins};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file that names the pin directory.
    #[arg(long, short, value_name = "FILE", conflicts_with = "pin_directory")]
    config: Option<PathBuf>,
    /// The pin directory.
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/bpf/evenkeel")]
    pin_directory: PathBuf,
}

pub(super) fn main(arguments: &Arguments, socket: &Path) -> anyhow::Result<()> {
    let (directory, socket) = match &arguments.config {
        Some(file) => {
            let node = config::load(file)?.node;
            (node.pin_directory, node.api_socket)
        }
        None => (arguments.pin_directory.clone(), socket.to_owned()),
    };
    if UnixStream::connect(&socket).is_ok() {
        bail!("the daemon is running (it answers on {}); stop it first", socket.display());
    }
    if !directory.exists() {
        output::print(&format!("nothing is attached: {} does not exist", directory.display()));
        return Ok(());
    }
    let links = Pins::at(&directory).remove()?;
    for link in &links {
        let name = link.split(':').next().unwrap_or(link).replace("%2E", ".");
        output::print(&format!("detached from {name}"));
    }
    output::print(&format!("removed {}", directory.display()));
    Ok(())
}
