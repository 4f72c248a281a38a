//! Puts the program to work, and stays until it is told to stop.
//!
//! The program goes on when this process ends, however it does. The next one takes over its tables and replaces the program
//! in its links, so that no packet is lost; `evenkeel decap detach` ends it.

use anyhow::{Context, Result};
use lb_common::decap::{Network, Rules};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    addresses,
    options::{Options, written},
};
use crate::{
    config::model::Interface,
    dataplane::kernel::{Attached, Decapsulator, Pins, attach},
    supervisor::notify,
};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
///
/// Whatever keeps it from starting. What was attached before stays as it is then, as far as that is possible.
pub async fn run(options: &Options) -> Result<()> {
    // Before anyone can know that this is here: by default either would kill it.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ends = ends(options)?;
    let pins = Pins::of_decap(&options.pin_directory).make()?;
    let _lock = pins.lock().context("`evenkeel decap run` is running with these pins; stop it first")?;
    start(options, &ends, &pins)?;
    notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping; unpacking goes on, `evenkeel decap detach` ends it");
    Ok(())
}

fn ends(options: &Options) -> Result<Vec<Network>> {
    addresses::check_interfaces(&options.interfaces)?;
    let addresses = if options.local.is_empty() { addresses::of(&options.interfaces)? } else { options.local.clone() };
    let ends: Vec<Network> = addresses.into_iter().map(Network::host).collect();
    for (family, is) in [("IPv4", true), ("IPv6", false)] {
        let of_family = |networks: &[Network]| networks.iter().any(|network| network.address.is_ipv4() == is);
        if of_family(&options.from) && !of_family(&ends) {
            tracing::warn!("sources of {family} are allowed, but no tunnel ends at an address of {family}");
        }
    }
    Ok(ends)
}

fn start(options: &Options, ends: &[Network], pins: &Pins) -> Result<()> {
    let adopted = pins.check_decap()?;
    let mut program = Decapsulator::load(Some(pins))?;
    program.tables().publish(&Rules { ends, sources: &options.from, gue_port: options.gue_port })?;
    for name in &options.interfaces {
        let interface = Interface { name: name.clone(), mode: options.mode };
        let Attached { interface, mode, .. } = attach::attach(&mut program, pins, &interface)?;
        tracing::info!(interface, mode = mode.name(), "unpacking");
    }
    let names: Vec<&str> = options.interfaces.iter().map(String::as_str).collect();
    for name in attach::detach_others(pins, &names)? {
        tracing::info!(interface = name, "detached: it is no longer named");
    }
    let list = |networks: &[Network]| networks.iter().map(|network| written(*network)).collect::<Vec<_>>().join(" ");
    tracing::info!(adopted, gue_port = options.gue_port, ends = list(ends), from = list(&options.from), "running");
    Ok(())
}
