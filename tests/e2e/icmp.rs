//! What comes along with flows: ping to a VIP, and the messages of a router with a smaller MTU.
//!
//! ```text
//!   remote ──1400── client, here a router ── front ── balancer, backends
//! ```

use std::{collections::BTreeSet, net::IpAddr, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::Download,
    content::Content,
    daemon::{Daemon, Paths},
    names::unique,
    namespace::Namespace,
    scenario::{Service, configuration, nginx_everywhere, start, wait_for_takers},
    topology::{Topology, VIP_NETWORK4, VIP_NETWORK6, VIP4, VIP6},
    translation::{Pool, route_through_balancer},
    wait::{PATIENCE, wait_ok},
};

use crate::decapsulator::Decap;

/// Outer sources of the node, which the backends trust.
const SOURCES: &str = "{source_ipv4: 10.66.0.0/16, source_ipv6: \"2001:db8:66::/64\"}";
const NAMES: [&str; 3] = ["b1", "b2", "b3"];

/// A ping of so many bytes that must be answered in full.
fn ping(client: &Namespace, vip: IpAddr, size: u16) -> Result<()> {
    let (size, vip) = (size.to_string(), vip.to_string());
    let out = client.exec("ping", ["-n", "-c", "3", "-i", "0.2", "-W", "5", "-s", &size, &vip])?;
    ensure!(out.contains("3 packets transmitted, 3 received"), "{out}");
    // What ping says of data that came back otherwise than it was sent.
    ensure!(!out.contains("wrong data") && !out.contains("DUP!"), "{out}");
    ensure!(out.contains("ttl=64"), "{out}");
    Ok(())
}

fn pinged(topology: &Topology) -> Result<()> {
    let services = [Service::tcp("web", VIP4.into(), 80, topology), Service::tcp("web6", VIP6.into(), 80, topology)];
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, &services)?;
    for vip in [VIP4.into(), VIP6.into()] {
        for size in [0, 56, 1400] {
            ping(topology.client(), vip, size)?;
        }
    }
    let status = daemon.cli(&["--json", "status"])?;
    let replies = status["node"]["counters"]["replies"].as_u64().context("a counter")?;
    assert_eq!(replies, 18, "{status}");
    Ok(())
}

#[test]
fn a_vip_answers_ping() -> Result<()> {
    pinged(&Topology::one_nic(1)?)?;
    pinged(&Topology::two_nics(1)?)?;
    println!("ping to VIPs of both families: 36 of 36 requests answered by the node, with one NIC and with two");
    Ok(())
}

#[test]
fn ping_can_be_left_to_the_host() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let services = [Service::tcp("web", VIP4.into(), 80, &topology)];
    let bpffs = Bpffs::mount()?;
    let told = |answer: bool| {
        let (topology, services) = (&topology, &services);
        move |paths: &Paths| {
            configuration(paths, topology, services).replace("node:\n", &format!("node:\n  icmp_echo: {answer}\n"))
        }
    };
    let mut daemon = Daemon::start(topology.balancer(), &bpffs, told(false))?;
    let once = || topology.client().exec("ping", ["-n", "-c", "1", "-W", "1", &VIP4.to_string()]);
    assert!(once().is_err(), "the host has no such address");
    let passed = &daemon.cli(&["--json", "status"])?["node"]["counters"]["passed"]["other-protocol"];
    assert!(passed.as_u64().is_some_and(|passed| passed >= 1), "{passed}");
    for answer in [true, false] {
        daemon.configure(told(answer))?;
        daemon.hangup()?;
        wait_ok("the change is in force", PATIENCE, || {
            ensure!(once().is_ok() == answer);
            Ok(())
        })?;
    }
    println!("with icmp_echo false a ping was the host's, with true the node's; a reload changes it both ways");
    Ok(())
}

/// A machine behind the client, which becomes a router: the link between them takes 1400 bytes.
fn remote(topology: &Topology) -> Result<Namespace> {
    let router = topology.client();
    let remote = Namespace::create(&format!("{}-remote", unique()))?;
    router.sysctl(&[
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        // A router tells each sender once a second; here many flows have one sender, the VIP.
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ])?;
    router.ip(&[
        format!("link add remote mtu 1400 type veth peer name eth0 mtu 1400 netns {}", remote.name()),
        "addr add 10.9.0.1/24 dev remote".to_owned(),
        "addr add 2001:db8:9::1/64 dev remote nodad".to_owned(),
        "link set remote up".to_owned(),
    ])?;
    remote.ip(&[
        "addr add 10.9.0.2/24 dev eth0".to_owned(),
        "addr add 2001:db8:9::2/64 dev eth0 nodad".to_owned(),
        "link set eth0 up".to_owned(),
        // As if it did not know of the small link: the backends are offered full segments.
        "route add default via 10.9.0.1 advmss 1460".to_owned(),
        "route add default via 2001:db8:9::1 advmss 1440".to_owned(),
    ])?;
    let addresses = topology.client_addresses();
    for backend in topology.backends() {
        backend.namespace().ip(&[
            format!("route add 10.9.0.0/24 via {}", addresses.v4),
            format!("route add 2001:db8:9::/64 via {}", addresses.v6),
        ])?;
    }
    Ok(remote)
}

/// Adds or removes a rule that keeps the router's messages to VIPs to itself.
fn keep_messages(router: &Namespace, verb: &str) -> Result<()> {
    for (family, protocol, network) in [("-4", "icmp", VIP_NETWORK4), ("-6", "ipv6-icmp", VIP_NETWORK6)] {
        let rule = ["rule", verb, "pref", "10", "ipproto", protocol, "to", network, "blackhole"];
        router.exec("ip", [family].into_iter().chain(rule))?;
    }
    Ok(())
}

/// Segments that a machine has sent again.
fn retransmitted(machine: &Namespace) -> Result<u64> {
    let text = machine.exec("cat", ["/proc/net/snmp"])?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let at = names.split_whitespace().position(|name| name == "RetransSegs").context("a column")?;
    Ok(values.split_whitespace().nth(at).context("a value")?.parse()?)
}

fn recovers(topology: &Topology, vip: IpAddr, mode: &str) -> Result<()> {
    const FLOWS: usize = 12;
    let content = Content::generate(4, 4 << 20);
    let _servers = nginx_everywhere(topology, &[80], Some(&content))?;
    let bpffs = Bpffs::mount()?;
    let services = [Service::tcp("web", vip, 80, topology).option(&format!("mode: {mode}"))];
    let pool = Pool::add(topology)?;
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| {
        let tunnel = format!("  tunnel: {SOURCES}\n  limits:");
        pool.put_into(&configuration(paths, topology, &services).replace("  limits:", &tunnel))
    })?;
    let mut decapsulators = Vec::new();
    if matches!(mode, "ipip" | "gue") {
        let interface = topology.balancer_interfaces().last().context("an interface")?;
        for backend in topology.backends() {
            let mut decapsulator =
                Decap::new(backend.namespace(), bpffs.path().join(format!("decap-{}", backend.name())))?;
            decapsulator.run(&["--interface", interface, "--from", "10.66.0.0/16", "--from", "2001:db8:66::/64"])?;
            decapsulators.push(decapsulator);
        }
    }
    wait_for_takers(&daemon, "web", &NAMES)?;
    let remote = remote(topology)?;
    if mode == "nat" {
        route_through_balancer(topology, &["10.9.0.0/24", "2001:db8:9::/64"])?;
    }
    keep_messages(topology.client(), "add")?;
    let downloads = Download::start_many(FLOWS, &remote, SocketAddr::new(vip, 80), &content, None);
    wait_ok("full segments are sent again, in vain", PATIENCE, || {
        let of = |backend: &evenkeel_tests::topology::Backend| retransmitted(backend.namespace());
        let sum: u64 = topology.backends().iter().map(of).sum::<Result<u64>>()?;
        ensure!(sum >= 3 * FLOWS as u64, "{sum} so far");
        Ok(())
    })?;
    assert!(downloads.iter().all(|download| !download.ended()), "one came through without a message");
    keep_messages(topology.client(), "del")?;
    let mut by = BTreeSet::new();
    for download in downloads {
        let report = download.finish()?;
        assert_eq!((report.received, &report.outcome), (4 << 20, &Ok(())), "{report:?}");
        by.extend(report.backend);
    }
    // With one the message could not go to a wrong one.
    assert!(by.len() >= 2, "{by:?}");
    println!(
        "{mode} {vip}: {FLOWS} downloads of 4 MiB over a path of 1400 bytes stood still without its router's messages and \
         came byte for byte with them, from {by:?}"
    );
    Ok(())
}

#[test]
fn a_path_with_a_smaller_mtu_recovers_over_ipv4() -> Result<()> {
    recovers(&Topology::one_nic(3)?, VIP4.into(), "dsr-l2")
}

#[test]
fn a_path_with_a_smaller_mtu_recovers_over_ipv6_and_two_nics() -> Result<()> {
    recovers(&Topology::two_nics(3)?, VIP6.into(), "dsr-l2")
}

#[test]
fn a_path_with_a_smaller_mtu_recovers_through_tunnels() -> Result<()> {
    recovers(&Topology::one_nic(3)?, VIP6.into(), "ipip")?;
    recovers(&Topology::two_nics(3)?, VIP4.into(), "ipip")?;
    recovers(&Topology::one_nic(3)?, VIP4.into(), "gue")?;
    recovers(&Topology::two_nics(3)?, VIP6.into(), "gue")
}

#[test]
fn a_path_with_a_smaller_mtu_recovers_through_nat() -> Result<()> {
    recovers(&Topology::one_nic(3)?, VIP4.into(), "nat")?;
    recovers(&Topology::two_nics(3)?, VIP6.into(), "nat")
}

#[test]
fn a_path_with_a_smaller_mtu_recovers_through_full_nat() -> Result<()> {
    recovers(&Topology::two_nics(3)?, VIP4.into(), "full-nat")?;
    recovers(&Topology::one_nic(3)?, VIP6.into(), "full-nat")
}
