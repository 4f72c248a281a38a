//! `evenkeel decap`

use std::{net::IpAddr, path::PathBuf};

use anyhow::Context as _;
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use lb_common::{
    decap::{DropReason, Kind, Network},
    wire::gue,
};

use super::{
    detach,
    output::{self, Rows, number, plain},
    run::log_to_stderr,
};
use crate::{
    config::model::AttachMode,
    dataplane::kernel::Pins,
    decap::{
        options::{Options, prefix},
        service,
        status::Status,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Attach the program and stay in the foreground.
    ///
    /// Runs until SIGTERM or SIGINT. The program goes on after that; running this again replaces it without losing a packet,
    /// also with other arguments. Tells systemd when it is ready. RUST_LOG=debug shows more.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Show what was unpacked, left to the host and dropped.
    ///
    /// For example: evenkeel decap status --json
    Status(Place),
    /// Take the program off all interfaces and remove all pins.
    ///
    /// `evenkeel decap run` must be stopped first. Tunnelled packets go to the host as they are from then on.
    ///
    /// For example: systemctl stop evenkeel-decap && evenkeel decap detach
    Detach(Place),
}

const RUN_EXAMPLES: &str = "\
Examples:
  evenkeel decap run --interface eth0 --from 192.0.2.0/24
  evenkeel decap run --interface eth0 --interface eth1 \\
    --from 192.0.2.2 --from 2001:db8::/64 --local 192.0.2.101 --gue-port 6081";

#[derive(Debug, Args)]
pub(super) struct Place {
    /// The pin directory, on a bpffs.
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/bpf/evenkeel-decap")]
    pin_directory: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// An interface that tunnelled packets arrive on; may be repeated.
    #[arg(long, short, value_name = "NAME", required = true)]
    interface: Vec<String>,
    /// Who may send: an address or a prefix of the balancers' outer source addresses; may be repeated.
    #[arg(long, value_name = "PREFIX", required = true, value_parser = prefix)]
    from: Vec<Network>,
    /// An address of this host that tunnels end at; may be repeated. Without it: all addresses that the interfaces have when
    /// this starts.
    #[arg(long, value_name = "ADDRESS")]
    local: Vec<IpAddr>,
    /// UDP destination port of GUE.
    #[arg(long, value_name = "PORT", default_value_t = gue::PORT, value_parser = clap::value_parser!(u16).range(1..))]
    gue_port: u16,
    /// How the program is attached: in the driver, in the kernel's slower generic path, or in the driver where it can.
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = mode_parser())]
    mode: AttachMode,
    #[command(flatten)]
    place: Place,
}

fn mode_parser() -> impl clap::builder::TypedValueParser<Value = AttachMode> {
    PossibleValuesParser::new(["auto", "native", "generic"]).map(|name| match name.as_str() {
        "native" => AttachMode::Native,
        "generic" => AttachMode::Generic,
        _ => AttachMode::Auto,
    })
}

pub(super) fn main(command: &Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run(arguments),
        Command::Status(place) => status(place, json),
        Command::Detach(place) => {
            let pins = Pins::of_decap(&place.pin_directory);
            detach::remove(&pins, &place.pin_directory, "`evenkeel decap run` is running; stop it first")
        }
    }
}

fn run(arguments: &Run) -> anyhow::Result<()> {
    log_to_stderr();
    let options = Options {
        interfaces: arguments.interface.clone(),
        from: arguments.from.clone(),
        local: arguments.local.clone(),
        gue_port: arguments.gue_port,
        mode: arguments.mode,
        pin_directory: arguments.place.pin_directory.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
    runtime.block_on(service::run(&options))
}

fn status(place: &Place, json: bool) -> anyhow::Result<()> {
    let status = Status::read(&place.pin_directory)?;
    if json {
        return output::json(&status);
    }
    print(&status);
    Ok(())
}

fn print(status: &Status) {
    let interfaces: Vec<String> =
        status.interfaces.iter().map(|found| format!("{} ({})", found.interface, found.mode.name())).collect();
    let on = if interfaces.is_empty() { "no interface".to_owned() } else { interfaces.join(", ") };
    output::print(&format!("unpacking on {on}, GUE on port {}", status.gue_port));
    let mut rules = Rows::new(&["", ""]);
    rules.row([plain("tunnel ends"), plain(status.ends.join(" "))]);
    rules.row([plain("allowed"), plain(status.from.join(" "))]);
    rules.print_body();
    let unpacked: u64 = status.unpacked.values().map(|count| count.packets).sum();
    let passed: u64 = status.passed.values().sum();
    let dropped: u64 = status.dropped.values().sum();
    output::print(&format!(
        "packets: {} received, {} unpacked, {} to the host, {} dropped",
        number(status.received.packets),
        number(unpacked),
        number(passed),
        number(dropped)
    ));
    let of_kind = |kind: &Kind| status.unpacked.get(kind.name()).copied().unwrap_or_default();
    if unpacked > 0 {
        let mut rows = Rows::new(&["  KIND", "", ">PACKETS", ">BYTES"]);
        for kind in Kind::ALL.iter().filter(|kind| of_kind(kind).packets > 0) {
            let count = of_kind(kind);
            rows.row([
                plain(format!("  {}", kind.name())),
                plain(kind.help()),
                plain(number(count.packets)),
                plain(number(count.bytes)),
            ]);
        }
        rows.print();
    }
    for reason in DropReason::ALL {
        let count = status.dropped.get(reason.name()).copied().unwrap_or_default();
        if count > 0 {
            output::print(&format!("  {} {}: {}", number(count), reason.name(), reason.help()));
        }
    }
}
