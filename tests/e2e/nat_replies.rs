//! What comes along with replies in `nat` and `full-nat`: refusals, datagrams in many fragments, replies too large for the clients' link.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::Download,
    content::Content,
    daemon::Daemon,
    namespace::Namespace,
    scenario::{Service, configuration, nginx_everywhere, wait_for_takers},
    topology::{Topology, VIP_NETWORK4, VIP_NETWORK6},
    translation::{Pool, route_client_through_balancer, route_through_balancer},
    wait::{PATIENCE, wait_ok},
};

/// VIPs that no backend holds: it would not believe a message from an address of its own.
const VIPS: [&str; 2] = ["192.0.2.77", "2001:db8:ff::77"];
const NAMES: [&str; 2] = ["four", "six"];
const PORT: u16 = 4000;
const MODES: [&str; 2] = ["nat", "full-nat"];
/// How long a client waits for one answer.
const ANSWER: Duration = Duration::from_millis(500);

fn vips() -> Result<[IpAddr; 2]> {
    Ok([VIPS[0].parse()?, VIPS[1].parse()?])
}

/// A daemon with a service of each family in a mode, of which `b1` is the backend.
fn start<'a>(
    topology: &'a Topology,
    bpffs: &Bpffs,
    mode: &str,
    service: impl Fn(&str, IpAddr) -> Service,
) -> Result<Daemon<'a>> {
    let pool = Pool::add(topology)?;
    if mode == "nat" {
        route_client_through_balancer(topology)?;
        route_through_balancer(topology, &[VIP_NETWORK4, VIP_NETWORK6])?;
    }
    let line = format!("mode: {mode}");
    let services: Vec<Service> =
        NAMES.iter().zip(vips()?).map(|(name, vip)| service(name, vip).only(&["b1"]).option(&line)).collect();
    let daemon =
        Daemon::start(topology.balancer(), bpffs, |paths| pool.put_into(&configuration(paths, topology, &services)))?;
    for name in NAMES {
        wait_for_takers(&daemon, name, &["b1"])?;
    }
    Ok(daemon)
}

fn counter(daemon: &Daemon<'_>, path: &[&str]) -> Result<u64> {
    let status = daemon.cli(&["--json", "status"])?;
    let counters = &status["node"]["counters"];
    path.iter().fold(counters, |value, key| &value[*key]).as_u64().with_context(|| format!("{path:?} in {status}"))
}

/// A client's socket, in its namespace.
fn client(namespace: &Namespace, vip: IpAddr) -> Result<UdpSocket> {
    let local: SocketAddr = if vip.is_ipv4() { "0.0.0.0:0".parse()? } else { "[::]:0".parse()? };
    namespace.enter(|| -> Result<UdpSocket> {
        let socket = UdpSocket::bind(local)?;
        socket.connect((vip, PORT))?;
        socket.set_read_timeout(Some(ANSWER))?;
        Ok(socket)
    })?
}

fn is_refused(topology: &Topology, mode: &str) -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, mode, |name, vip| Service::udp(name, vip, PORT, topology))?;
    for vip in vips()? {
        let socket = client(topology.client(), vip)?;
        wait_ok(&format!("{mode}: a client of {vip} is refused"), PATIENCE, || {
            let said = socket.send(b"is anybody there?").and_then(|_| socket.recv(&mut [0; 64]));
            ensure!(said.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused), "{said:?}");
            Ok(())
        })?;
    }
    println!("{mode}: clients learnt that nobody listens ({} replies)", counter(&daemon, &["nat_replies"])?);
    Ok(())
}

#[test]
fn a_datagram_for_a_closed_port_is_refused() -> Result<()> {
    for mode in MODES {
        is_refused(&Topology::one_nic(1)?, mode)?;
        is_refused(&Topology::two_nics(1)?, mode)?;
    }
    Ok(())
}

/// Sends every datagram back, until it is dropped.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Echo {
    fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let socket = namespace.enter(|| UdpSocket::bind(address))??;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = namespace.thread(move || {
            let mut buffer = vec![0; 1 << 16];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // One that is lost is asked for again.
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn comes_back(topology: &Topology, mode: &str) -> Result<()> {
    const LENGTH: usize = 8192;
    const COUNT: u8 = 20;
    let backend = &topology.backends()[0];
    let own = backend.addresses();
    let servers = [IpAddr::from(own.v4), own.v6.into()].map(|ip| SocketAddr::new(ip, PORT));
    let _echo =
        servers.map(|address| Echo::start(backend.namespace(), address)).into_iter().collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, mode, |name, vip| Service::udp(name, vip, PORT, topology))?;
    for vip in vips()? {
        let socket = client(topology.client(), vip)?;
        for number in 0..COUNT {
            let sent: Vec<u8> = (0..LENGTH).map(|at| (at / 7) as u8 ^ number).collect();
            wait_ok(&format!("{mode}: {vip} answers datagram {number}"), PATIENCE, || {
                let mut buffer = vec![0; 1 << 16];
                socket.send(&sent)?;
                let length = socket.recv(&mut buffer)?;
                ensure!(buffer[..length] == sent, "{length} other bytes came back");
                Ok(())
            })?;
        }
    }
    assert_eq!(counter(&daemon, &["dropped", "fragment"])?, 0, "a fragment without its first");
    let replies = counter(&daemon, &["nat_replies"])?;
    // Six fragments each.
    assert!(replies >= 2 * 6 * u64::from(COUNT), "{replies} replies");
    println!("{mode}: {COUNT} datagrams of {LENGTH} bytes came back byte for byte from each VIP, {replies} fragments");
    Ok(())
}

#[test]
fn large_datagrams_come_back() -> Result<()> {
    for mode in MODES {
        comes_back(&Topology::one_nic(1)?, mode)?;
        comes_back(&Topology::two_nics(1)?, mode)?;
    }
    Ok(())
}

/// The node itself is the router with the small link: it tells the backends.
fn recovers(topology: &Topology, mode: &str) -> Result<()> {
    const LENGTH: usize = 4 << 20;
    let content = Content::generate(6, LENGTH);
    let _nginx = nginx_everywhere(topology, &[80], Some(&content))?;
    let clients = topology.balancer_interfaces().first().ok_or_else(|| anyhow!("an interface"))?;
    // The client does not know, so backends are offered full segments.
    topology.balancer().ip(&[format!("link set {clients} mtu 1400")])?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, mode, |name, vip| Service::tcp(name, vip, 80, topology))?;
    let before = counter(&daemon, &["replies"])?;
    for vip in vips()? {
        let downloads = Download::start_many(4, topology.client(), SocketAddr::new(vip, 80), &content, None);
        for download in downloads {
            let report = download.finish()?;
            assert_eq!((report.received, &report.outcome), (LENGTH as u64, &Ok(())), "{mode} {vip}: {report:?}");
        }
    }
    let told = counter(&daemon, &["replies"])? - before;
    assert!(told >= 2, "{told} messages of the node");
    println!("{mode}: 8 downloads of 4 MiB came through a link of 1400 bytes, of which the node told {told} times");
    Ok(())
}

#[test]
fn a_smaller_link_to_the_clients_is_told_to_the_backends() -> Result<()> {
    MODES.iter().try_for_each(|mode| recovers(&Topology::two_nics(1)?, mode))
}
