//! `evenkeel run`

use std::path::PathBuf;

use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::supervisor;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/evenkeel/evenkeel.yaml")]
    config: PathBuf,
}

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<()> {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(supervisor::run(&arguments.config))
}

/// Starts the log of a process that stays; `RUST_LOG` says how much of it.
pub(super) fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
