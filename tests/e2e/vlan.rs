//! A backend behind a VLAN device of the balancer's.
//!
//! ```text
//!   client   balancer        b1
//!    eth0    eth0.100      eth0.100    10.0.100.0/24
//!     │        eth0          eth0
//!   ──┴─────────┴─────────────┴── front
//! ```

use std::net::SocketAddr;

use anyhow::Result;
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{UdpSink, UdpStream, collect},
    daemon::Daemon,
    namespace::Namespace,
    scenario::{Service, backend_status, configuration, wait_for_takers},
    topology::{Topology, VIP4},
    wait::{PATIENCE, wait_until},
};

const PORT: u16 = 4000;
const BACKEND: &str = "10.0.100.11";

/// Makes `eth0.100`; `false` if this kernel has no VLAN devices.
fn add_vlan(namespace: &Namespace, address: &str) -> Result<bool> {
    let add = "link add link eth0 name eth0.100 type vlan id 100".to_owned();
    match namespace.ip(&[add]) {
        Err(error) if format!("{error:#}").contains("Unknown device type") => return Ok(false),
        other => other?,
    }
    namespace.ip(&[format!("addr add {address}/24 dev eth0.100"), "link set eth0.100 up".to_owned()])?;
    Ok(true)
}

#[test]
fn frames_leave_in_the_vlan_that_leads_to_the_backend() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let b1 = &topology.backends()[0];
    if !(add_vlan(topology.balancer(), "10.0.100.1")? && add_vlan(b1.namespace(), BACKEND)?) {
        println!("skipped: this kernel has no VLAN devices");
        return Ok(());
    }
    let target = SocketAddr::new(VIP4.into(), PORT);
    let sinks = [UdpSink::start(b1.namespace(), "b1", target)?];
    let direct = b1.addresses().v4.to_string();
    let bpffs = Bpffs::mount()?;
    let service = Service::udp("udp", VIP4.into(), PORT, &topology);
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| {
        configuration(paths, &topology, &[service]).replace(&direct, BACKEND)
    })?;
    wait_for_takers(&daemon, "udp", &["b1"])?;
    let hop = &backend_status(&daemon, "udp", "b1")?["next_hop"];
    assert_eq!((&hop["interface"], &hop["vlan"]), (&"eth0.100".into(), &100.into()), "{hop}");
    let stream = UdpStream::start(topology.client(), target, 500, 4)?;
    wait_until("datagrams arrive", PATIENCE, || sinks[0].received() >= 500)?;
    let report = collect(stream.stop()?, &sinks, PATIENCE);
    assert!(report.lost.is_empty(), "{report:?}");
    let question = ["explain", "--proto", "udp", "--src", "192.0.2.200:40000", "--dst", &target.to_string()];
    let text = daemon.cli_text(&question)?;
    assert!(text.contains("on eth0.100, in VLAN 100"), "{text}");
    println!("{VIP4}: {} datagrams left in VLAN 100, none lost", report.sent);
    Ok(())
}
