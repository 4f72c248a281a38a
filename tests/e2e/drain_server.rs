//! A server that is in several services leaves one of them or all.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Held, connections},
    daemon::Daemon,
    scenario::{Service, backend, backend_status, nginx_everywhere, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
};

const ALL: [&str; 3] = ["b1", "b2", "b3"];
const SERVICES: [(&str, u16); 2] = [("web", 80), ("alt", 8080)];

/// Who takes new connections of each service.
fn check_takers(topology: &Topology, daemon: &Daemon<'_>, vip: IpAddr, takers: [&[&str]; 2]) -> Result<()> {
    for ((service, port), takers) in SERVICES.into_iter().zip(takers) {
        wait_for_takers(daemon, service, takers)?;
        let tally = connections(topology.client(), SocketAddr::new(vip, port), 150, 4)?;
        let names: Vec<&str> = tally.replies.keys().map(String::as_str).collect();
        ensure!(tally.failed() == 0 && names == takers, "{service}: {tally:?}");
    }
    Ok(())
}

fn check(topology: &Topology, vip: IpAddr) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80, 8080], None)?;
    let bpffs = Bpffs::mount()?;
    let services = SERVICES.map(|(name, port)| Service::tcp(name, vip, port, topology));
    let daemon = start(topology, &bpffs, &services)?;
    check_takers(topology, &daemon, vip, [&ALL, &ALL])?;
    let (address, others) = (backend(topology, "b1").addresses().like(vip).to_string(), &ALL[1..]);
    let mut held = Vec::new();
    for (_, port) in SERVICES {
        held.extend(Held::open_many(30, topology.client(), SocketAddr::new(vip, port))?);
    }
    let go_on = |held: &mut Vec<Held>| held.iter_mut().try_for_each(Held::check);

    let said = daemon.cli_text(&["server", "drain", &address, "--timeout", "1h"])?;
    ensure!(said.contains("of service web is draining") && said.contains("of service alt is draining"), "{said}");
    check_takers(topology, &daemon, vip, [others, others])?;
    go_on(&mut held)?;
    let shown = daemon.cli_text(&["server", "show", &address])?;
    ensure!(shown.matches("draining").count() >= 4 && shown.contains("b1 of alt, port 8080"), "{shown}");
    let json = daemon.cli(&["--json", "server", "show", &address])?;
    ensure!(json.as_array().map(Vec::len) == Some(2) && json[0]["backend"]["drain"].is_object(), "{json}");
    ensure!(daemon.cli_text(&["server", "list"])?.lines().count() == 4);

    // In one of them it is disabled meanwhile, which the end of the drain leaves alone.
    daemon.cli_text(&["backend", "disable", "alt", "b1"])?;
    let said = daemon.cli_text(&["server", "undrain", &address])?;
    ensure!(said.contains("of service web is enabled") && !said.contains("alt"), "{said}");
    check_takers(topology, &daemon, vip, [&ALL, others])?;
    let error = daemon.cli_text(&["server", "undrain", &address]).err().context("there is no drain")?;
    ensure!(format!("{error:#}").contains("is draining"), "{error:#}");
    ensure!(backend_status(&daemon, "alt", "b1")?["admin_state"] == "disabled");
    // Its flows of the one service broke with that; those of the other, and of other backends, did not.
    let (mut rest, broken): (Vec<_>, Vec<_>) =
        held.into_iter().enumerate().partition(|(at, held)| *at < 30 || held.backend() != "b1");
    ensure!(broken.iter().all(|(_, held)| held.backend() == "b1") && !broken.is_empty());
    drop(broken);
    rest.iter_mut().try_for_each(|(_, held)| held.check())?;

    daemon.cli_text(&["server", "disable", &address])?;
    check_takers(topology, &daemon, vip, [others, others])?;
    let (_, mut rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, held)| held.backend() == "b1");
    rest.iter_mut().try_for_each(|(_, held)| held.check())?;
    daemon.cli_text(&["server", "enable", &address])?;
    check_takers(topology, &daemon, vip, [&ALL, &ALL])?;
    rest.iter_mut().try_for_each(|(_, held)| held.check())?;
    let error = daemon.cli_text(&["server", "drain", "203.0.113.99"]).err().context("nobody has that address")?;
    ensure!(format!("{error:#}").contains("no service has a backend with address"), "{error:#}");
    println!("{vip}: b1 was drained in both services, disabled in one, then in both, and came back; others went on");
    Ok(())
}

#[test]
fn a_server_leaves_all_services_or_one() -> Result<()> {
    check(&Topology::one_nic(3)?, VIP4.into())
}

#[test]
fn a_server_leaves_all_services_or_one_over_ipv6_and_two_nics() -> Result<()> {
    check(&Topology::two_nics(3)?, VIP6.into())
}
