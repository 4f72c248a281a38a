//! The command line: one command a file.

mod apply;
mod backend;
mod check;
mod completions;
mod decap;
mod detach;
mod explain;
mod export;
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
mod verify;

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
    pub(super) const OTHER_VERSION: u8 = 5;
    pub(super) const DIFFERENT: u8 = 6;
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
  4  `import --strict`: a line was changed or has no counterpart
  5  the configuration has another version than --if-version says
  6  with --dry-run: something differs";

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
    /// Change something only if the configuration has this version, which
    /// `status --json`, `export` and each change tell.
    #[arg(long, global = true, value_name = "VERSION")]
    if_version: Option<u64>,
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
    /// Make the running configuration what a file says.
    ///
    /// The file is a configuration document: `version: 1` and `services`. Services
    /// that are nowhere else are kept in the state directory and survive a restart.
    /// Of those that the configuration file names, backends, weights and admin
    /// states can be changed, nothing else. All of it is done or nothing.
    ///
    /// For example: evenkeel apply -f services.yaml --dry-run
    /// evenkeel export | sed s/maglev/random/ | evenkeel apply -f - --if-version 17
    #[command(verbatim_doc_comment)]
    Apply(apply::Arguments),
    /// Print the running configuration: the file's, with what was changed since.
    ///
    /// `check` accepts it, and `apply` of it changes nothing. It holds the secrets that the configuration file holds; those in files
    /// of their own stay there.
    ///
    /// For example: evenkeel export > running.yaml
    Export,
    /// Compare the tables in the kernel with what they should be, and repair them.
    ///
    /// The daemon does so by itself every `node.verify_interval`. What differs was written by somebody else; it is named and put back
    /// where it was, so that flows stay.
    ///
    /// For example: evenkeel verify --dry-run
    Verify(verify::Arguments),
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
        Ok(code) => ExitCode::from(code),
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

fn dispatch(cli: &Cli) -> anyhow::Result<u8> {
    let daemon = Daemon { socket: &cli.socket, json: cli.json, if_version: cli.if_version };
    if cli.if_version.is_some() && !cli.command.is_change() {
        return Err(
            BadInput("`--if-version` is for commands that change something; leave it out here".to_owned()).into()
        );
    }
    match &cli.command {
        Command::Apply(arguments) => return apply::main(arguments, &daemon),
        Command::Verify(arguments) => return verify::main(arguments, &daemon),
        Command::Export => export::main(&daemon),
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
    }?;
    Ok(0)
}

impl Command {
    /// Whether it changes the configuration of a running daemon.
    fn is_change(&self) -> bool {
        match self {
            Self::Apply(_) => true,
            Self::Backend(command) => command.is_change(),
            Self::Server(command) => command.is_change(),
            _ => false,
        }
    }
}

/// What a command was given and cannot do anything with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadInput(String);

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
    let bad = error.is::<BadInput>() || error.is::<quic_id::BadArguments>();
    if error.is::<ConfigError>() || error.is::<ImportError>() || bad {
        return exit::BAD_INPUT;
    }
    if error.is::<import::Losses>() {
        return exit::LOSSES;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. }) => exit::UNREACHABLE,
        Some(ClientError::Refused(error)) if error.status == 400 => exit::BAD_INPUT,
        Some(ClientError::Refused(error)) if error.status == 412 => exit::OTHER_VERSION,
        _ => exit::FAILED,
    }
}

/// The daemon, as commands ask it.
struct Daemon<'a> {
    socket: &'a std::path::Path,
    json: bool,
    if_version: Option<u64>,
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
        Ok(runtime.block_on(client::request(self.socket, method, path, body, self.if_version))?)
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
