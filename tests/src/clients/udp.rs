//! A numbered stream of datagrams, and sinks that say which number came to whom.
//!
//! ```text
//! datagram: magic (4 bytes) · stream (4) · flow (4) · number (8), big-endian
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{namespace::Namespace, wait::wait_until};

const MAGIC: [u8; 4] = *b"ekUS";
const SIZE: usize = 20;
/// How often a thread that waits for datagrams looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);
/// Room for some hundred thousand waiting datagrams, so that a busy machine loses none at the sink.
const RECEIVE_BUFFER: usize = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Datagram {
    stream: u32,
    flow: u32,
    number: u64,
}

/// A stream that is being sent in the background.
#[derive(Debug)]
pub struct UdpStream {
    id: u32,
    shared: Arc<StreamShared>,
    worker: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct StreamShared {
    stop: AtomicBool,
    sent: AtomicU64,
}

/// A stream that has ended: which, and how many datagrams were sent. Their numbers are 0 to `count` - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    id: u32,
    /// Datagrams that were sent.
    pub count: u64,
}

/// Receives at one backend.
#[derive(Debug)]
pub struct UdpSink {
    name: String,
    shared: Arc<SinkShared>,
    worker: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct SinkShared {
    stop: AtomicBool,
    received: Mutex<Vec<Datagram>>,
    foreign: AtomicU64,
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Datagrams that were sent.
    pub sent: u64,
    /// Numbers that reached no sink.
    pub lost: BTreeSet<u64>,
    /// Numbers that came more than once, to the same or to different sinks.
    pub duplicated: BTreeSet<u64>,
    /// Datagrams by sink, repeated ones included.
    pub by_sink: BTreeMap<String, u64>,
    /// Flows whose datagrams came to more than one sink, with the sinks.
    pub split: BTreeMap<u32, BTreeSet<String>>,
}

impl UdpStream {
    /// Starts to send `rate` datagrams a second (1 or more) in turn from `flows` source ports (1 or more) until [`Self::stop`].
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn start(namespace: &Namespace, target: SocketAddr, rate: u32, flows: u32) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        ensure!(rate > 0 && flows > 0, "a stream needs a rate and a flow");
        let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Not connected: an ICMP error must not stop the stream.
        let open = || (0..flows).map(|_| UdpSocket::bind((any, 0))).collect::<io::Result<Vec<_>>>();
        let sockets = namespace.enter(open)?.context("cannot open the stream's sockets")?;
        let (id, shared) = (NEXT.fetch_add(1, Ordering::Relaxed), Arc::new(StreamShared::default()));
        let inside = Arc::clone(&shared);
        let worker = thread::spawn(move || inside.send(id, &sockets, target, rate));
        Ok(Self { id, shared, worker: Some(worker) })
    }

    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Acquire)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When sending failed (no route, for example).
    pub fn stop(mut self) -> Result<Sent> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let worker = self.worker.take().expect("only this and drop take it");
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Sent { id: self.id, count: self.sent() })
    }
}

impl Drop for UdpStream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

impl StreamShared {
    fn send(&self, stream: u32, sockets: &[UdpSocket], target: SocketAddr, rate: u32) -> Result<()> {
        let start = Instant::now();
        for (number, (flow, socket)) in (0_u64..).zip((0_u32..).zip(sockets).cycle()) {
            let due = start + Duration::from_secs_f64(number as f64 / f64::from(rate));
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let bytes = Datagram { stream, flow, number }.encode();
            socket.send_to(&bytes, target).with_context(|| format!("cannot send datagram {number} to {target}"))?;
            self.sent.store(number + 1, Ordering::Release);
        }
        Ok(())
    }
}

impl UdpSink {
    /// Receives what comes to `address`, usually a VIP and its port, in a backend's namespace.
    ///
    /// # Errors
    /// When the address is not there or its port is taken.
    pub fn start(namespace: &Namespace, name: &str, address: SocketAddr) -> Result<Self> {
        let socket = namespace
            .enter(|| open_sink(address))?
            .with_context(|| format!("cannot receive on {address} at {name}"))?;
        let shared = Arc::new(SinkShared::default());
        let inside = Arc::clone(&shared);
        let worker = thread::spawn(move || inside.receive(&socket));
        Ok(Self { name: name.to_owned(), shared, worker: Some(worker) })
    }

    /// Datagrams of streams so far.
    pub fn received(&self) -> u64 {
        self.shared.lock().len() as u64
    }

    /// Datagrams that were of no stream.
    pub fn foreign(&self) -> u64 {
        self.shared.foreign.load(Ordering::Relaxed)
    }

    fn count_of(&self, id: u32) -> u64 {
        self.shared.lock().iter().filter(|datagram| datagram.stream == id).count() as u64
    }

    fn of_stream(&self, id: u32) -> Vec<Datagram> {
        self.shared.lock().iter().filter(|datagram| datagram.stream == id).copied().collect()
    }
}

impl Drop for UdpSink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

impl SinkShared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Datagram>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, socket: &UdpSocket) -> Result<()> {
        let mut bytes = [0; SIZE + 1];
        while !self.stop.load(Ordering::Relaxed) {
            match socket.recv(&mut bytes) {
                Ok(size) => match Datagram::decode(&bytes[..size]) {
                    Some(datagram) => self.lock().push(datagram),
                    None => drop(self.foreign.fetch_add(1, Ordering::Relaxed)),
                },
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error).context("the sink cannot receive"),
            }
        }
        Ok(())
    }
}

/// Waits until as many datagrams came as were sent, at most `patience`, and says what became of each.
///
/// With datagrams lost for good this takes all of `patience`.
pub fn collect(stream: Sent, sinks: &[UdpSink], patience: Duration) -> StreamReport {
    let came = || sinks.iter().map(|sink| sink.count_of(stream.id)).sum::<u64>();
    // Not an error here: the report says which are missing.
    let _ = wait_until("all datagrams came", patience, || came() >= stream.count);
    report(stream.count, sinks.iter().map(|sink| (sink.name.as_str(), sink.of_stream(stream.id))))
}

fn report<'a>(sent: u64, sinks: impl Iterator<Item = (&'a str, Vec<Datagram>)>) -> StreamReport {
    let (mut seen, mut duplicated) = (BTreeSet::new(), BTreeSet::new());
    let mut by_sink = BTreeMap::new();
    let mut flows = BTreeMap::<u32, BTreeSet<String>>::new();
    for (name, datagrams) in sinks {
        *by_sink.entry(name.to_owned()).or_default() += datagrams.len() as u64;
        for Datagram { flow, number, .. } in datagrams {
            flows.entry(flow).or_default().insert(name.to_owned());
            if !seen.insert(number) {
                duplicated.insert(number);
            }
        }
    }
    let lost = (0..sent).filter(|number| !seen.contains(number)).collect();
    flows.retain(|_, sinks| sinks.len() > 1);
    StreamReport { sent, lost, duplicated, by_sink, split: flows }
}

fn open_sink(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    socket.set_read_timeout(Some(LOOK))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl Datagram {
    fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.flow.to_be_bytes());
        bytes[12..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let (magic, rest) = bytes.split_first_chunk()?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (flow, number) = rest.split_first_chunk()?;
        (*magic == MAGIC).then_some(Self {
            stream: u32::from_be_bytes(*stream),
            flow: u32::from_be_bytes(*flow),
            number: u64::from_be_bytes(number.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(flow: u32, number: u64) -> Datagram {
        Datagram { stream: 7, flow, number }
    }

    #[test]
    fn a_datagram_survives_the_wire_and_others_are_told_apart() {
        let bytes = datagram(3, 1 << 40).encode();
        assert_eq!(Datagram::decode(&bytes), Some(datagram(3, 1 << 40)));
        assert_eq!(Datagram::decode(&bytes[..SIZE - 1]), None);
        assert_eq!(Datagram::decode(&[0; SIZE]), None);
    }

    #[test]
    fn a_report_names_lost_repeated_and_split() {
        let b1 = vec![datagram(0, 0), datagram(0, 2), datagram(0, 2)];
        let b2 = vec![datagram(1, 1), datagram(0, 4)];
        let report = report(6, [("b1", b1), ("b2", b2)].into_iter());
        assert_eq!(report.lost, [3, 5].into());
        assert_eq!(report.duplicated, [2].into());
        assert_eq!(report.by_sink, [("b1".to_owned(), 3), ("b2".to_owned(), 2)].into());
        assert_eq!(report.split, [(0, ["b1".to_owned(), "b2".to_owned()].into())].into());
    }
}
