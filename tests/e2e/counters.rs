//! Counters equal what was sent, to the packet.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{UdpSink, UdpStream, collect, connections},
    daemon::Daemon,
    namespace::Namespace,
    scenario::{Service, nginx_everywhere, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_ok, wait_until},
};
use serde_json::Value;

const UDP_PORT: u16 = 4000;
const FLOWS: u64 = 60;
const CONNECTIONS: u64 = 500;
/// Ethernet, UDP and a datagram of the stream.
const DATAGRAM: u64 = 14 + 8 + 20;

/// Packets and bytes of a service, and the packets of each of its backends.
#[derive(Debug, Default, PartialEq, Eq)]
struct Forwarded {
    packets: u64,
    bytes: u64,
    flows: u64,
    by_backend: BTreeMap<String, u64>,
}

fn number(of: &Value) -> Result<u64> {
    of.as_u64().with_context(|| format!("{of} is no count"))
}

fn sum(of: &Value) -> Result<u64> {
    of.as_object().context("counts by reason")?.values().map(number).sum()
}

fn forwarded(status: &Value, service: &str) -> Result<Forwarded> {
    let services = status["services"].as_array().context("services")?;
    let service = services.iter().find(|found| found["name"] == service).context("the service")?;
    let mut found =
        Forwarded { packets: number(&service["packets"])?, bytes: number(&service["bytes"])?, ..Forwarded::default() };
    for backend in service["backends"].as_array().context("backends")? {
        found.flows += number(&backend["flows_new"])?;
        let name = backend["name"].as_str().context("a name")?;
        found.by_backend.insert(name.to_owned(), number(&backend["packets"])?);
    }
    ensure!(found.by_backend.values().sum::<u64>() == found.packets, "a service is the sum of its backends: {service}");
    Ok(found)
}

/// received = transmitted + redirected + passed + dropped.
fn check_balance(status: &Value) -> Result<()> {
    let node = &status["node"]["counters"];
    let fates =
        [number(&node["transmitted"])?, number(&node["redirected"])?, sum(&node["passed"])?, sum(&node["dropped"])?];
    assert_eq!(number(&node["received"])?, fates.iter().sum::<u64>(), "{node}");
    Ok(())
}

/// Packets that the kernel counted on the balancer's interfaces.
fn kernel_received(topology: &Topology) -> Result<u64> {
    let text = topology.balancer().exec("ip", ["-json", "-stats", "link"])?;
    let links: Value = serde_json::from_str(&text)?;
    let ours = |link: &&Value| topology.balancer_interfaces().iter().any(|name| link["ifname"] == *name);
    links.as_array().context("links")?.iter().filter(ours).map(|link| number(&link["stats64"]["rx"]["packets"])).sum()
}

/// The status, and what the kernel counted, at a moment when nothing came in between.
fn quiet_moment(topology: &Topology, daemon: &Daemon<'_>) -> Result<(Value, u64)> {
    wait_ok("no packet comes while the counters are read", PATIENCE, || {
        let before = kernel_received(topology)?;
        let status = daemon.cli(&["--json", "status"])?;
        ensure!(kernel_received(topology)? == before, "packets came");
        Ok((status, before))
    })
}

/// TCP segments that a machine sent, IPv4 and IPv6, resets and repeated ones included (`OutSegs`, RFC 4022).
fn segments_sent(machine: &Namespace) -> Result<u64> {
    let text = machine.exec("cat", ["/proc/net/snmp"])?;
    let mut rows = text.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (names, values) = (rows.next().context("names")?, rows.next().context("values")?);
    let (_, value) = names.zip(values).find(|(name, _)| *name == "OutSegs").context("OutSegs")?;
    Ok(value.parse()?)
}

fn check_udp(topology: &Topology, daemon: &Daemon<'_>, vip: IpAddr) -> Result<u64> {
    let at = SocketAddr::new(vip, UDP_PORT);
    let sinks = topology.backends().iter().map(|b| UdpSink::start(b.namespace(), b.name(), at));
    let sinks = sinks.collect::<Result<Vec<_>>>()?;
    let stream = UdpStream::start(topology.client(), at, 4000, FLOWS as u32)?;
    wait_until("4000 datagrams are sent", PATIENCE, || stream.sent() >= 4000)?;
    let report = collect(stream.stop()?, &sinks, PATIENCE);
    assert!(report.lost.is_empty(), "{report:?}");
    let counted = forwarded(&daemon.cli(&["--json", "status"])?, "stream")?;
    let ip = if vip.is_ipv4() { 20 } else { 40 };
    let bytes = report.sent * (DATAGRAM + ip);
    let expected = Forwarded { packets: report.sent, bytes, flows: FLOWS, by_backend: report.by_sink };
    assert_eq!(counted, expected);
    Ok(report.sent)
}

fn check_tcp(topology: &Topology, daemon: &Daemon<'_>, vip: IpAddr) -> Result<u64> {
    let client = topology.client();
    let before = segments_sent(client)?;
    let tally = connections(client, SocketAddr::new(vip, 80), CONNECTIONS, 8)?;
    assert_eq!(tally.answered(), CONNECTIONS, "{tally:?}");
    // The last segments of a connection may follow its answer.
    let (segments, counted) = wait_ok("all segments are counted", PATIENCE, || {
        let segments = segments_sent(client)? - before;
        let counted = forwarded(&daemon.cli(&["--json", "status"])?, "web")?;
        ensure!(counted.packets == segments, "{segments} were sent, but {counted:?}");
        Ok((segments, counted))
    })?;
    assert_eq!(counted.flows, CONNECTIONS);
    Ok(segments)
}

fn check_counters(topology: &Topology, vip: IpAddr) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let services = [Service::tcp("web", vip, 80, topology), Service::udp("stream", vip, UDP_PORT, topology)];
    let daemon = start(topology, &bpffs, &services)?;
    for service in ["web", "stream"] {
        wait_for_takers(&daemon, service, &["b1", "b2", "b3"])?;
    }
    let (first, received_first) = quiet_moment(topology, &daemon)?;
    let datagrams = check_udp(topology, &daemon, vip)?;
    let segments = check_tcp(topology, &daemon, vip)?;
    let (last, received_last) = quiet_moment(topology, &daemon)?;
    check_balance(&last)?;
    let node = |status: &Value, name: &str| number(&status["node"]["counters"][name]);
    let grown = |name: &str| Ok::<_, anyhow::Error>(node(&last, name)? - node(&first, name)?);
    assert_eq!(grown("received")?, received_last - received_first, "the kernel counted otherwise");
    assert_eq!(grown("transmitted")? + grown("redirected")?, datagrams + segments, "{last}");
    assert_eq!(grown("flows_created")?, FLOWS + CONNECTIONS, "{last}");
    assert_eq!(sum(&last["node"]["counters"]["dropped"])?, 0, "{last}");
    println!(
        "{vip}: {datagrams} datagrams and {segments} TCP segments were counted exactly by backend, service and node; \
         {} received as the kernel says",
        grown("received")?
    );
    Ok(())
}

#[test]
fn counters_are_exact() -> Result<()> {
    check_counters(&Topology::one_nic(3)?, VIP4.into())
}

#[test]
fn counters_are_exact_over_ipv6_and_two_nics() -> Result<()> {
    check_counters(&Topology::two_nics(3)?, VIP6.into())
}
