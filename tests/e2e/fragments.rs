//! Datagrams that are larger than the MTU: every fragment goes where the first one went, in every mode.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::iperf3_datagrams,
    daemon::Daemon,
    scenario::{Service, configuration, wait_for_takers},
    servers::{self, IPERF3_PORT},
    topology::{Topology, VIP4, VIP6},
    translation::{Pool, route_client_through_balancer},
};

use crate::decapsulator::{at_every_backend, with_sources};

/// Six fragments each, or seven.
const SIZE: u16 = 8192;
/// What fits into a tunnel over a path of 1500 bytes.
const INNER_MTU: &str = "1400";

fn arrives(topology: &Topology, vip: IpAddr, mode: &str) -> Result<()> {
    let backend = topology.backends()[0].namespace();
    // Translated packets come to the backend's own address.
    let is_nat = mode.ends_with("nat");
    let own = topology.backends()[0].addresses().like(vip);
    let _server = servers::iperf3_at(backend, if is_nat { own } else { vip })?;
    let pool = if is_nat { Some(Pool::add(topology)?) } else { None };
    if mode == "nat" {
        route_client_through_balancer(topology)?;
    }
    let bpffs = Bpffs::mount()?;
    let is_tunnel = matches!(mode, "ipip" | "gue");
    let _decapsulators = if is_tunnel { at_every_backend(topology, &bpffs)? } else { Vec::new() };
    // A probe would be taken for a client, and all connections of a run must reach one server.
    let mode_line = format!("mode: {mode}");
    let services = [
        Service::tcp("control", vip, IPERF3_PORT, topology).only(&["b1"]).options(&["probe: none", &mode_line]),
        Service::udp("data", vip, IPERF3_PORT, topology).only(&["b1"]).option(&mode_line),
    ];
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| {
        let text = with_sources(&configuration(paths, topology, &services));
        pool.as_ref().map_or(text.clone(), |pool| pool.put_into(&text))
    })?;
    wait_for_takers(&daemon, "control", &["b1"])?;
    wait_for_takers(&daemon, "data", &["b1"])?;
    let run = iperf3_datagrams(topology.client(), vip, SIZE, Duration::from_secs(1))?;
    let status = daemon.cli(&["--json", "status"])?;
    let dropped = status["node"]["counters"]["dropped"]["fragment"].as_u64().context("a counter")?;
    assert_eq!(dropped, 0, "{status}");
    // A busy machine may lose some; without their later fragments none would arrive.
    assert!(run.sent > 100 && run.lost * 2 < run.sent, "{run:?}: {status}");
    println!(
        "{mode} {vip}: {} datagrams of {SIZE} bytes sent, {} lost, no fragment without its first",
        run.sent, run.lost
    );
    Ok(())
}

/// The client makes fragments that fit the tunnel, as hosts behind one have to be told.
fn arrives_through_a_tunnel(topology: &Topology, mode: &str) -> Result<()> {
    let interface = "eth0";
    topology.client().exec("ip", ["link", "set", "dev", interface, "mtu", INNER_MTU])?;
    for vip in [IpAddr::from(VIP4), VIP6.into()] {
        arrives(topology, vip, mode)?;
    }
    Ok(())
}

#[test]
fn large_datagrams_arrive_over_ipv4_and_two_nics() -> Result<()> {
    arrives(&Topology::two_nics(2)?, VIP4.into(), "dsr-l2")
}

#[test]
fn large_datagrams_arrive_over_ipv6_and_one_nic() -> Result<()> {
    arrives(&Topology::one_nic(2)?, VIP6.into(), "dsr-l2")
}

#[test]
fn large_datagrams_arrive_through_ipip() -> Result<()> {
    arrives_through_a_tunnel(&Topology::one_nic(2)?, "ipip")
}

#[test]
fn large_datagrams_arrive_through_gue() -> Result<()> {
    arrives_through_a_tunnel(&Topology::two_nics(2)?, "gue")
}

#[test]
fn large_datagrams_arrive_through_nat() -> Result<()> {
    arrives(&Topology::one_nic(2)?, VIP4.into(), "nat")?;
    arrives(&Topology::two_nics(2)?, VIP6.into(), "nat")
}

#[test]
fn large_datagrams_arrive_through_full_nat() -> Result<()> {
    arrives(&Topology::two_nics(2)?, VIP4.into(), "full-nat")?;
    arrives(&Topology::one_nic(2)?, VIP6.into(), "full-nat")
}
