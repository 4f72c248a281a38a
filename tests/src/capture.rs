//! What arrives at a machine, as it is on the wire.

use std::{
    io::{ErrorKind, Read as _},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::Namespace;

/// After how long without a packet the thread looks whether it is still wanted.
const TURN: Duration = Duration::from_millis(50);
/// Longer than any frame, merged ones included.
const LONGEST: usize = 1 << 17;

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it comes from.
    pub source: SocketAddr,
    /// SYN is set.
    pub syn: bool,
    /// FIN is set.
    pub fin: bool,
    /// RST is set.
    pub rst: bool,
    /// The options of its header, as they are.
    pub options: Vec<u8>,
}

/// TCP segments for one port, gathered in the background in the order of their arrival.
#[derive(Debug)]
pub struct Capture {
    ends: Arc<AtomicBool>,
    worker: Option<JoinHandle<Result<Vec<Segment>>>>,
}

impl Capture {
    /// Begins. What arrives at the namespace after this has returned is captured.
    ///
    /// # Errors
    /// Without the right to packet sockets.
    pub fn start(namespace: &Namespace, port: u16) -> Result<Self> {
        let socket = namespace.enter(packet_socket)??;
        let ends = Arc::new(AtomicBool::new(false));
        let inside = Arc::clone(&ends);
        let worker = thread::spawn(move || gather(socket, port, &inside));
        Ok(Self { ends, worker: Some(worker) })
    }

    /// What has arrived so far; then no more is captured.
    ///
    /// # Errors
    /// When the socket failed.
    pub fn finish(mut self) -> Result<Vec<Segment>> {
        self.ends.store(true, Ordering::Release);
        let worker = self.worker.take().expect("only this and drop take it");
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// A socket for all frames of a namespace.
fn packet_socket() -> Result<Socket> {
    let protocol = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).context("a packet socket needs root")?;
    socket.set_read_timeout(Some(TURN))?;
    Ok(socket)
}

fn gather(mut socket: Socket, port: u16, ends: &AtomicBool) -> Result<Vec<Segment>> {
    let (mut segments, mut frame) = (Vec::new(), vec![0; LONGEST]);
    loop {
        match socket.read(&mut frame) {
            Ok(length) => segments.extend(segment(&frame[..length], port)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if ends.load(Ordering::Acquire) {
                    return Ok(segments);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the packet socket failed"),
        }
    }
}

/// The segment in a frame, if it is for this port.
fn segment(frame: &[u8], port: u16) -> Option<Segment> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let source: IpAddr = match packet.net? {
        NetSlice::Ipv4(ip) => ip.header().source_addr().into(),
        NetSlice::Ipv6(ip) => ip.header().source_addr().into(),
        NetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
    (tcp.destination_port() == port).then(|| Segment {
        source: SocketAddr::new(source, tcp.source_port()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        options: tcp.options().to_vec(),
    })
}
