//! `evenkeel completions`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<()> {
    clap_complete::generate(arguments.shell, &mut Cli::command(), "evenkeel", &mut std::io::stdout());
    Ok(())
}
