//! Backends that register themselves, say that they are there, and leave by falling silent.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Held, connections},
    daemon::Daemon,
    namespace::Namespace,
    scenario::{Service, backend, backend_status, nginx_everywhere, start, wait_for_backend, wait_for_takers},
    servers::nginx,
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

const TWO: [&str; 2] = ["b1", "b2"];
const ALL: [&str; 3] = ["b1", "b2", "b3"];

/// Two backends of the file, and a third one that registers itself.
fn begin<'a>(topology: &'a Topology, bpffs: &Bpffs, vip: IpAddr) -> Result<(Daemon<'a>, String)> {
    let service = Service::tcp("web", vip, 80, topology).only(&TWO).option("timeouts: {tcp_closing: 1s}");
    let daemon = start(topology, bpffs, &[service])?;
    wait_for_takers(&daemon, "web", &TWO)?;
    Ok((daemon, backend(topology, "b3").addresses().like(vip).to_string()))
}

fn register(daemon: &Daemon<'_>, address: &str, options: &[&str]) -> Result<String> {
    daemon.cli_text(&[&["backend", "add", "web", address, "--name", "b3"], options].concat())
}

fn refused(daemon: &Daemon<'_>, address: &str, options: &[&str], reason: &str) -> Result<()> {
    let error = register(daemon, address, options).err().with_context(|| format!("{options:?} is to be refused"))?;
    ensure!(format!("{error:#}").contains(reason), "{error:#}");
    Ok(())
}

/// A connection that goes to `b3`; others are given up.
fn held_by_b3(client: &Namespace, server: SocketAddr) -> Result<Held> {
    for _ in 0..200 {
        let held = Held::open(client, server)?;
        if held.backend() == "b3" {
            return Ok(held);
        }
    }
    anyhow::bail!("none of 200 connections went to b3")
}

#[test]
fn a_registered_backend_waits_for_its_probes_and_may_register_twice() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP4));
    let mut servers = nginx_everywhere(&topology, &[80], None)?;
    servers.pop().context("three servers")?;
    let bpffs = Bpffs::mount()?;
    let (daemon, address) = begin(&topology, &bpffs, vip)?;
    let server = SocketAddr::new(vip, 80);
    ensure!(register(&daemon, &address, &["--weight", "2"])?.contains("added to service web"));
    wait_for_backend(&daemon, "web", "b3", "its probe fails", |status| status["last_probe"]["error"].is_string())?;
    let tally = connections(topology.client(), server, 200, 4)?;
    ensure!((tally.failed(), tally.of("b3")) == (0, 0), "{tally:?}");
    servers.push(nginx(backend(&topology, "b3").namespace(), "b3", &[80], None)?);
    wait_for_takers(&daemon, "web", &ALL)?;
    let tally = connections(topology.client(), server, 200, 4)?;
    ensure!(tally.failed() == 0 && tally.of("b3") > 30, "{tally:?}");

    let mut held = held_by_b3(topology.client(), server)?;
    let again = register(&daemon, &address, &["--weight", "2"])?;
    ensure!(again.contains("is there already"), "{again}");
    daemon.cli_text(&["backend", "weight", "web", "b3", "5"])?;
    // What the operator has changed since is not the registration's.
    register(&daemon, &address, &["--weight", "2"])?;
    ensure!(backend_status(&daemon, "web", "b3")?["weight"] == 5);
    refused(&daemon, &address, &["--weight", "9"], "weight 2, not 9")?;
    refused(&daemon, &address, &["--weight", "2", "--ttl", "soon"], "`ttl`")?;
    refused(&daemon, &address, &["--weight", "2", "--ttl", "10ms"], "use 1s to 24h")?;
    let first = backend(&topology, "b1").addresses().like(vip).to_string();
    let error = daemon.cli_text(&["backend", "add", "web", &first, "--name", "b1", "--ttl", "9s"]);
    ensure!(format!("{:#}", error.err().context("it is in the file")?).contains("configuration file"));
    daemon.cli_text(&["backend", "add", "web", &first, "--name", "b1"])?;
    held.check()?;

    // It leaves as it came: with its last flow.
    daemon.cli_text(&["backend", "remove", "web", "b3"])?;
    let tally = connections(topology.client(), server, 200, 4)?;
    ensure!((tally.failed(), tally.of("b3")) == (0, 0), "{tally:?}");
    held.check()?;
    ensure!(backend_status(&daemon, "web", "b3")?["leaving"] == true);
    drop(held);
    wait_until("b3 has left", PATIENCE, || backend_status(&daemon, "web", "b3").is_err())?;
    println!("{vip}: b3 registered twice, got flows once its probes passed, and left with its last flow");
    Ok(())
}

#[test]
fn a_backend_that_falls_silent_leaves() -> Result<()> {
    const TTL: Duration = Duration::from_secs(5);
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP6));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let (mut daemon, address) = begin(&topology, &bpffs, vip)?;
    let server = SocketAddr::new(vip, 80);
    let begun = Instant::now();
    register(&daemon, &address, &["--ttl", "5s"])?;
    wait_for_takers(&daemon, "web", &ALL)?;
    let status = backend_status(&daemon, "web", "b3")?;
    ensure!(status["registration"]["ttl_ms"] == 5000 && status["origin"] == "runtime", "{status}");
    ensure!(daemon.cli_text(&["status"])?.contains("b3: registered for 5s: leaves in "));
    let mut held = held_by_b3(topology.client(), server)?;
    wait_until("heartbeats keep it beyond its time", PATIENCE, || {
        register(&daemon, &address, &["--ttl", "5s"]).is_ok() && begun.elapsed() > TTL + TTL / 2
    })?;
    let status = backend_status(&daemon, "web", "b3")?;
    ensure!(status["leaving"] == false && status["takes_flows"] == true, "{status}");

    wait_for_backend(&daemon, "web", "b3", "leaves without a heartbeat", |status| status["leaving"] == true)?;
    ensure!(daemon.log().contains("no heartbeat for its time to live"), "{}", daemon.log());
    let tally = connections(topology.client(), server, 200, 4)?;
    ensure!((tally.failed(), tally.of("b3")) == (0, 0), "{tally:?}");
    held.check().context("a drain keeps present flows")?;

    // It is heard again before its last flow has ended.
    register(&daemon, &address, &["--ttl", "1h"])?;
    wait_for_takers(&daemon, "web", &ALL)?;
    held.check()?;
    let remaining = |daemon: &Daemon<'_>| -> Result<u64> {
        backend_status(daemon, "web", "b3")?["registration"]["remaining_ms"].as_u64().context("a registration")
    };
    let first = remaining(&daemon)?;
    wait_until("some of its time has passed", PATIENCE, || remaining(&daemon).is_ok_and(|left| left + 1000 < first))?;
    let before = remaining(&daemon)?;
    daemon.kill9();
    daemon.restart()?;
    let after = remaining(&daemon)?;
    ensure!(after > before, "a daemon that starts gives the whole time again: {before} ms, then {after} ms");
    wait_for_takers(&daemon, "web", &ALL)?;
    held.check()?;
    // Without a time to live from now on.
    register(&daemon, &address, &[])?;
    ensure!(backend_status(&daemon, "web", "b3")?["registration"].is_null());
    println!("{vip}: heartbeats kept b3; silent it left, with its flow intact; a restart gave it its time again");
    Ok(())
}
