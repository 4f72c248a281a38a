//! `evenkeel decap` at a backend: what balancers send through tunnels reaches a server on the VIP.
//!
//! ```text
//!   client and balancers                      backend: VIP on lo
//!    eth0 ── IPIP or GUE, made by sockets ──▶ eth0 ── XDP: unpacked ──▶ echo server on the VIP
//!      ◀───────────── its answer, from the VIP (direct server return) ─────┘
//! ```

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use evenkeel_tests::{
    bpffs::Bpffs,
    namespace::Namespace,
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_ok, wait_until},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::decapsulator::Decap;

const PORT: u16 = 4000;
const GUE_PORT: u16 = 6080;
const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP4), IpAddr::V6(VIP6)];
/// How often a thread that waits for datagrams looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);
/// Further addresses of the client, which no decapsulator here allows.
const STRANGERS: [&str; 2] = ["10.0.0.99", "2001:db8:1::99"];

/// Answers every datagram with where it came from, and keeps all of them.
struct Echo {
    seen: Arc<Mutex<BTreeMap<Vec<u8>, Vec<SocketAddr>>>>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let socket = namespace.enter(|| UdpSocket::bind(address))??;
        socket.set_read_timeout(Some(LOOK))?;
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(16 << 20))?;
        let (seen, stop) = (Arc::<Mutex<BTreeMap<_, Vec<_>>>>::default(), Arc::<AtomicBool>::default());
        let (inside, end) = (Arc::clone(&seen), Arc::clone(&stop));
        let worker = thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !end.load(Ordering::Relaxed) {
                if let Ok((len, peer)) = socket.recv_from(&mut bytes) {
                    inside.lock().expect("nobody panics").entry(bytes[..len].to_vec()).or_default().push(peer);
                    // A client that went away is not the server's business.
                    let _ = socket.send_to(peer.to_string().as_bytes(), peer);
                }
            }
        });
        Ok(Self { seen, stop, worker: Some(worker) })
    }

    fn count(&self) -> usize {
        self.seen.lock().expect("nobody panics").values().map(Vec::len).sum()
    }

    fn peers(&self, payload: &[u8]) -> Vec<SocketAddr> {
        self.seen.lock().expect("nobody panics").get(payload).cloned().unwrap_or_default()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tunnel {
    Ipip,
    /// With a header, or the packet directly in UDP.
    Gue(u8),
}

const TUNNELS: [Tunnel; 3] = [Tunnel::Ipip, Tunnel::Gue(0), Tunnel::Gue(1)];

/// A balancer's end of a tunnel: the kernel makes the outer headers.
struct Sender {
    tunnel: Tunnel,
    sockets: [Socket; 2],
    to: SocketAddr,
}

impl Sender {
    /// From one address of a namespace to another machine's.
    fn open(namespace: &Namespace, tunnel: Tunnel, from: IpAddr, to: IpAddr) -> Result<Self> {
        let open = |protocol| -> io::Result<Socket> {
            let domain = if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = match tunnel {
                Tunnel::Ipip => Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?,
                Tunnel::Gue(_) => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?,
            };
            socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
            Ok(socket)
        };
        let sockets =
            namespace.enter(|| Ok::<_, io::Error>([open(libc::IPPROTO_IPIP)?, open(libc::IPPROTO_IPV6)?]))??;
        let port = if tunnel == Tunnel::Ipip { 0 } else { GUE_PORT };
        Ok(Self { tunnel, sockets, to: SocketAddr::new(to, port) })
    }

    fn send(&self, inner: &[u8]) -> io::Result<()> {
        let v4 = inner[0] >> 4 == 4;
        let socket = &self.sockets[usize::from(!v4)];
        let bytes = match self.tunnel {
            Tunnel::Ipip | Tunnel::Gue(1) => inner.to_vec(),
            Tunnel::Gue(_) => [&[0, if v4 { 4 } else { 41 }, 0, 0], inner].concat(),
        };
        socket.send_to(&bytes, &self.to.into()).map(drop)
    }
}

/// A client's datagram, as it was before a balancer took it.
fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let builder = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 61),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 61),
        _ => panic!("addresses of two families"),
    };
    let mut bytes = Vec::new();
    builder.udp(from.port(), to.port()).write(&mut bytes, payload).expect("a vector takes everything");
    bytes
}

/// A client's socket on its own address, of the family of a VIP.
fn client_socket(topology: &Topology, vip: IpAddr) -> Result<UdpSocket> {
    let address = SocketAddr::new(topology.client_addresses().like(vip), 0);
    let socket = topology.client().enter(|| UdpSocket::bind(address))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The backend's addresses, and those of the client that balancers use.
fn pairs(topology: &Topology) -> [(IpAddr, IpAddr); 2] {
    let (client, backend) = (topology.client_addresses(), topology.backends()[0].addresses());
    [(client.v4.into(), backend.v4.into()), (client.v6.into(), backend.v6.into())]
}

fn name(tunnel: Tunnel, inner: IpAddr, outer: IpAddr) -> String {
    let family = |address: IpAddr| if address.is_ipv4() { '4' } else { '6' };
    let how = if tunnel == Tunnel::Ipip { "ipip" } else { "gue" };
    format!("{how}-{}-in-{}", family(inner), family(outer))
}

fn with_xdp(namespace: &Namespace) -> Result<bool> {
    let links: Value = serde_json::from_str(&namespace.exec("ip", ["-json", "link"])?)?;
    Ok(links.as_array().context("links")?.iter().any(|link| !link["xdp"].is_null()))
}

/// Sends one datagram through every tunnel, outer and inner family, and has each answered; returns how many of each kind.
fn every_kind_is_answered(topology: &Topology, servers: &[Echo]) -> Result<BTreeMap<String, u64>> {
    let mut sent = BTreeMap::new();
    for tunnel in TUNNELS {
        for (from, to) in pairs(topology) {
            let sender = Sender::open(topology.client(), tunnel, from, to)?;
            for (vip, server) in VIPS.into_iter().zip(servers) {
                let socket = client_socket(topology, vip)?;
                let (own, kind) = (socket.local_addr()?, name(tunnel, vip, to));
                let payload = format!("{kind} {tunnel:?} {own}");
                sender.send(&datagram(own, SocketAddr::new(vip, PORT), payload.as_bytes()))?;
                let mut answer = [0; 128];
                let (len, peer) = socket.recv_from(&mut answer).with_context(|| format!("no answer to {payload}"))?;
                assert_eq!((peer.ip(), &answer[..len]), (vip, own.to_string().as_bytes()), "{payload}");
                assert_eq!(server.peers(payload.as_bytes()), [own], "{payload}");
                *sent.entry(kind).or_default() += 1;
            }
        }
    }
    Ok(sent)
}

fn echoes(topology: &Topology) -> Result<Vec<Echo>> {
    let start = |vip| Echo::start(topology.backends()[0].namespace(), SocketAddr::new(vip, PORT));
    VIPS.into_iter().map(start).collect()
}

#[test]
fn what_balancers_send_is_unpacked_and_answered() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let servers = echoes(&topology)?;
    let bpffs = Bpffs::mount()?;
    for mode in ["native", "generic"] {
        let mut decap = Decap::new(topology.backends()[0].namespace(), bpffs.path().join(mode))?;
        let [from4, from6] = pairs(&topology).map(|(from, _)| from.to_string());
        decap.run(&["--interface", "eth0", "--from", &from4, "--from", &from6, "--mode", mode])?;
        let sent = every_kind_is_answered(&topology, &servers)?;
        let status = decap.status()?;
        assert_eq!(status["interfaces"][0]["mode"], mode);
        assert_eq!(sent.len(), 8);
        for (kind, count) in &sent {
            assert_eq!(status["unpacked"][kind]["packets"], *count, "{kind}: {status}");
        }
        let dropped = status["dropped"].as_object().context("reasons")?;
        assert!(dropped.values().all(|count| *count == 0), "{status}");
        println!("{mode}: all 8 kinds reached both VIPs and were answered to the client: {sent:?}");
        decap.process = None;
        decap.cli("detach", &[])?;
    }
    Ok(())
}

#[test]
fn strangers_are_dropped_and_counted() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let servers = echoes(&topology)?;
    let lines = STRANGERS.map(|address| {
        if address.contains(':') {
            format!("addr add {address}/64 dev eth0 nodad")
        } else {
            format!("addr add {address}/24 dev eth0")
        }
    });
    topology.client().ip(&lines)?;
    let bpffs = Bpffs::mount()?;
    let mut decap = Decap::new(topology.backends()[0].namespace(), bpffs.pins())?;
    let [from4, from6] = pairs(&topology).map(|(from, _)| from.to_string());
    decap.run(&["--interface", "eth0", "--from", &from4, "--from", &from6])?;
    let mut sent = 0;
    for ((_, to), stranger) in pairs(&topology).into_iter().zip(STRANGERS) {
        for tunnel in TUNNELS {
            let sender = Sender::open(topology.client(), tunnel, stranger.parse()?, to)?;
            for vip in VIPS {
                let own = client_socket(&topology, vip)?.local_addr()?;
                sender.send(&datagram(own, SocketAddr::new(vip, PORT), b"from a stranger"))?;
                sent += 1;
            }
        }
    }
    wait_ok("all are counted", PATIENCE, || {
        let dropped = decap.dropped("source")?;
        ensure!(dropped == sent, "{dropped} of {sent}");
        Ok(())
    })?;
    // Whatever had got through would have come before these.
    every_kind_is_answered(&topology, &servers)?;
    assert!(servers.iter().all(|server| server.peers(b"from a stranger").is_empty()));
    assert_eq!(decap.dropped("source")?, sent);
    println!("{sent} of {sent} packets from {STRANGERS:?} were dropped and counted, those from the balancers answered");
    Ok(())
}

/// Datagrams with numbers, one after the other, until stopped.
struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    worker: Option<JoinHandle<io::Result<()>>>,
}

/// Datagrams a second of a [`Stream`].
const RATE: u32 = 2000;

impl Stream {
    fn start(sender: Sender, from: SocketAddr, to: SocketAddr) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (end, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let worker = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                sender.send(&datagram(from, to, &number.to_be_bytes()))?;
                count.store(number + 1, Ordering::Release);
                thread::sleep(Duration::from_secs(1) / RATE);
            }
            Ok(())
        });
        Self { stop, sent, worker: Some(worker) }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Waits until so many more were sent.
    fn goes_on(&self, more: u64) -> Result<()> {
        let goal = self.sent() + more;
        wait_until("the stream goes on", PATIENCE, || self.sent() >= goal)
    }

    fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.take().expect("only this takes it").join().expect("it does not panic")?;
        Ok(self.sent())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

#[test]
fn killing_stopping_and_replacing_it_loses_nothing() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let backend = topology.backends()[0].namespace();
    let bpffs = Bpffs::mount()?;
    let mut decap = Decap::new(backend, bpffs.pins())?;
    let [from4, from6] = pairs(&topology).map(|(from, _)| from.to_string());
    let arguments = ["--interface", "eth0", "--from", &from4, "--from", &from6];
    decap.run(&arguments)?;
    for ((from, to), (vip, tunnel)) in
        pairs(&topology).into_iter().zip([(VIPS[1], Tunnel::Ipip), (VIPS[0], Tunnel::Gue(0))])
    {
        let server = Echo::start(backend, SocketAddr::new(vip, PORT))?;
        let own = client_socket(&topology, vip)?.local_addr()?;
        let sender = Sender::open(topology.client(), tunnel, from, to)?;
        let stream = Stream::start(sender, own, SocketAddr::new(vip, PORT));
        for _ in 0..3 {
            stream.goes_on(200)?;
            decap.process = None;
            stream.goes_on(200)?;
            // With other rules, too: they are replaced as a whole.
            let wide: Vec<&str> = arguments.into_iter().chain(["--from", "192.0.2.0/24"]).collect();
            decap.run(&wide)?;
            stream.goes_on(200)?;
            let process = decap.process.as_mut().context("it runs")?;
            process.signal(Signal::SIGTERM)?;
            assert!(process.wait_exit(PATIENCE)?.success());
            stream.goes_on(200)?;
            decap.run(&arguments)?;
        }
        stream.goes_on(200)?;
        let sent = stream.finish()?;
        let came = || server.count() as u64;
        wait_until("all datagrams came", PATIENCE, || came() >= sent)
            .with_context(|| format!("{} of {sent}; {}", came(), decap.status().unwrap_or_default()))?;
        assert_eq!(came(), sent, "some came twice");
        let status = decap.status()?;
        assert_eq!(status["unpacked"][name(tunnel, vip, to)]["packets"], sent, "{status}");
        println!("{vip} in {tunnel:?} to {to}: {sent} of {sent} datagrams over 3 kills, 3 stops and 6 restarts");
    }
    Ok(())
}

#[test]
fn what_cannot_be_is_refused_and_detach_leaves_nothing() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let backend = topology.backends()[0].namespace();
    let servers = echoes(&topology)?;
    let bpffs = Bpffs::mount()?;
    let mut decap = Decap::new(backend, bpffs.pins())?;
    let [from4, from6] = pairs(&topology).map(|(from, _)| from.to_string());
    let arguments = ["--interface", "eth0", "--from", &from4, "--from", &from6];

    decap.is_refused(&["--interface", "eth7", "--from", &from4], &["eth7 does not exist", "ip link"])?;
    decap.is_refused(&["--interface", "lo", "--from", &from4, "--local", "127.0.0.1", "--mode", "native"], &["lo"])?;
    let beside = Decap::new(backend, bpffs.path().join("beside"))?;
    assert!(beside.cli("status", &[]).is_err_and(|error| error.to_string().contains("evenkeel decap run")));
    decap.run(&arguments)?;
    decap.is_refused(&arguments, &["is running", "stop it first"])?;
    beside.is_refused(&arguments, &["eth0 holds another XDP program", "ip link show eth0"])?;
    let busy = decap.cli("detach", &[]).expect_err("it is running");
    assert!(busy.to_string().contains("stop it first"), "{busy}");
    every_kind_is_answered(&topology, &servers)?;

    let text = decap.cli("status", &[])?;
    assert!(text.contains("unpacking on eth0 (native), GUE on port 6080"), "{text}");
    assert!(text.contains("gue-6-in-4") && text.lines().all(|line| line.chars().count() <= 80), "{text}");

    decap.process = None;
    assert!(with_xdp(backend)?);
    assert!(decap.cli("detach", &[])?.contains("detached from eth0"));
    beside.cli("detach", &[])?;
    assert!(!with_xdp(backend)? && !bpffs.pins().exists(), "something is left");
    assert!(decap.cli("detach", &[])?.contains("nothing is attached"));
    let before = servers[0].count();
    let (from, to) = pairs(&topology)[0];
    let own = client_socket(&topology, VIPS[0])?.local_addr()?;
    let target = SocketAddr::new(VIPS[0], PORT);
    Sender::open(topology.client(), Tunnel::Ipip, from, to)?.send(&datagram(own, target, b"in vain"))?;
    // Sent after it and without a tunnel: when this one is there, the other one would be, too.
    let server = topology.backends()[0].addresses().v4.into();
    let plain = Echo::start(backend, SocketAddr::new(server, PORT + 1))?;
    client_socket(&topology, server)?.send_to(b"plain", SocketAddr::new(server, PORT + 1))?;
    wait_until("the plain one came", PATIENCE, || plain.count() == 1)?;
    assert_eq!(servers[0].count(), before);
    println!("refused: no interface, twice, a foreign program, detach beside it; detach left nothing");
    Ok(())
}
