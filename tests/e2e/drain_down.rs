//! What happens to the flows of a backend that goes down, and that nobody else's notice.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Held, UdpSink, UdpStream, collect},
    daemon::Daemon,
    scenario::{QUICK_PROBE, Service, backend, nginx_everywhere, service_status, start, wait_for_takers},
    topology::{Backend, Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

const ALL: [&str; 3] = ["b1", "b2", "b3"];

struct Scene {
    own: Vec<Held>,
    others: Vec<Held>,
}

impl Scene {
    fn begin(topology: &Topology, server: SocketAddr) -> Result<Self> {
        let all = Held::open_many(40, topology.client(), server)?;
        let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|held| held.backend() == "b1");
        ensure!(own.len() >= 3 && others.len() >= 3, "{} of 40 connections are b1's", own.len());
        Ok(Self { own, others })
    }

    fn others_go_on(&mut self) -> Result<()> {
        self.others.iter_mut().try_for_each(Held::check)
    }
}

/// Answers of the node, and flows given to `b2` and `b3`.
fn counters(daemon: &Daemon<'_>) -> Result<(u64, u64)> {
    let replies = daemon.cli(&["--json", "status"])?["node"]["counters"]["replies"].as_u64();
    let status = service_status(daemon, "web")?;
    let backends = status["backends"].as_array().context("a list of backends")?;
    let others = backends.iter().filter(|backend| backend["name"] != "b1");
    Ok((replies.context("a counter")?, others.filter_map(|backend| backend["flows_new"].as_u64()).sum()))
}

/// `b1` loses its cable: its connections are as they were, and its probes fail.
fn unplugged<'a>(
    topology: &'a Topology,
    bpffs: &Bpffs,
    vip: IpAddr,
    policy: &str,
) -> Result<(Daemon<'a>, Scene, (u64, u64))> {
    let service = Service::tcp("web", vip, 80, topology).option(&format!("on_backend_down: {policy}"));
    let daemon = start(topology, bpffs, &[service])?;
    wait_for_takers(&daemon, "web", &ALL)?;
    let mut scene = Scene::begin(topology, SocketAddr::new(vip, 80))?;
    topology.set_cable(backend(topology, "b1"), false)?;
    wait_for_takers(&daemon, "web", &["b2", "b3"])?;
    scene.others_go_on()?;
    let counters = counters(&daemon)?;
    Ok((daemon, scene, counters))
}

fn check_reset(topology: &Topology, vip: IpAddr) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let (daemon, mut scene, (replies, given)) = unplugged(topology, &bpffs, vip, "reset")?;
    for held in &mut scene.own {
        let error = held.ask().err().context("b1 has no cable")?;
        ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    }
    let (answered, moved) = counters(&daemon)?;
    ensure!(answered - replies >= scene.own.len() as u64 && moved == given, "{answered} {replies} {moved} {given}");
    scene.others_go_on()?;
    println!("{vip}: reset: {} connections of b1 were reset by the node, none moved", scene.own.len());
    Ok(())
}

#[test]
fn connections_of_a_dead_backend_are_reset() -> Result<()> {
    check_reset(&Topology::one_nic(3)?, VIP4.into())
}

#[test]
fn connections_of_a_dead_backend_are_reset_over_ipv6_and_two_nics() -> Result<()> {
    check_reset(&Topology::two_nics(3)?, VIP6.into())
}

#[test]
fn connections_of_a_dead_backend_move() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP4));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let (daemon, mut scene, (replies, given)) = unplugged(&topology, &bpffs, vip, "move")?;
    for held in &mut scene.own {
        // Whoever gets it knows nothing of it.
        let error = held.ask().err().context("b1 has no cable")?;
        ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    }
    let (answered, moved) = counters(&daemon)?;
    ensure!(answered == replies && moved - given >= scene.own.len() as u64, "{answered} {replies} {moved} {given}");
    scene.others_go_on()?;
    println!("{vip}: move: {} connections of b1 went to others, which refused them", scene.own.len());
    Ok(())
}

#[test]
fn connections_of_a_dead_backend_are_kept_for_it() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP6));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let (daemon, mut scene, before) = unplugged(&topology, &bpffs, vip, "keep")?;
    scene.own.iter_mut().try_for_each(Held::send)?;
    topology.set_cable(backend(&topology, "b1"), true)?;
    for held in &mut scene.own {
        ensure!(held.answer()? == "b1", "somebody else answers");
    }
    wait_for_takers(&daemon, "web", &ALL)?;
    ensure!(counters(&daemon)? == before, "a connection was answered or moved");
    scene.own.iter_mut().try_for_each(Held::check)?;
    scene.others_go_on()?;
    println!("{vip}: keep: {} connections of b1 went on when it was back", scene.own.len());
    Ok(())
}

/// A sender that never hears anything has to leave a dead backend, too.
fn check_one_way_udp(topology: &Topology, vip: IpAddr, options: &[&str]) -> Result<()> {
    let mut servers = nginx_everywhere(topology, &[80], None)?;
    let target = SocketAddr::new(vip, 4000);
    let start_sink = |b: &Backend| UdpSink::start(b.namespace(), b.name(), target);
    let sinks = topology.backends().iter().map(start_sink).collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let probe = QUICK_PROBE.replace("type: tcp", "type: tcp, port: 80");
    let service = Service::udp("udp", vip, 4000, topology).options(&[&[probe.as_str()], options].concat());
    let daemon = start(topology, &bpffs, &[service])?;
    wait_for_takers(&daemon, "udp", &ALL)?;
    let stream = UdpStream::start(topology.client(), target, 2000, 32)?;
    wait_until("b1 has flows", PATIENCE, || sinks[0].received() >= 100)?;
    servers[0].kill();
    wait_for_takers(&daemon, "udp", &["b2", "b3"])?;
    let sent = stream.sent();
    wait_until("what was under way has come", PATIENCE, || stream.sent() >= sent + 200)?;
    let (then, sent) = (sinks[0].received(), stream.sent());
    wait_until("1000 more are sent", PATIENCE, || stream.sent() >= sent + 1000)?;
    ensure!(sinks[0].received() == then, "b1 still gets datagrams");
    let report = collect(stream.stop()?, &sinks, PATIENCE);
    ensure!(report.lost.is_empty() && !report.split.is_empty(), "{report:?}");
    ensure!(report.split.values().all(|sinks| sinks.contains("b1")), "flows of others moved: {report:?}");
    println!("{vip}, {options:?}: {} one-way UDP flows left b1 when it died, no other one moved", report.split.len());
    Ok(())
}

#[test]
fn one_way_udp_senders_leave_a_dead_backend() -> Result<()> {
    check_one_way_udp(&Topology::one_nic(3)?, VIP4.into(), &[])?;
    check_one_way_udp(&Topology::two_nics(3)?, VIP6.into(), &["on_backend_down: reset"])
}
