//! Limits of new flows: full backends, rates of services and of clients, and lists of clients that change.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream},
};

use anyhow::{Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{SILENCE, connect, who},
    daemon::Daemon,
    namespace::Namespace,
    scenario::{Service, configuration, nginx_everywhere, service_status, start, wait_for_backend, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_ok, wait_until},
};

fn dropped(daemon: &Daemon<'_>, reason: &str) -> Result<u64> {
    Ok(daemon.cli(&["--json", "status"])?["node"]["counters"]["dropped"][reason].as_u64().expect("a counter"))
}

fn refused(daemon: &Daemon<'_>, service: &str, reason: &str) -> Result<u64> {
    Ok(service_status(daemon, service)?["limits"]["refused"][reason].as_u64().unwrap_or(0))
}

/// What `explain` says of a new connection.
fn explained(daemon: &Daemon<'_>, source: IpAddr, server: SocketAddr) -> Result<(String, String)> {
    let (source, server) = (SocketAddr::new(source, 50_123).to_string(), server.to_string());
    let answer = daemon.cli(&["--json", "explain", "--proto", "tcp", "--src", &source, "--dst", &server])?;
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    Ok((text("verdict"), text("reason")))
}

/// Another configuration comes into force.
fn reload(daemon: &mut Daemon<'_>, topology: &Topology, services: &[Service]) -> Result<()> {
    daemon.configure(|paths| configuration(paths, topology, services))?;
    daemon.hangup()
}

fn check_connections(topology: &Topology, vip: IpAddr) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80, 81], None)?;
    let web = |name, port, on_exceed: &str| {
        let limits = format!("limits: {{on_exceed: {on_exceed}}}");
        Service::tcp(name, vip, port, topology).options(&["max_connections: 3", &limits, "probe: none"])
    };
    let services = [web("web", 80, "drop"), web("strict", 81, "reject")];
    let bpffs = Bpffs::mount()?;
    let mut daemon = start(topology, &bpffs, &services)?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    wait_for_takers(&daemon, "strict", &["b1", "b2"])?;
    let (client, server) = (topology.client(), SocketAddr::new(vip, 80));
    let source = topology.client_addresses().like(vip);
    let mut open = Vec::new();
    for _ in 0..6 {
        let mut stream = connect(client, None, server)?.expect("there is room");
        let name = who(&mut stream)?;
        open.push((name, stream));
    }
    // Whatever their hashes say, each backend has as many as it may.
    let of = |open: &[(String, TcpStream)], name: &str| open.iter().filter(|(other, _)| other == name).count();
    assert_eq!([of(&open, "b1"), of(&open, "b2")], [3, 3]);
    assert_eq!(connect(client, None, server)?.expect_err("both are full"), ErrorKind::TimedOut);
    assert!(dropped(&daemon, "limit-connections")? > 0 && refused(&daemon, "web", "limit-connections")? > 0);
    assert_eq!(explained(&daemon, source, server)?, ("drop".to_owned(), "limit-connections".to_owned()));
    assert!(daemon.cli_text(&["status"])?.contains("full: 3 of 3 connections"));
    // A place that is free is taken again, and by whom it is.
    let at = open.iter().position(|(name, _)| name == "b1").expect("one of b1's");
    drop(open.swap_remove(at));
    let mut again = None;
    wait_ok("a new connection is taken", PATIENCE, || {
        again = connect(client, None, server)?.ok();
        ensure!(again.is_some(), "not yet");
        Ok(())
    })?;
    assert_eq!(who(again.as_mut().expect("a connection"))?, "b1");
    for (name, stream) in &mut open {
        assert_eq!(who(stream)?, *name, "known connections go on");
    }
    // Raised without a restart.
    let raised = services.clone().map(|service| service.options(&["max_connections: 4", "probe: none"]));
    reload(&mut daemon, topology, &raised)?;
    wait_ok("the limit is raised", PATIENCE, || {
        ensure!(connect(client, None, server)?.is_ok(), "still full");
        Ok(())
    })?;
    for (name, stream) in &mut open {
        assert_eq!(who(stream)?, *name, "a reload leaves connections alone");
    }
    reload(&mut daemon, topology, &services)?;
    wait_for_backend(&daemon, "strict", "b1", "it may have three again", |status| status["max_connections"] == 3)?;
    let strict = SocketAddr::new(vip, 81);
    let held: Vec<_> = (0..6).map(|_| connect(client, None, strict)).collect::<Result<_>>()?;
    assert!(held.iter().all(Result::is_ok));
    wait_ok("a full service refuses", PATIENCE, || {
        let outcome = connect(client, None, strict)?.map(drop);
        ensure!(outcome == Err(ErrorKind::ConnectionRefused), "{outcome:?}");
        Ok(())
    })?;
    assert_eq!(explained(&daemon, source, strict)?, ("reject".to_owned(), "limit-connections".to_owned()));
    println!("{vip}: 6 connections, 3 each, none above; a free place was b1's again; 4 after a reload; reject refused");
    Ok(())
}

#[test]
fn full_backends_are_left_out() -> Result<()> {
    check_connections(&Topology::one_nic(2)?, VIP4.into())
}

#[test]
fn full_backends_are_left_out_over_ipv6() -> Result<()> {
    check_connections(&Topology::two_nics(2)?, VIP6.into())
}

/// The client's own address, and two more of its network.
fn sources(topology: &Topology, vip: IpAddr) -> Result<[IpAddr; 3]> {
    let (more, length) = if vip.is_ipv4() {
        (["10.0.0.200", "10.0.0.201"], "24")
    } else {
        (["2001:db8:1::200", "2001:db8:1::201"], "64 nodad")
    };
    topology.client().ip(&more.map(|address| {
        let (length, options) = length.split_once(' ').unwrap_or((length, ""));
        format!("address add {address}/{length} dev eth0 {options}")
    }))?;
    let [one, two] = more.map(|address| address.parse().expect("an address"));
    Ok([topology.client_addresses().like(vip), one, two])
}

fn served(client: &Namespace, source: IpAddr, server: SocketAddr) -> Result<bool> {
    Ok(connect(client, Some(source), server)?.is_ok())
}

fn check_rates(topology: &Topology, vip: IpAddr) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80, 81], None)?;
    let [own, one, two] = sources(topology, vip)?;
    // Slow enough that no token comes back while the test looks, and quick enough to wait for one.
    let each = "limits: {client: {new_per_second: 1, burst: 40, prefix_ipv4: 32, prefix_ipv6: 128}}";
    let all = "limits: {new_per_second: 1, burst: 40, on_exceed: reject}";
    let services = [("each", 80, each), ("all", 81, all)]
        .map(|(name, port, limits)| Service::tcp(name, vip, port, topology).options(&[limits, "probe: none"]));
    let bpffs = Bpffs::mount()?;
    let mut daemon = start(topology, &bpffs, &services)?;
    for service in ["each", "all"] {
        wait_for_takers(&daemon, service, &["b1", "b2"])?;
    }
    let (client, server) = (topology.client(), SocketAddr::new(vip, 80));
    let mut held = connect(client, Some(one), server)?.expect("within the rate");
    let name = who(&mut held)?;
    // The burst, and what comes back meanwhile.
    wait_until("one client is above its rate", PATIENCE, || !served(client, one, server).is_ok_and(|served| served))?;
    assert!(served(client, two, server)? && served(client, own, server)?, "others are not");
    assert_eq!(who(&mut held)?, name, "known connections go on");
    assert!(dropped(&daemon, "limit-client")? > 0 && refused(&daemon, "each", "limit-client")? > 0);
    wait_until("tokens come back", PATIENCE, || served(client, one, server).is_ok_and(|served| served))?;

    let server = SocketAddr::new(vip, 81);
    wait_ok("the service is above its rate", PATIENCE, || {
        let outcome = connect(client, Some(own), server)?.map(drop);
        ensure!(outcome == Err(ErrorKind::ConnectionRefused), "{outcome:?}");
        Ok(())
    })?;
    assert!(refused(&daemon, "all", "limit-service")? > 0);
    assert!(daemon.cli_text(&["status"])?.contains("limits: 1 new flows/s, 40 at once"));
    // Lifted without a restart.
    let free = services.map(|service| service.options(&["probe: none"]));
    reload(&mut daemon, topology, &free)?;
    wait_ok("the rate is lifted", PATIENCE, || {
        for _ in 0..60 {
            ensure!(served(client, two, server)?, "refused");
        }
        Ok(())
    })?;
    assert_eq!(who(&mut held)?, name, "a reload leaves connections alone");
    println!(
        "{vip}: one client above its rate was refused and others not; a service above its rate rejected until a reload"
    );
    Ok(())
}

#[test]
fn rates_of_clients_and_services() -> Result<()> {
    check_rates(&Topology::one_nic(2)?, VIP4.into())
}

#[test]
fn rates_of_clients_and_services_over_ipv6() -> Result<()> {
    check_rates(&Topology::one_nic(2)?, VIP6.into())
}

fn check_lists(topology: &Topology, vip: IpAddr) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80], None)?;
    let [own, one, two] = sources(topology, vip)?;
    let network = if vip.is_ipv4() { "10.0.0.0/24" } else { "2001:db8:1::/64" };
    let with =
        |options: &[&str]| [Service::tcp("web", vip, 80, topology).options(&[&["probe: none"], options].concat())];
    let (allow_one, deny_all) = (format!("allow: [\"{one}\"]"), format!("deny: [\"{network}\"]"));
    let deny_one = format!("deny: [\"{one}\"]");
    let bpffs = Bpffs::mount()?;
    let mut daemon = start(topology, &bpffs, &with(&[]))?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    let (client, server) = (topology.client(), SocketAddr::new(vip, 80));
    let mut open = Vec::new();
    for source in [own, one, two] {
        let mut stream = connect(client, Some(source), server)?.expect("no list");
        open.push((who(&mut stream)?, stream));
    }
    // One client is denied from now on: it is cut off, and nobody else is.
    reload(&mut daemon, topology, &with(&[&deny_one]))?;
    wait_until("it is denied", PATIENCE, || !served(client, one, server).is_ok_and(|served| served))?;
    assert!(served(client, own, server)? && served(client, two, server)?);
    let (name, stream) = &mut open[1];
    stream.set_read_timeout(Some(SILENCE))?;
    assert!(who(stream).is_err(), "{name} still answers a connection of a client that is denied");
    for at in [0, 2] {
        let (name, stream) = &mut open[at];
        assert_eq!(who(stream)?, *name, "others go on");
    }
    assert!(dropped(&daemon, "denied")? > 0 && refused(&daemon, "web", "denied")? > 0);
    assert_eq!(explained(&daemon, one, server)?, ("drop".to_owned(), "denied".to_owned()));
    assert_ne!(explained(&daemon, own, server)?.1, "denied");
    // The longest prefix counts.
    reload(&mut daemon, topology, &with(&[&allow_one, &deny_all]))?;
    wait_until("it is allowed again", PATIENCE, || served(client, one, server).is_ok_and(|served| served))?;
    assert!(!served(client, own, server)? && !served(client, two, server)?);
    // Without any list everybody is served again, and who was cut off goes on where the connection still lives.
    reload(&mut daemon, topology, &with(&[]))?;
    wait_until("the lists are gone", PATIENCE, || served(client, own, server).is_ok_and(|served| served))?;
    let (name, stream) = &mut open[2];
    assert_eq!(who(stream)?, *name);
    println!("{vip}: a denied client was cut off and others not; the longest prefix counted; all changed by reload");
    Ok(())
}

#[test]
fn lists_of_clients_change_live() -> Result<()> {
    check_lists(&Topology::one_nic(2)?, VIP4.into())
}

#[test]
fn lists_of_clients_change_live_over_ipv6() -> Result<()> {
    check_lists(&Topology::one_nic(2)?, VIP6.into())
}
