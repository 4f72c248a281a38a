//! Modes `nat` and `full-nat`: addresses and ports translated there and back, by nginx, downloads, DNS and backends that are clients of
//! their own VIP.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Download, curl},
    content::Content,
    daemon::{Daemon, Paths},
    scenario::{QUICK_PROBE, Service, configuration, nginx_everywhere, wait_for_takers},
    servers::{self, DNS_PORT},
    topology::{Topology, VIP_NETWORK4, VIP_NETWORK6, VIP4, VIP6},
    translation::{Pool, route_client_through_balancer, route_through_balancer},
    wait::{PATIENCE, wait_until},
};

use crate::serving::{LIMIT, SIZE, serves};

/// Where nginx listens: not the service's port.
const PORT: u16 = 8080;

fn nat_configuration(mode: &str, vip: IpAddr, pool: &Pool, topology: &Topology, paths: &Paths) -> String {
    let mut text = configuration(paths, topology, &[]).replace("services:\n", "");
    text = pool.put_into(&text);
    text += "services:\n";
    for (name, port, own_port, protocol, probe) in
        [("web", 80, PORT, "tcp", QUICK_PROBE), ("dns", 5300, DNS_PORT, "udp", "probe: none")]
    {
        text += &format!(
            "  - name: {name}\n    vip: {vip}\n    port: {port}\n    protocol: {protocol}\n    mode: {mode}\n    {probe}\n    backends:\n"
        );
        for backend in topology.backends() {
            let address = backend.addresses().like(vip);
            text += &format!("      - {{name: {}, address: \"{address}\", port: {own_port}}}\n", backend.name());
        }
    }
    text
}

fn check(mode: &str, topology: &Topology) -> Result<()> {
    let content = Content::generate(11, SIZE);
    let _nginx = nginx_everywhere(topology, &[PORT], Some(&content))?;
    let dns = topology.backends().iter().map(|backend| servers::dns(backend.namespace(), backend.name()));
    let _dns = dns.collect::<Result<Vec<_>>>()?;
    let pool = Pool::add(topology)?;
    if mode == "nat" {
        route_client_through_balancer(topology)?;
    }
    let bpffs = Bpffs::mount()?;
    let mut running: Option<Daemon<'_>> = None;
    for vip in [IpAddr::from(VIP4), IpAddr::from(VIP6)] {
        let text = |paths: &Paths| nat_configuration(mode, vip, &pool, topology, paths);
        let daemon = match &mut running {
            None => running.insert(Daemon::start(topology.balancer(), &bpffs, text)?),
            Some(daemon) => {
                daemon.configure(text)?;
                daemon.hangup()?;
                daemon
            }
        };
        wait_until(&format!("{mode} on {vip} is in force"), PATIENCE, || {
            daemon
                .cli(&["--json", "service", "show", "web"])
                .is_ok_and(|status| status["vip"] == vip.to_string().as_str())
        })?;
        wait_for_takers(daemon, "web", &["b1", "b2"])?;
        serves(topology, vip, 5300, &content).with_context(|| format!("{mode} on {vip}"))?;
        let status = daemon.cli(&["--json", "status"])?;
        let replies = status["node"]["counters"]["nat_replies"].as_u64().context("nat_replies")?;
        assert!(replies > 10_000, "{replies} replies passed the node");
        println!(
            "{mode} on {vip}: 64 MB byte for byte, 400 of 400 connections, DNS from both backends, {replies} replies translated"
        );
    }
    Ok(())
}

#[test]
fn nat_serves_both_families_through_one_nic() -> Result<()> {
    check("nat", &Topology::one_nic(2)?)
}

#[test]
fn nat_serves_both_families_through_two_nics() -> Result<()> {
    check("nat", &Topology::two_nics(2)?)
}

#[test]
fn full_nat_serves_both_families_through_one_nic() -> Result<()> {
    check("full-nat", &Topology::one_nic(2)?)
}

#[test]
fn full_nat_serves_both_families_through_two_nics() -> Result<()> {
    check("full-nat", &Topology::two_nics(2)?)
}

/// A backend as client of a VIP that it does not hold.
#[test]
fn a_backend_is_a_client_of_its_own_service_with_full_nat_only() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    let _nginx = nginx_everywhere(&topology, &[80], None)?;
    route_through_balancer(&topology, &[VIP_NETWORK4, VIP_NETWORK6])?;
    let pool = Pool::add(&topology)?;
    let bpffs = Bpffs::mount()?;
    let vips: [IpAddr; 2] = ["192.0.2.77".parse()?, "2001:db8:ff::77".parse()?];
    let with = |mode: &'static str, backends: &'static [&'static str]| {
        let services = vips.map(|vip| {
            let name = if vip.is_ipv4() { "four" } else { "six" };
            Service::tcp(name, vip, 80, &topology).only(backends).option(&format!("mode: {mode}"))
        });
        let (topology, pool) = (&topology, &pool);
        move |paths: &Paths| pool.put_into(&configuration(paths, topology, &services))
    };
    let mut daemon = Daemon::start(topology.balancer(), &bpffs, with("full-nat", &["b1"]))?;
    let client = topology.backends()[0].namespace();
    let url = |vip: &IpAddr| if vip.is_ipv4() { format!("http://{vip}/who") } else { format!("http://[{vip}]/who") };
    for name in ["four", "six"] {
        wait_for_takers(&daemon, name, &["b1"])?;
    }
    for vip in &vips {
        assert_eq!(curl(client, &url(vip), LIMIT)?.trim(), "b1", "sent back to itself");
    }
    daemon.configure(with("full-nat", &["b1", "b2"]))?;
    daemon.hangup()?;
    for (name, vip) in ["four", "six"].iter().zip(&vips) {
        wait_for_takers(&daemon, name, &["b1", "b2"])?;
        let mut by = BTreeSet::new();
        wait_until("both answer the one", PATIENCE, || {
            by.extend(curl(client, &url(vip), LIMIT));
            by.len() == 2
        })?;
    }
    // Whoever is chosen: what the other backend answers would not pass the node.
    daemon.configure(with("nat", &["b1", "b2"]))?;
    daemon.hangup()?;
    let dropped = || -> Result<u64> {
        let status = daemon.cli(&["--json", "status"])?;
        status["node"]["counters"]["dropped"]["hairpin"].as_u64().context("a counter")
    };
    for (name, vip) in ["four", "six"].iter().zip(&vips) {
        wait_for_takers(&daemon, name, &["b1", "b2"])?;
        wait_until("the mode is in force", PATIENCE, || curl(client, &url(vip), Duration::from_secs(1)).is_err())?;
        for _ in 0..4 {
            let before = dropped()?;
            assert!(curl(client, &url(vip), Duration::from_secs(1)).is_err(), "nat served a backend");
            assert!(dropped()? > before, "refused, but not as hairpin");
        }
    }
    println!(
        "a backend reached its own service through itself and through the other one, both families; nat refused it"
    );
    Ok(())
}

/// Flows keep their ports when the pool gets another address.
#[test]
fn a_larger_pool_breaks_no_connection() -> Result<()> {
    const FLOWS: usize = 6;
    const LENGTH: usize = 12_000_000;
    const RATE: u64 = 3_000_000;
    let topology = Topology::one_nic(2)?;
    let content = Content::generate(5, LENGTH);
    let _nginx = nginx_everywhere(&topology, &[80], Some(&content))?;
    let pool = Pool::add(&topology)?;
    let bpffs = Bpffs::mount()?;
    let services = [
        Service::tcp("four", VIP4.into(), 80, &topology).option("mode: full-nat"),
        Service::tcp("six", VIP6.into(), 80, &topology).option("mode: full-nat"),
    ];
    let plain = |paths: &Paths| configuration(paths, &topology, &services);
    let mut daemon = Daemon::start(topology.balancer(), &bpffs, |paths| pool.put_half_into(&plain(paths)))?;
    for name in ["four", "six"] {
        wait_for_takers(&daemon, name, &["b1", "b2"])?;
    }
    let vips = [IpAddr::from(VIP4), VIP6.into()];
    let started =
        vips.map(|vip| Download::start_many(FLOWS, topology.client(), SocketAddr::new(vip, 80), &content, Some(RATE)));
    let downloads: Vec<Download> = started.into_iter().flatten().collect();
    wait_until("every download has begun", PATIENCE, || downloads.iter().all(|download| download.received() > 0))?;
    daemon.configure(|paths| pool.put_into(&plain(paths)))?;
    daemon.hangup()?;
    assert!(downloads.iter().all(|download| !download.ended()), "the reload came too late to matter");
    for download in downloads {
        let report = download.finish()?;
        assert_eq!((report.received, &report.outcome), (LENGTH as u64, &Ok(())), "{report:?}");
    }
    println!("{} downloads went on while the pool got two more addresses", 2 * FLOWS);
    Ok(())
}
