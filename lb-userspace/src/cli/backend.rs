//! `evenkeel backend`

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;

use super::{Daemon, output, service, status};
use crate::{
    api::{
        client::segment,
        model::{BackendChange, BackendStatus, Changed, PassiveStatus, ServiceStatus, Status},
    },
    config::model::{AdminState, OnDrainTimeout},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The backends of all services or of one.
    List {
        /// Only this service's.
        #[arg(long)]
        service: Option<String>,
    },
    /// One backend: its health, the last probe, and how it came to where it is.
    Show(Which),
    /// Add a backend; present flows stay where they are.
    ///
    /// It gets traffic once it has passed its probes. To add the same again is no error and changes nothing. With `--ttl` it
    /// leaves, as `remove` has it do, unless it is added again within that time: an agent beside the server repeats the
    /// command as a heartbeat.
    ///
    /// For example: evenkeel backend add web 192.0.2.104 --ttl 30s
    Add(Add),
    /// Remove a backend once its flows have ended or its drain time-out passes.
    ///
    /// It gets no new flows. Those that are left at the service's `drain_timeout` are reset with `on_drain_timeout: reset`, else
    /// their next packet goes to another backend.
    ///
    /// For example: evenkeel backend remove web b2
    Remove {
        #[command(flatten)]
        which: Which,
        /// At once; its flows move to other backends.
        #[arg(long)]
        now: bool,
    },
    /// Give no new flows to a backend; present ones go on.
    ///
    /// Over when the last one has ended; `evenkeel status` shows how many are left. What happens to those that are left at the
    /// deadline is the service's `on_drain_timeout`, or `--then`. `undrain` cancels it.
    ///
    /// For example: evenkeel backend drain web b2 --timeout 2m --then reset
    Drain {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: DrainOptions,
    },
    /// Cancel a drain: give new flows to the backend again.
    ///
    /// For example: evenkeel backend undrain web b2
    Undrain(Which),
    /// Give flows to a backend again.
    Enable(Which),
    /// Take all flows from a backend at once.
    Disable(Which),
    /// Change the weight of a backend.
    Weight {
        #[command(flatten)]
        which: Which,
        /// Its share of new flows, 0 to 65535; 0 takes none.
        #[arg(value_parser = clap::value_parser!(u16))]
        weight: u16,
    },
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// The service's name.
    service: String,
    /// The backend's name, address, or address and port.
    backend: String,
}

#[derive(Debug, Args)]
pub(super) struct DrainOptions {
    /// Its deadline from now, 1s to 24h; else the service's `drain_timeout`.
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// What happens then to the flows that are left; else the service's
    /// `on_drain_timeout`.
    #[arg(long, value_enum)]
    then: Option<Then>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Then {
    /// They stay until they end.
    Keep,
    /// TCP: the client gets a reset with its next packet; UDP: another backend.
    Reset,
}

impl DrainOptions {
    pub(super) fn change(&self) -> BackendChange {
        BackendChange {
            drain_timeout: self.timeout.clone(),
            on_drain_timeout: self.then.map(|then| match then {
                Then::Keep => OnDrainTimeout::Keep,
                Then::Reset => OnDrainTimeout::Reset,
            }),
            ..to_state(AdminState::Draining)
        }
    }
}

/// A change of the admin state alone.
pub(super) fn to_state(state: AdminState) -> BackendChange {
    BackendChange { admin_state: Some(state), ..BackendChange::default() }
}

/// The end of a drain.
pub(super) fn undrain() -> BackendChange {
    BackendChange { undrain: true, ..BackendChange::default() }
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The service's name.
    service: String,
    /// The backend's address.
    address: IpAddr,
    /// Its name; the address if not given.
    #[arg(long)]
    name: Option<String>,
    /// Its share of new flows.
    #[arg(long, default_value_t = 1)]
    weight: u16,
    /// Whose turn it is, 0 (first) to 127: later ones take what earlier ones cannot.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=127))]
    priority: u8,
    /// Take flows only while no other backend can.
    #[arg(long, conflicts_with = "priority")]
    backup: bool,
    /// Remove it if it is not added again within this time, 1s to 24h.
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
}

impl Command {
    pub(super) fn is_change(&self) -> bool {
        !matches!(self, Self::List { .. } | Self::Show(_))
    }
}

pub(super) fn main(command: &Command, daemon: &Daemon<'_>) -> anyhow::Result<()> {
    let state = |which: &Which, state| change(daemon, which, to_state(state));
    match command {
        Command::List { service } => list(daemon, service.as_deref()),
        Command::Show(which) => show(daemon, which),
        Command::Add(add) => add_backend(daemon, add),
        Command::Remove { which, now } => {
            let path = format!("{}?now={now}", path(which));
            report(daemon, &daemon.ask(Method::DELETE, &path, None::<&()>)?)
        }
        Command::Drain { which, how } => change(daemon, which, how.change()),
        Command::Undrain(which) => change(daemon, which, undrain()),
        Command::Enable(which) => state(which, AdminState::Enabled),
        Command::Disable(which) => state(which, AdminState::Disabled),
        Command::Weight { which, weight } => {
            change(daemon, which, BackendChange { weight: Some(*weight), ..BackendChange::default() })
        }
    }
}

fn list(daemon: &Daemon<'_>, only: Option<&str>) -> anyhow::Result<()> {
    let status: Status = daemon.get("/v1/status")?;
    let services = match only {
        Some(name) => vec![service::find(&status, name)?],
        None => status.services.iter().collect(),
    };
    if daemon.json {
        let all: Vec<_> = services
            .iter()
            .flat_map(|service| {
                service
                    .backends
                    .iter()
                    .map(|backend| serde_json::json!({ "service": service.name, "backend": backend }))
            })
            .collect();
        return output::json(&all);
    }
    for service in services {
        output::print(&format!("{}:", service.name));
        status::print_backends(service);
    }
    Ok(())
}

/// Beginnings of remarks that say what stands above them.
const SHOWN_BEFORE: [&str; 2] = ["down for", "last probe:"];

fn show(daemon: &Daemon<'_>, which: &Which) -> anyhow::Result<()> {
    let status: Status = daemon.get("/v1/status")?;
    let service = service::find(&status, &which.service)?;
    let backend = find(service, &which.backend)?;
    if daemon.json {
        return output::json(backend);
    }
    output::print(&format!("{} of {}: {} port {}", backend.name, service.name, backend.address, backend.port));
    let since = backend.health_since.map(|since| format!(" for {}", output::ago(since))).unwrap_or_default();
    let reason = backend.health_reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    output::print(&format!("  health: {}{since}{reason}", backend.health));
    if let Some(last) = &backend.last_probe {
        let result = match (&last.error, last.latency_us) {
            (Some(error), _) => error.clone(),
            (None, Some(latency)) => format!("answered in {} µs", output::number(latency)),
            (None, None) => "no answer, and none is expected".to_owned(),
        };
        output::print(&format!("  last probe: {} ago, {}: {result}", output::ago(last.at), last.target));
    }
    for remark in status::remarks(service, backend)
        .iter()
        .filter(|remark| !SHOWN_BEFORE.iter().any(|start| remark.starts_with(start)))
    {
        output::print(&format!("  {remark}"));
    }
    if !backend.health_history.is_empty() {
        output::print("  changes, the newest first:");
    }
    for change in backend.health_history.iter().rev() {
        output::print(&format!("    {} ago: {}: {}", output::ago(change.at), change.health, change.reason));
    }
    if let Some(passive) = &backend.passive {
        print_passive(passive);
    }
    Ok(())
}

/// What its clients' packets say.
fn print_passive(passive: &PassiveStatus) {
    let PassiveStatus { connections, unanswered, repeated, reset, refused, broken, unreachable, .. } = passive;
    output::print(&format!(
        "  clients' packets in the last interval: {connections} connections, {unanswered} not answered; {repeated} SYNs \
         repeated, {reset} reset by clients; seen of the backend: {refused} refused, {broken} reset, {unreachable} unreachable"
    ));
    if !passive.history.is_empty() {
        output::print("  changes by clients' packets, the newest first:");
    }
    for change in passive.history.iter().rev() {
        output::print(&format!("    {} ago: {}: {}", output::ago(change.at), change.standing, change.reason));
    }
}

/// A backend by name, address, or address and port.
fn find<'a>(service: &'a ServiceStatus, name: &str) -> anyhow::Result<&'a BackendStatus> {
    let is = |backend: &&BackendStatus| {
        let whole = SocketAddr::new(backend.address, backend.port);
        backend.name == name || backend.address.to_string() == name || whole.to_string() == name
    };
    service.backends.iter().find(is).with_context(|| {
        let names: Vec<&str> = service.backends.iter().map(|backend| backend.name.as_str()).collect();
        format!("service {} has no backend {name:?}; it has {}", service.name, names.join(", "))
    })
}

fn add_backend(daemon: &Daemon<'_>, add: &Add) -> anyhow::Result<()> {
    let mut backend = serde_json::json!({
        "address": add.address.to_string(), "weight": add.weight, "priority": add.priority, "backup": add.backup
    });
    if let Some(name) = &add.name {
        backend["name"] = name.as_str().into();
    }
    let query = add.ttl.as_ref().map(|ttl| format!("?ttl={}", segment(ttl))).unwrap_or_default();
    let path = format!("/v1/services/{}/backends{query}", segment(&add.service));
    report(daemon, &daemon.ask(Method::POST, &path, Some(&backend))?)
}

fn change(daemon: &Daemon<'_>, which: &Which, change: BackendChange) -> anyhow::Result<()> {
    report(daemon, &daemon.ask(Method::PATCH, &path(which), Some(&change))?)
}

fn path(which: &Which) -> String {
    format!("/v1/services/{}/backends/{}", segment(&which.service), segment(&which.backend))
}

pub(super) fn report(daemon: &Daemon<'_>, changed: &Changed) -> anyhow::Result<()> {
    if daemon.json {
        return output::json(changed);
    }
    output::print(&changed.message);
    Ok(())
}
