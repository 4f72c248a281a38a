//! Probes with `via: vip`: what lies on the way of the traffic takes a backend down, and only with such a probe.
//!
//! ```text
//!   balancer: socket to VIP:80, with the mark ─▶ TUN ─▶ frame as a client's ─▶ eth0 ─▶ backend: (tunnel's end,) VIP on lo
//!      ▲                                                                                     │
//!      └───────────────────────── from VIP:80 to the balancer's own address ────────────────┘
//! ```

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream},
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    daemon::{Daemon, Paths},
    scenario::{backend_status, configuration, nginx_everywhere, wait_for_backend, wait_for_takers},
    servers::{DNS_PORT, TXT_NAME, dns},
    topology::Topology,
    wait::{PATIENCE, wait_ok},
};
use serde_json::Value;

use crate::{
    decapsulator::{at_every_backend, with_sources},
    modes::Case,
};

const TIMES: &str = "interval: 200ms, timeout: 150ms, rise: 2, fall: 2";

/// Two services that are probed on the way of the traffic, and one on the same backends that is probed directly.
fn services(case: &Case, topology: &Topology, paths: &Paths) -> String {
    let mut text = with_sources(&configuration(paths, topology, &[])).replace("services:\n", "");
    text += "services:\n";
    // Where the VIP is of another family than the backend, no route tells an address of this node's that the backend reaches.
    let source = topology.balancer_addresses().like(case.vip);
    let source = if case.vip.is_ipv6() == case.backends_v6 { String::new() } else { format!(", source: \"{source}\"") };
    for (name, port, protocol, probe) in [
        ("way", 80, "tcp", "type: http, via: vip, path: /who".to_owned()),
        ("own", 81, "tcp", "type: tcp, port: 80".to_owned()),
        ("dns", DNS_PORT, "udp", format!("type: dns, via: vip, query: {TXT_NAME}, query_type: TXT")),
    ] {
        text += &format!(
            "  - name: {name}\n    vip: {}\n    port: {port}\n    protocol: {protocol}\n    mode: {}\n    \
             probe: {{{probe}, {TIMES}{}}}\n    backends:\n",
            case.vip,
            case.mode,
            if name == "own" { "" } else { &source }
        );
        for backend in topology.backends() {
            text += &format!("      - {{name: {}, address: \"{}\"}}\n", backend.name(), case.address(backend));
        }
    }
    text
}

fn wait_both(daemon: &Daemon<'_>) -> Result<()> {
    ["way", "own", "dns"].iter().try_for_each(|service| wait_for_takers(daemon, service, &["b1", "b2"]))
}

/// Waits until `b1` is down on the way of the traffic, for a reason with these words, and up at its own address.
fn wait_down(daemon: &Daemon<'_>, reason: &str) -> Result<()> {
    for service in ["way", "dns"] {
        wait_for_takers(daemon, service, &["b2"])?;
        let says = |status: &Value| {
            let text = status["health_reason"].as_str().unwrap_or_default().to_owned();
            status["health"] == "down" && text.contains(reason)
        };
        wait_for_backend(daemon, service, "b1", &format!("down because of {reason:?}"), says)
            .with_context(|| format!("{:?}", backend_status(daemon, service, "b1")))?;
    }
    let own = backend_status(daemon, "own", "b1")?;
    ensure!(own["health"] == "up" && own["health_history"].as_array().map(Vec::len) == Some(1), "{own}");
    Ok(())
}

fn vip_at(topology: &Topology, vip: IpAddr, what: &str) -> Result<()> {
    let length = if vip.is_ipv4() { 32 } else { 128 };
    let nodad = if vip.is_ipv6() && what == "add" { " nodad" } else { "" };
    topology.backends()[0].namespace().ip(&[format!("address {what} {vip}/{length} dev lo{nodad}")])
}

/// What has no mark is not led to the device: this host has no route to the VIP, and needs none.
fn stays_unreachable(topology: &Topology, vip: IpAddr) -> Result<()> {
    let connect = || TcpStream::connect_timeout(&SocketAddr::new(vip, 80), PATIENCE);
    let error = topology.balancer().enter(connect)?.err().context("the VIP was reached without a mark")?;
    ensure!(error.kind() == ErrorKind::NetworkUnreachable, "{error}");
    Ok(())
}

fn rules(topology: &Topology) -> Result<String> {
    let list = |family| topology.balancer().exec("ip", [family, "rule", "list"]);
    Ok(list("-4")? + &list("-6")?)
}

fn check(mode: &'static str, topology: &Topology) -> Result<()> {
    let _nginx = nginx_everywhere(topology, &[80], None)?;
    let _dns = topology.backends().iter().map(|b| dns(b.namespace(), b.name())).collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    for case in
        Case::all(mode, mode).into_iter().filter(|case| mode != "dsr-l2" || case.vip.is_ipv6() == case.backends_v6)
    {
        let mut decaps = if mode == "dsr-l2" { Vec::new() } else { at_every_backend(topology, &bpffs)? };
        let mut daemon = Daemon::start(topology.balancer(), &bpffs, |paths| services(&case, topology, paths))?;
        wait_both(&daemon).with_context(|| case.name())?;
        let shown = daemon.cli_text(&["backend", "show", "way", "b1"])?;
        ensure!(shown.contains(&format!(" at {} by {mode}", case.vip)), "{shown}");

        // Somebody flushes rules.
        let before = rules(topology)?;
        for family in ["-4", "-6"] {
            topology.balancer().exec("ip", [family, "rule", "del", "priority", "99"])?;
        }
        wait_ok("the rules are there again", PATIENCE, || {
            ensure!(rules(topology)? == before, "{}", rules(topology)?);
            Ok(())
        })?;

        vip_at(topology, case.vip, "del")?;
        wait_down(&daemon, "does the backend have the VIP").with_context(|| case.name())?;
        vip_at(topology, case.vip, "add")?;
        wait_both(&daemon).with_context(|| case.name())?;

        if !decaps.is_empty() {
            decaps[0].process = None;
            decaps[0].cli("detach", &[])?;
            wait_down(&daemon, "a tunnel that takes it there").with_context(|| case.name())?;
        }
        ensure!(rules(topology)?.contains("fwmark 0xe70000"), "{}", rules(topology)?);
        stays_unreachable(topology, case.vip)?;
        let file = daemon.paths().config.to_string_lossy().into_owned();
        // What a daemon that is killed leaves behind does nothing, and goes with the rest.
        if case.vip.is_ipv6() {
            daemon.kill9();
            ensure!(rules(topology)?.contains("fwmark"), "{}", rules(topology)?);
            daemon.cli_text(&["detach", "--config", &file])?;
        } else {
            ensure!(daemon.terminate()?.success());
        }
        ensure!(!rules(topology)?.contains("fwmark"), "{}", rules(topology)?);
        daemon.command(&["detach", "--config", &file])?;
        println!(
            "{}: b1 down without its VIP{}",
            case.name(),
            if mode == "dsr-l2" { "" } else { ", or its tunnel's end" }
        );
    }
    Ok(())
}

#[test]
fn dsr_l2_by_the_vip() -> Result<()> {
    check("dsr-l2", &Topology::one_nic(2)?)
}

#[test]
fn ipip_by_its_tunnel() -> Result<()> {
    check("ipip", &Topology::one_nic(2)?)
}

#[test]
fn gue_by_its_tunnel() -> Result<()> {
    check("gue", &Topology::two_nics(2)?)
}
