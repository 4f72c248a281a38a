//! `affinity: client-ip`: a client's connections go to one backend, for a time, and never to one that is leaving or dead.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{connect, who},
    namespace::Namespace,
    scenario::{Service, nginx_everywhere, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_ok},
};

/// Clients of each test.
const CLIENTS: u8 = 24;

/// Gives the client's namespace more addresses, four to each /30 (/126).
fn clients(topology: &Topology, vip: IpAddr) -> Result<Vec<IpAddr>> {
    let address = |n: u8| {
        if vip.is_ipv4() { format!("10.0.0.{}", 64 + n) } else { format!("2001:db8:1::2{n:02x}") }
    };
    let length = if vip.is_ipv4() { "24" } else { "64" };
    let nodad = if vip.is_ipv4() { "" } else { "nodad" };
    let lines = (0..CLIENTS).map(|n| format!("address add {}/{length} dev eth0 {nodad}", address(n)));
    topology.client().ip(&lines.collect::<Vec<_>>())?;
    (0..CLIENTS).map(|n| Ok(address(n).parse()?)).collect()
}

fn backend_of(client: &Namespace, source: IpAddr, server: SocketAddr) -> Result<String> {
    let mut stream = connect(client, Some(source), server)?.ok().with_context(|| format!("{source} is not served"))?;
    who(&mut stream)
}

/// Connections of each network in turn with the others', under a scheduler that would send them to all backends.
fn check(topology: &Topology, vip: IpAddr) -> Result<()> {
    let mut servers = nginx_everywhere(topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let affinity = "affinity: {type: client-ip, prefix_ipv4: 30, prefix_ipv6: 126, timeout: 10m}";
    let service = Service::tcp("web", vip, 80, topology).option("scheduler: round-robin").option(affinity);
    let daemon = start(topology, &bpffs, &[service])?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])?;
    let status = daemon.cli_text(&["status"])?;
    let told =
        format!("affinity client-ip, a /{} stays with a backend until 10m", if vip.is_ipv4() { 30 } else { 126 });
    ensure!(status.contains(&told), "{status}");
    let (client, server) = (topology.client(), SocketAddr::new(vip, 80));
    let sources = clients(topology, vip)?;
    let mut homes: Vec<Option<String>> = vec![None; sources.len() / 4];
    for _ in 0..3 {
        for (n, source) in sources.iter().enumerate() {
            let name = backend_of(client, *source, server)?;
            let home = homes[n / 4].get_or_insert_with(|| name.clone());
            ensure!(*home == name, "{source} went to {name}, its network is at {home}");
        }
    }
    let homes: Vec<String> = homes.into_iter().flatten().collect();
    for name in ["b1", "b2", "b3"] {
        ensure!(homes.iter().any(|home| home == name), "nobody is at {name}: {homes:?}");
    }
    // A backend that drains holds nobody; who is at the others stays.
    daemon.cli_text(&["backend", "drain", "web", "b1"])?;
    wait_for_takers(&daemon, "web", &["b2", "b3"])?;
    let mut moved = Vec::new();
    for (n, source) in sources.iter().enumerate() {
        let name = backend_of(client, *source, server)?;
        ensure!(
            name != "b1" && (homes[n / 4] == "b1" || homes[n / 4] == name),
            "{source} at {} went to {name}",
            homes[n / 4]
        );
        moved.push(name);
    }
    // Nor does a dead one.
    servers[1].kill();
    wait_for_takers(&daemon, "web", &["b3"])?;
    for source in &sources {
        ensure!(backend_of(client, *source, server)? == "b3", "{source} is held by a dead backend");
    }
    // Who is at b3 now stays there when the others are back.
    daemon.cli_text(&["backend", "undrain", "web", "b1"])?;
    wait_for_takers(&daemon, "web", &["b1", "b3"])?;
    for source in &sources {
        ensure!(backend_of(client, *source, server)? == "b3", "{source} has left its backend");
    }
    println!("{vip}: {} networks at {homes:?}, after a drain at {moved:?}, then all at b3", homes.len());
    Ok(())
}

#[test]
fn clients_stay_where_they_are() -> Result<()> {
    check(&Topology::one_nic(3)?, VIP4.into())
}

#[test]
fn clients_stay_where_they_are_over_ipv6_and_two_nics() -> Result<()> {
    check(&Topology::two_nics(3)?, VIP6.into())
}

#[test]
fn affinity_ends_with_its_time() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let service = Service::tcp("web", VIP4.into(), 80, &topology)
        .option("scheduler: round-robin")
        .option("affinity: {type: client-ip, timeout: 1s}");
    let daemon = start(&topology, &bpffs, &[service])?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])?;
    let (client, server) = (topology.client(), SocketAddr::new(VIP4.into(), 80));
    let source = topology.client_addresses().like(VIP4.into());
    let first = backend_of(client, source, server)?;
    ensure!(backend_of(client, source, server)? == first, "its second connection went elsewhere");
    // Each connection begins the time anew, so the next is not tried before it has passed.
    wait_ok("a later connection goes elsewhere", PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        ensure!(backend_of(client, source, server)? != first, "still at {first}");
        Ok(())
    })
}
