//! The end of a drain: its deadline, with what is to happen then, its last flow, or its cancellation.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Held, UdpSink, UdpStream, collect, connections},
    daemon::Daemon,
    scenario::{
        QUICK_PROBE, Service, backend_status, nginx_everywhere, service_status, start, wait_for_backend,
        wait_for_takers,
    },
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

const ALL: [&str; 3] = ["b1", "b2", "b3"];
/// Ended flows are forgotten quickly, so that the end of a drain is soon seen.
const TIMEOUTS: &str = "timeouts: {tcp_closing: 1s, udp: 2s, udp_single: 2s}";

fn web(topology: &Topology, vip: IpAddr) -> Service {
    Service::tcp("web", vip, 80, topology).options(&[QUICK_PROBE, TIMEOUTS])
}

/// Connections of `b1`, and all others.
fn held(topology: &Topology, server: SocketAddr) -> Result<(Vec<Held>, Vec<Held>)> {
    let all = Held::open_many(40, topology.client(), server)?;
    let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|held| held.backend() == "b1");
    ensure!(own.len() >= 3 && others.len() >= 3, "{} of 40 connections are b1's", own.len());
    Ok((own, others))
}

fn check_all(all: &mut [Held]) -> Result<()> {
    all.iter_mut().try_for_each(Held::check)
}

/// Flows that were given to the backends of a service so far.
fn flows_new(daemon: &Daemon<'_>, service: &str) -> Result<u64> {
    let status = service_status(daemon, service)?;
    let backends = status["backends"].as_array().context("a list of backends")?;
    Ok(backends.iter().filter_map(|backend| backend["flows_new"].as_u64()).sum())
}

fn replies(daemon: &Daemon<'_>) -> Result<u64> {
    daemon.cli(&["--json", "status"])?["node"]["counters"]["replies"].as_u64().context("a counter")
}

/// The next request on each of these connections is answered by the node, with a reset.
fn check_reset(own: &mut [Held]) -> Result<()> {
    for held in own {
        let error = held.ask().err().context("an answer on a connection that was to be reset")?;
        ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    }
    Ok(())
}

fn check_reset_at_the_deadline(topology: &Topology, vip: IpAddr) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, &[web(topology, vip)])?;
    wait_for_takers(&daemon, "web", &ALL)?;
    let server = SocketAddr::new(vip, 80);
    let (mut own, mut others) = held(topology, server)?;

    daemon.cli_text(&["backend", "drain", "web", "b1", "--timeout", "1h", "--then", "reset"])?;
    check_all(&mut own)?;
    let tally = connections(topology.client(), server, 200, 4)?;
    ensure!((tally.failed(), tally.of("b1")) == (0, 0), "{tally:?}");
    let status = backend_status(&daemon, "web", "b1")?;
    let drain = &status["drain"];
    ensure!(drain["then"] == "reset" && drain["overdue"] == false && drain["ended"].is_null(), "{status}");
    ensure!(drain["flows_left"].as_u64() >= Some(own.len() as u64), "{status}");

    // Another deadline for the drain under way, which then passes.
    daemon.cli_text(&["backend", "drain", "web", "b1", "--timeout", "1s"])?;
    wait_for_backend(&daemon, "web", "b1", "resets its flows", |status| {
        status["drain"]["overdue"] == true && status["keeps_flows"] == false
    })?;
    ensure!(daemon.cli_text(&["status"])?.contains("each is reset with its next packet"));
    let (source, destination) = (own[0].local()?.to_string(), server.to_string());
    let question = ["--json", "explain", "--proto", "tcp", "--src", &source, "--dst", &destination, "--established"];
    let explained = daemon.cli(&question)?;
    ensure!(explained["verdict"] == "reset" && explained["flow"]["backend"] == "b1", "{explained}");
    let (new, sent) = (flows_new(&daemon, "web")?, replies(&daemon)?);
    check_reset(&mut own)?;
    ensure!(flows_new(&daemon, "web")? == new, "a packet of a flow that is reset began a flow");
    let resets = replies(&daemon)? - sent;
    ensure!(resets >= own.len() as u64, "{resets} answers of the node to {} connections", own.len());
    check_all(&mut others)?;
    let tally = connections(topology.client(), server, 200, 4)?;
    ensure!((tally.failed(), tally.of("b1")) == (0, 0), "{tally:?}");
    wait_for_backend(&daemon, "web", "b1", "is drained", |status| status["drain"]["ended"].is_object())?;
    check_all(&mut others)?;
    println!(
        "{vip}: at the deadline {} connections of b1 were reset by {resets} answers of the node, {} others went on",
        own.len(),
        others.len()
    );
    Ok(())
}

#[test]
fn connections_are_reset_at_the_deadline() -> Result<()> {
    check_reset_at_the_deadline(&Topology::one_nic(3)?, VIP4.into())
}

#[test]
fn connections_are_reset_at_the_deadline_over_ipv6_and_two_nics() -> Result<()> {
    check_reset_at_the_deadline(&Topology::two_nics(3)?, VIP6.into())
}

#[test]
fn connections_are_kept_beyond_the_deadline_and_a_drain_is_cancelled() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP4));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &[web(&topology, vip)])?;
    wait_for_takers(&daemon, "web", &ALL)?;
    let server = SocketAddr::new(vip, 80);
    let (mut own, mut others) = held(&topology, server)?;
    daemon.cli_text(&["backend", "drain", "web", "b1", "--timeout", "1s"])?;
    wait_for_backend(&daemon, "web", "b1", "is overdue", |status| status["drain"]["overdue"] == true)?;
    wait_until("the log has it", PATIENCE, || daemon.log().contains("the deadline of a drain has passed"))?;
    let status = backend_status(&daemon, "web", "b1")?;
    ensure!(status["drain"]["then"] == "keep" && status["keeps_flows"] == true, "{status}");
    check_all(&mut own)?;
    ensure!(daemon.cli_text(&["status"])?.contains("drain overdue"));
    let tally = connections(topology.client(), server, 200, 4)?;
    ensure!((tally.failed(), tally.of("b1")) == (0, 0), "{tally:?}");

    let said = daemon.cli_text(&["backend", "undrain", "web", "b1"])?;
    ensure!(said.contains("is enabled, its drain cancelled"), "{said}");
    wait_for_takers(&daemon, "web", &ALL)?;
    ensure!(backend_status(&daemon, "web", "b1")?["drain"].is_null());
    let tally = connections(topology.client(), server, 300, 4)?;
    ensure!(tally.failed() == 0 && tally.of("b1") > 50, "{tally:?}");
    check_all(&mut own)?;
    check_all(&mut others)?;
    let error = daemon.cli_text(&["backend", "undrain", "web", "b1"]).err().context("there is no drain")?;
    ensure!(format!("{error:#}").contains("is enabled, not draining"), "{error:#}");
    println!("{vip}: {} connections of b1 outlived the deadline and the drain's cancellation", own.len());
    Ok(())
}

#[test]
fn a_drain_ends_with_the_last_flow() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP6));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let mut daemon = start(&topology, &bpffs, &[web(&topology, vip)])?;
    wait_for_takers(&daemon, "web", &ALL)?;
    let (mut own, mut others) = held(&topology, SocketAddr::new(vip, 80))?;
    daemon.cli_text(&["backend", "drain", "web", "b1", "--timeout", "1h", "--then", "reset"])?;
    let left = |status: &serde_json::Value| status["drain"]["flows_left"].as_u64();
    let before = left(&backend_status(&daemon, "web", "b1")?);
    ensure!(before >= Some(own.len() as u64), "{before:?}");
    let last = own.pop().context("a connection")?;
    drop(own);
    wait_for_backend(&daemon, "web", "b1", "one flow is left", |status| left(status) == Some(1))?;
    ensure!(backend_status(&daemon, "web", "b1")?["drain"]["ended"].is_null());
    drop(last);
    wait_for_backend(&daemon, "web", "b1", "the drain has ended", |status| status["drain"]["ended"].is_object())?;
    let status = backend_status(&daemon, "web", "b1")?;
    ensure!(status["drain"]["overdue"] == false && status["admin_state"] == "draining", "{status}");
    let log = daemon.log();
    ensure!(log.contains("drained: no flow is left") && log.contains("draining"), "{log}");
    ensure!(daemon.cli_text(&["status"])?.contains("b1: drained: no flow is left"));
    // That it is over outlives the daemon.
    let ended = status["drain"]["ended"].clone();
    daemon.kill9();
    daemon.restart()?;
    ensure!(backend_status(&daemon, "web", "b1")?["drain"]["ended"] == ended);
    check_all(&mut others)?;
    println!("{vip}: the drain of b1 ended with its last connection, an hour before its deadline");
    Ok(())
}

#[test]
fn udp_flows_stay_until_they_are_idle_and_move_at_the_deadline() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP4));
    let target = SocketAddr::new(vip, 4000);
    let start_sink = |b: &evenkeel_tests::topology::Backend| UdpSink::start(b.namespace(), b.name(), target);
    let sinks = topology.backends().iter().map(start_sink).collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &[Service::udp("udp", vip, 4000, &topology).option(TIMEOUTS)])?;
    wait_for_takers(&daemon, "udp", &ALL)?;
    let stream = UdpStream::start(topology.client(), target, 2000, 32)?;
    wait_until("b1 has flows", PATIENCE, || sinks[0].received() >= 100)?;
    daemon.cli_text(&["backend", "drain", "udp", "b1", "--timeout", "1h"])?;
    let before = sinks[0].received();
    wait_until("the flows of b1 stay", PATIENCE, || sinks[0].received() >= before + 500)?;
    let given = backend_status(&daemon, "udp", "b1")?["flows_new"].clone();
    let other = UdpStream::start(topology.client(), target, 1000, 64)?;
    wait_until("new flows have begun", PATIENCE, || other.sent() >= 500)?;
    ensure!(backend_status(&daemon, "udp", "b1")?["flows_new"] == given, "new flows came to a draining backend");
    let report = collect(other.stop()?, &sinks, PATIENCE);
    ensure!(report.lost.is_empty() && report.split.is_empty(), "{report:?}");
    ensure!(!report.by_sink.contains_key("b1") || report.by_sink["b1"] == 0, "{:?}", report.by_sink);
    ensure!(backend_status(&daemon, "udp", "b1")?["drain"]["ended"].is_null());
    let report = collect(stream.stop()?, &sinks, PATIENCE);
    ensure!(report.lost.is_empty() && report.split.is_empty(), "{report:?}");
    wait_for_backend(&daemon, "udp", "b1", "its flows are idle", |status| status["drain"]["ended"].is_object())?;

    daemon.cli_text(&["backend", "undrain", "udp", "b1"])?;
    wait_for_takers(&daemon, "udp", &ALL)?;
    let stream = UdpStream::start(topology.client(), target, 2000, 32)?;
    let before = sinks[0].received();
    wait_until("b1 has flows again", PATIENCE, || sinks[0].received() >= before + 100)?;
    // What a UDP service does without being told.
    daemon.cli_text(&["backend", "drain", "udp", "b1", "--timeout", "1s"])?;
    wait_for_backend(&daemon, "udp", "b1", "keeps no flows", |status| status["keeps_flows"] == false)?;
    let sent = stream.sent();
    wait_until("the flows go on", PATIENCE, || stream.sent() >= sent + 200)?;
    let (then, sent) = (sinks[0].received(), stream.sent());
    wait_until("the flows go on elsewhere", PATIENCE, || stream.sent() >= sent + 1000)?;
    ensure!(sinks[0].received() == then, "b1 got datagrams after its deadline");
    let report = collect(stream.stop()?, &sinks, PATIENCE);
    ensure!(report.lost.is_empty() && report.duplicated.is_empty(), "{report:?}");
    ensure!(!report.split.is_empty() && report.split.values().all(|sinks| sinks.contains("b1")), "{report:?}");
    println!(
        "{vip}: UDP flows of b1 stayed until they were idle; at a deadline {} moved and no datagram was lost",
        report.split.len()
    );
    Ok(())
}

#[test]
fn a_removed_backend_leaves_once_its_clients_were_told() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP4));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let service = web(&topology, vip).option("drain_timeout: 1s").option("on_drain_timeout: reset");
    let daemon = start(&topology, &bpffs, &[service])?;
    wait_for_takers(&daemon, "web", &ALL)?;
    let (mut own, mut others) = held(&topology, SocketAddr::new(vip, 80))?;
    daemon.cli_text(&["backend", "remove", "web", "b1"])?;
    wait_for_backend(&daemon, "web", "b1", "its deadline has passed", |status| {
        status["leaving"] == true && status["drain"]["overdue"] == true && status["keeps_flows"] == false
    })?;
    check_reset(&mut own)?;
    check_all(&mut others)?;
    wait_until("b1 has left", PATIENCE, || backend_status(&daemon, "web", "b1").is_err())?;
    check_all(&mut others)?;
    println!("{vip}: b1, removed, reset its {} connections at the deadline and left", own.len());
    Ok(())
}
