//! The balancer's interface is a bond: the program is attached to the bond itself, which runs it for its ports.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{UdpSink, UdpStream, collect},
    scenario::{Service, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

const PORT: u16 = 4000;
/// Those of the modes that take XDP and need no partner who speaks LACP.
const MODES: [&str; 3] = ["active-backup", "balance-rr", "balance-xor"];

/// Puts a bond in the place of the balancer's `eth0`, which becomes its port; `false` if this kernel has no bonds.
fn bond(topology: &Topology, mode: &str) -> Result<bool> {
    let balancer = topology.balancer();
    match balancer.ip(&[format!("link add bond0 type bond mode {mode} miimon 100")]) {
        Err(error) if format!("{error:#}").contains("Unknown device type") => return Ok(false),
        other => other?,
    }
    let address = topology.balancer_addresses();
    balancer.ip(&[
        "addr flush dev eth0".to_owned(),
        "link set eth0 down".to_owned(),
        "link set eth0 name port0".to_owned(),
        "link set port0 master bond0".to_owned(),
        "link set bond0 name eth0".to_owned(),
        "link set eth0 up".to_owned(),
        format!("addr add {}/24 dev eth0", address.v4),
        format!("addr add {}/64 dev eth0 nodad", address.v6),
    ])?;
    Ok(true)
}

#[test]
fn a_bond_takes_and_sends_packets() -> Result<()> {
    for mode in MODES {
        let topology = Topology::one_nic(2)?;
        if !bond(&topology, mode)? {
            println!("skipped: this kernel has no bonds");
            return Ok(());
        }
        let vips = [IpAddr::from(VIP4), VIP6.into()];
        let services = [("four", vips[0]), ("six", vips[1])];
        let services = services.map(|(name, vip)| Service::udp(name, vip, PORT, &topology));
        let bpffs = Bpffs::mount()?;
        let daemon = start(&topology, &bpffs, &services)?;
        let interfaces = daemon.cli(&["--json", "status"])?["node"]["interfaces"].clone();
        assert_eq!((&interfaces[0]["name"], &interfaces[0]["mode"]), (&"eth0".into(), &"native".into()));
        for (service, vip) in services.iter().zip(vips) {
            wait_for_takers(&daemon, &service.name, &["b1", "b2"])?;
            let target = SocketAddr::new(vip, PORT);
            let sinks = topology.backends().iter().map(|b| UdpSink::start(b.namespace(), b.name(), target));
            let sinks = sinks.collect::<Result<Vec<_>>>()?;
            let stream = UdpStream::start(topology.client(), target, 500, 16)?;
            wait_until("both get some", PATIENCE, || sinks.iter().all(|sink| sink.received() >= 200))?;
            let report = collect(stream.stop()?, &sinks, PATIENCE);
            assert!(report.lost.is_empty() && report.split.is_empty(), "{mode}: {report:?}");
            println!("bond in mode {mode}, {vip}: {} datagrams, none lost", report.sent);
        }
    }
    Ok(())
}
