//! The command line: one command a file.

mod backend;
mod check;
mod completions;
mod decap;
mod detach;
mod explain;
mod flows;
mod import;
mod limits;
mod output;
mod quic_id;
mod run;
mod schema;
mod server;
mod service;
mod status;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};
use hyper::Method;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::client::{self, ClientError},
    config::ConfigError,
    import::ImportError,
};

/// Exit codes, stated in the help.
mod exit {
    pub(super) const FAILED: u8 = 1;
    pub(super) const BAD_INPUT: u8 = 2;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const LOSSES: u8 = 4;
}

const AFTER_HELP: &str = "\
Examples:
  evenkeel check /etc/evenkeel/evenkeel.yaml
  evenkeel run --config /etc/evenkeel/evenkeel.yaml
  evenkeel status
  evenkeel backend drain web b2
  evenkeel explain --proto tcp --src 203.0.113.7:40000 --dst 192.0.2.10:80

Exit codes:
  0  done
  1  failed, or refused by the daemon
  2  bad input: the configuration or the arguments
  3  the daemon cannot be reached
  4  `import --strict`: a line was changed or has no counterpart";

/// An L4 TCP/UDP load balancer that forwards in the network driver (XDP).
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, after_help = AFTER_HELP, max_term_width = 80)]
struct Cli {
    /// The daemon's API socket.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "EVENKEEL_SOCKET",
        default_value = "/run/evenkeel/evenkeel.sock"
    )]
    socket: PathBuf,
    /// Print JSON for machines in place of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground.
    ///
    /// Runs until SIGTERM or SIGINT; forwarding goes on after that, and a new daemon takes over where this one stopped. SIGHUP
    /// reads the configuration again. Tells systemd when it is ready. RUST_LOG=debug shows more.
    Run(run::Arguments),
    /// Check a configuration file without touching anything.
    ///
    /// Prints every problem as `FILE:LINE:COLUMN: reason; remedy` and exits with 2 if there is one.
    Check(check::Arguments),
    /// Show what is served, what is down and why, and what is dropped.
    Status,
    /// Show services.
    #[command(subcommand)]
    Service(service::Command),
    /// Show and change backends.
    ///
    /// Changes made here survive a restart of the daemon and are marked with `*` in `evenkeel status`.
    #[command(subcommand)]
    Backend(backend::Command),
    /// Show and change all backends of an address at once, in whatever services they are.
    ///
    /// Changes survive a restart of the daemon, as those of `evenkeel backend` do.
    ///
    /// For example: evenkeel server drain 10.0.0.11
    #[command(subcommand)]
    Server(server::Command),
    /// Show live flows.
    ///
    /// The flow table holds a keyed tag in place of a client's address; to find the flow of an address, ask `evenkeel explain`.
    Flows(flows::Arguments),
    /// Tell what would happen to a packet, by the data path's own code.
    ///
    /// Runs it over the present tables without a trace: nothing is counted and no flow is made.
    ///
    /// For example: evenkeel explain --proto tcp --src '[2001:db8::7]:40000' --dst '[2001:db8:ff::10]:80'
    Explain(explain::Arguments),
    /// Make and read QUIC connection ids that name a server (QUIC-LB).
    ///
    /// Follows draft-ietf-quic-load-balancers-21. All but `servers` need no daemon.
    #[command(subcommand)]
    QuicId(quic_id::Command),
    /// Take the program off all interfaces and remove all pins.
    ///
    /// The clean uninstall: packets for VIPs go to the host from then on, and all flows are forgotten. The daemon must be
    /// stopped first. State made at run time stays in the state directory.
    Detach(detach::Arguments),
    /// Unpack tunnelled packets at a backend (IPIP and GUE).
    ///
    /// An XDP program on the backend's interfaces unpacks what comes from the balancers and leaves everything else to the
    /// host. It is for backends of the modes `ipip` and `gue` that have no tunnel devices, and needs no daemon beside it.
    #[command(subcommand)]
    Decap(decap::Command),
    /// Make a configuration of what IPVS or keepalived has.
    ///
    /// Writes a configuration that `evenkeel check` accepts, and to standard error what became of each line: taken, changed
    /// (how), or no counterpart (why, and what to do). Changes nothing on this machine.
    #[command(subcommand, after_help = import::EXAMPLES)]
    Import(import::Command),
    /// Print a completion script for a shell.
    ///
    /// For example: evenkeel completions bash > /etc/bash_completion.d/evenkeel
    Completions(completions::Arguments),
    /// Print the JSON schema of the configuration file.
    Schema,
}

/// Runs a command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", message(&error));
            ExitCode::from(code(&error))
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell if this fails.
    drop(error.print());
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::BAD_INPUT),
    }
}

fn dispatch(cli: &Cli) -> anyhow::Result<()> {
    let daemon = Daemon { socket: &cli.socket, json: cli.json };
    match &cli.command {
        Command::Run(arguments) => run::main(arguments),
        Command::Check(arguments) => check::main(arguments, cli.json),
        Command::Status => status::main(&daemon),
        Command::Service(command) => service::main(command, &daemon),
        Command::Backend(command) => backend::main(command, &daemon),
        Command::Server(command) => server::main(command, &daemon),
        Command::Flows(arguments) => flows::main(arguments, &daemon),
        Command::Explain(arguments) => explain::main(arguments, &daemon),
        Command::QuicId(command) => quic_id::main(command, &daemon),
        Command::Detach(arguments) => detach::main(arguments),
        Command::Decap(command) => decap::main(command, cli.json),
        Command::Import(command) => import::main(command, cli.json),
        Command::Completions(arguments) => completions::main(arguments),
        Command::Schema => schema::main(),
    }
}

/// A configuration's problems stand for themselves; anything else says who speaks.
fn message(error: &anyhow::Error) -> String {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return error.to_string();
    }
    match error.downcast_ref::<ImportError>() {
        Some(error) => error.to_string(),
        None => format!("evenkeel: {error:#}"),
    }
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() || error.is::<ImportError>() || error.is::<quic_id::BadArguments>() {
        return exit::BAD_INPUT;
    }
    if error.is::<import::Losses>() {
        return exit::LOSSES;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. }) => exit::UNREACHABLE,
        Some(ClientError::Refused(error)) if error.status == 400 => exit::BAD_INPUT,
        _ => exit::FAILED,
    }
}

/// The daemon, as commands ask it.
struct Daemon<'a> {
    socket: &'a std::path::Path,
    json: bool,
}

impl Daemon<'_> {
    fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, None::<&()>)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(client::request(self.socket, method, path, body))?)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_eighty_columns() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            // What is too long to wrap, such as a usage line, is what this is about.
            let help = command.clone().term_width(80).render_long_help().to_string();
            let long = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(long, None, "in the help of {}", command.get_name());
        }
    }
}
