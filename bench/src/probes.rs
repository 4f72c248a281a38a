//! What 10 000 probes cost: the prober as the daemon runs it, against TCP targets on the loopback.
//!
//! Each target is an address of 127/8, all of them served by one listener. What the kernel does for a probe on the loopback, both
//! ends' work, is in the prober's account; a network would take the far end's off it. Beside it, for comparison, the bare
//! system calls of as many probes, made one after the other by a thread that does nothing else.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use evenkeel::{
    config::model::{Initial, Probe, ProbeKind, ProbeVia},
    health::Status,
    probe::{HealthView, Prober, Target},
};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};
use tokio::{runtime::Runtime, sync::watch};

use crate::{
    figure::{Figure, Name},
    section::{Run, Section},
};

pub(crate) const SECTION: Section =
    Section { name: "probes", about: "10 000 backends probed every 2 s: CPU, also with 1 000 that are silent", run };

const TARGETS: u32 = 10_000;
const SILENT: u32 = 1_000;
const INTERVAL: Duration = Duration::from_secs(2);
/// How often the server looks for connections: one that waited for them would be woken by each, on the prober's account.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the first round may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(run: &Run) -> Result<Vec<Figure>> {
    let window = Duration::from_secs(if run.short { 5 } else { 10 });
    let samples = if run.short { 3 } else { 5 };
    let server = Server::start()?;
    let hole = Hole::dig()?;
    let mut figures = Vec::new();
    for (case, silent) in [("tcp", 0), ("tcp-1000-silent", SILENT)] {
        run.progress(&format!("{TARGETS} targets, {silent} of them silent"));
        let shares = measure(&server, &hole, silent, window, samples)?;
        figures.push(Figure::of(name(case, "evenkeel"), "cores", &shares));
    }
    run.progress("the bare system calls");
    let bare: Result<Vec<f64>> = (0..samples).map(|_| bare(&server, window)).collect();
    figures.push(Figure::of(name("tcp", "system-calls"), "cores", &bare?));
    Ok(figures)
}

fn name<'a>(case: &'a str, subject: &'a str) -> Name<'a> {
    Name { section: SECTION.name, case, subject, quantity: "cpu", flows: None }
}

fn address(number: u32) -> IpAddr {
    IpAddr::V4((u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number).into())
}

fn probe() -> Probe {
    Probe {
        kind: ProbeKind::Tcp,
        interval: INTERVAL,
        fast_interval: INTERVAL,
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
        port: None,
        source: None,
        initial: Initial::Down,
        via: ProbeVia::Direct,
        damping: None,
    }
}

/// The prober's share of a core in each of some windows.
fn measure(server: &Server, hole: &Hole, silent: u32, window: Duration, samples: usize) -> Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let targets: BTreeMap<Target, Probe> = (0..TARGETS)
        .map(|number| (Target::tcp(address(number), if number < silent { hole.port } else { server.port }), probe()))
        .collect();
    let prober = runtime.block_on(async { Prober::start() });
    let mut view = prober.subscribe();
    prober.set_targets(targets);
    let up = (TARGETS - silent) as usize;
    let is_up = |view: &HealthView| view.values().filter(|health| health.status == Status::Up).count() == up;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, view.wait_for(is_up)).await.map(drop) })?;
    read(&runtime, view);
    let mut shares = Vec::new();
    for _ in 0..samples {
        let (begun, cpu, accepted) = (Instant::now(), server.others_cpu()?, server.accepted());
        thread::sleep(window);
        let (wall, cpu) = (begun.elapsed().as_secs_f64(), (server.others_cpu()? - cpu).as_secs_f64());
        let (made, due) = ((server.accepted() - accepted) as f64 / wall, up as f64 / INTERVAL.as_secs_f64());
        ensure!(made >= 0.98 * due, "{made:.0} probes a second were made, {due:.0} are due");
        shares.push(cpu / wall);
    }
    drop(prober);
    Ok(shares)
}

/// Looks at what is new as the daemon's controller does.
fn read(runtime: &Runtime, mut view: watch::Receiver<HealthView>) {
    runtime.spawn(async move {
        let mut before = view.borrow_and_update().clone();
        while view.changed().await.is_ok() {
            let now = view.borrow_and_update().clone();
            std::hint::black_box(before.diff(&now).count());
            before = now;
        }
    });
}

/// The share of a core that the system calls of as many probes take.
fn bare(server: &Server, window: Duration) -> Result<f64> {
    let count = TARGETS * u32::try_from(window.as_millis())? / u32::try_from(INTERVAL.as_millis())?;
    let cpu = clock(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    for number in 0..count {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.set_linger(Some(Duration::ZERO))?;
        // On the loopback it is connected when the call returns.
        let _ = socket.connect(&SocketAddr::new(address(number % TARGETS), server.port).into());
        if number % 64 == 0 {
            // The server has one CPU with us, and room for some thousands in its queue.
            thread::sleep(PAUSE);
        }
    }
    Ok((clock(ClockId::CLOCK_THREAD_CPUTIME_ID)? - cpu).as_secs_f64() / window.as_secs_f64())
}

fn clock(id: ClockId) -> Result<Duration> {
    Ok(clock_gettime(id)?.into())
}

/// Accepts on a port of all addresses, in a thread whose CPU time is known.
struct Server {
    port: u16,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    accepted: AtomicU64,
    /// Nanoseconds that the thread has used.
    cpu: AtomicU64,
    stop: AtomicBool,
}

impl Server {
    fn start() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
        socket.listen(4096)?;
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let (port, seen) = (listener.local_addr()?.port(), Arc::new(Seen::default()));
        let inside = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            while !inside.stop.load(Relaxed) {
                while let Ok(connection) = listener.accept() {
                    drop(connection);
                    inside.accepted.fetch_add(1, Relaxed);
                }
                let used = clock(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap_or_default();
                inside.cpu.store(used.as_nanos() as u64, Relaxed);
                thread::sleep(PAUSE);
            }
        });
        Ok(Self { port, seen, thread: Some(thread) })
    }

    fn accepted(&self) -> u64 {
        self.seen.accepted.load(Relaxed)
    }

    /// CPU time of this process without the server's.
    fn others_cpu(&self) -> Result<Duration> {
        let server = Duration::from_nanos(self.seen.cpu.load(Relaxed));
        clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.checked_sub(server).context("more than the whole")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.seen.stop.store(true, Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A port that answers nobody: its queue is full, so further SYNs are dropped.
struct Hole {
    port: u16,
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl Hole {
    fn dig() -> Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
        listener.listen(0)?;
        let port = listener.local_addr()?.as_socket().context("an address")?.port();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut queue = Vec::new();
        while let Ok(connection) = TcpStream::connect_timeout(&target, Duration::from_millis(200)) {
            queue.push(connection);
            ensure!(queue.len() < 100, "the queue does not fill up");
        }
        Ok(Self { port, _listener: listener, _queue: queue })
    }
}
