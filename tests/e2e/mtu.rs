//! An MTU of 9000 from end to end: frames that lie in several buffers, in every mode.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Download, iperf3_datagrams},
    content::Content,
    daemon::Daemon,
    scenario::{Service, configuration, nginx_everywhere, wait_for_takers},
    servers::{self, IPERF3_PORT},
    topology::{Topology, VIP4, VIP6},
    translation::{Pool, route_client_through_balancer},
};
use serde_json::Value;

use crate::decapsulator::{at_every_backend, with_sources};

const MTU: u16 = 9000;
/// One frame each, larger than a page.
const DATAGRAM: u16 = 8192;
const SIZE: usize = 16 << 20;

/// Packets and bytes that the node sent to backends, and what it dropped as malformed.
fn sent(status: &Value) -> Result<[u64; 3]> {
    let counters = &status["node"]["counters"];
    let number = |value: &Value| value.as_u64().context("a number");
    let packets = number(&counters["transmitted"])? + number(&counters["redirected"])?;
    Ok([packets, number(&counters["received_bytes"])?, number(&counters["dropped"]["malformed"])?])
}

fn passes(topology: &Topology, vip: IpAddr, mode: &str) -> Result<()> {
    topology.set_mtu(MTU)?;
    let content = Content::generate(3, SIZE);
    let _nginx = nginx_everywhere(topology, &[80], Some(&content))?;
    let is_nat = mode.ends_with("nat");
    let own = topology.backends()[0].addresses().like(vip);
    let _iperf3 = servers::iperf3_at(topology.backends()[0].namespace(), if is_nat { own } else { vip })?;
    let pool = Pool::add(topology)?;
    if mode == "nat" {
        route_client_through_balancer(topology)?;
    }
    let bpffs = Bpffs::mount()?;
    let is_tunnel = matches!(mode, "ipip" | "gue");
    let _decapsulators = if is_tunnel { at_every_backend(topology, &bpffs)? } else { Vec::new() };
    let line = format!("mode: {mode}");
    let services = [
        Service::tcp("web", vip, 80, topology).option(&line),
        Service::tcp("control", vip, IPERF3_PORT, topology).only(&["b1"]).options(&["probe: none", &line]),
        Service::udp("data", vip, IPERF3_PORT, topology).only(&["b1"]).option(&line),
    ];
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| {
        with_sources(&pool.put_into(&configuration(paths, topology, &services)))
    })?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    wait_for_takers(&daemon, "control", &["b1"])?;
    wait_for_takers(&daemon, "data", &["b1"])?;
    let status = daemon.cli(&["--json", "status"])?;
    let features = status["node"]["features"].to_string();
    ensure!(features.contains("long-frames"), "{features}");
    let before = sent(&status)?;
    let run = iperf3_datagrams(topology.client(), vip, DATAGRAM, Duration::from_secs(1))?;
    let after = sent(&daemon.cli(&["--json", "status"])?)?;
    let [packets, bytes, malformed] = [0, 1, 2].map(|i| after[i] - before[i]);
    assert!(run.sent > 100 && run.lost * 2 < run.sent, "{run:?}");
    assert_eq!(malformed, 0, "frames in several buffers were not understood");
    // Most of what came were datagrams, whole.
    assert!(bytes > 4096 * packets, "{bytes} bytes in {packets} packets");
    for download in Download::start_many(2, topology.client(), SocketAddr::new(vip, 80), &content, None) {
        let report = download.finish()?;
        assert_eq!((report.received, &report.outcome), (SIZE as u64, &Ok(())), "{report:?}");
    }
    println!(
        "{mode} {vip}: {} datagrams of {DATAGRAM} bytes, {} lost, in {packets} frames of {bytes} bytes",
        run.sent, run.lost
    );
    Ok(())
}

#[test]
fn frames_of_9000_bytes_pass_in_dsr_l2() -> Result<()> {
    passes(&Topology::one_nic(2)?, VIP4.into(), "dsr-l2")?;
    passes(&Topology::two_nics(2)?, VIP6.into(), "dsr-l2")
}

/// What the client sends leaves room for the outer header.
#[test]
fn frames_of_9000_bytes_pass_through_tunnels() -> Result<()> {
    passes(&Topology::one_nic(2)?, VIP4.into(), "ipip")?;
    passes(&Topology::two_nics(2)?, VIP6.into(), "gue")
}

#[test]
fn frames_of_9000_bytes_pass_in_nat() -> Result<()> {
    passes(&Topology::two_nics(2)?, VIP4.into(), "nat")?;
    passes(&Topology::one_nic(2)?, VIP6.into(), "nat")
}

#[test]
fn frames_of_9000_bytes_pass_in_full_nat() -> Result<()> {
    passes(&Topology::one_nic(2)?, VIP4.into(), "full-nat")?;
    passes(&Topology::two_nics(2)?, VIP6.into(), "full-nat")
}
