//! All backends of a service are down: new flows are dropped, rejected, or spread as if all were healthy.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::Result;
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::connections,
    daemon::Daemon,
    namespace::Namespace,
    scenario::{Service, nginx_everywhere, service_status, start},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

/// Nobody listens on the probed port: every backend is down, whatever it serves.
const FAILING_PROBE: &str = "probe: {type: tcp, port: 9, interval: 200ms, timeout: 150ms, rise: 2, fall: 3}";

const DROP: u16 = 80;
const REJECT: u16 = 81;
const FAIL_OPEN: u16 = 82;
const REJECT_UDP: u16 = 4000;

/// The error of a connection.
fn connect(client: &Namespace, server: SocketAddr, timeout: Duration) -> Result<ErrorKind> {
    let outcome = client.enter(|| TcpStream::connect_timeout(&server, timeout))?;
    Ok(outcome.expect_err("there is no backend").kind())
}

/// The error that a connected socket gets after it sent one datagram.
fn send(client: &Namespace, server: SocketAddr) -> Result<ErrorKind> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let exchange = || -> io::Result<usize> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(server)?;
        socket.send(b"anyone?")?;
        socket.recv(&mut [0; 16])
    };
    Ok(client.enter(exchange)?.expect_err("there is no backend").kind())
}

fn dropped_for_no_backend(daemon: &Daemon<'_>) -> Result<u64> {
    let status = daemon.cli(&["--json", "status"])?;
    Ok(status["node"]["counters"]["dropped"]["no-backend"].as_u64().expect("a counter"))
}

/// `explain` says what the kernel did.
fn explained(daemon: &Daemon<'_>, vip: IpAddr) -> Result<()> {
    let source = if vip.is_ipv4() { "10.0.0.1:40000" } else { "[2001:db8:1::1]:40000" };
    for (port, verdict) in [(DROP, "drop"), (REJECT, "reject"), (9, "pass")] {
        let vip = SocketAddr::new(vip, port).to_string();
        let answer = daemon.cli(&["--json", "explain", "--proto", "tcp", "--src", source, "--dst", &vip])?;
        assert_eq!((&answer["verdict"], &answer["backend"]), (&verdict.into(), &serde_json::Value::Null), "{answer}");
    }
    Ok(())
}

fn check(topology: &Topology, vip: IpAddr) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[DROP, REJECT, FAIL_OPEN], None)?;
    let tcp = |name, port, what: &str| Service::tcp(name, vip, port, topology).options(&[FAILING_PROBE, what]);
    let services = [
        tcp("dropped", DROP, "on_no_backend: drop"),
        tcp("rejected", REJECT, "on_no_backend: reject"),
        tcp("open", FAIL_OPEN, "on_no_backend: fail-open"),
        Service::udp("datagrams", vip, REJECT_UDP, topology).options(&[FAILING_PROBE, "on_no_backend: reject"]),
    ];
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, &services)?;
    let all_down = |service| {
        let status = service_status(&daemon, service)?;
        let backends = status["backends"].as_array().expect("backends").clone();
        Ok::<_, anyhow::Error>(
            backends.iter().all(|b| b["health"] == "down") && (status["slots"] == 0 || service == "open"),
        )
    };
    for service in &services {
        wait_until("every backend is down", PATIENCE, || all_down(&service.name).is_ok_and(|down| down))?;
    }
    let client = topology.client();
    let at = |port| SocketAddr::new(vip, port);
    let before = dropped_for_no_backend(&daemon)?;
    assert_eq!(connect(client, at(DROP), Duration::from_secs(1))?, ErrorKind::TimedOut);
    assert!(dropped_for_no_backend(&daemon)? > before);
    assert_eq!(connect(client, at(REJECT), PATIENCE)?, ErrorKind::ConnectionRefused);
    assert_eq!(send(client, at(REJECT_UDP))?, ErrorKind::ConnectionRefused);
    let tally = connections(client, at(FAIL_OPEN), 300, 4)?;
    assert!(tally.failed() == 0 && ["b1", "b2", "b3"].iter().all(|name| tally.of(name) > 50), "{tally:?}");
    explained(&daemon, vip)?;
    println!(
        "{vip}, all backends down: drop timed out, reject refused TCP and UDP, fail-open answered 300 of 300 by all three"
    );
    Ok(())
}

#[test]
fn no_backend_over_ipv4_and_two_nics() -> Result<()> {
    check(&Topology::two_nics(3)?, VIP4.into())
}

#[test]
fn no_backend_over_ipv6_and_one_nic() -> Result<()> {
    check(&Topology::one_nic(3)?, VIP6.into())
}
