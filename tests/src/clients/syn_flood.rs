//! SYNs from random sources, and as many harmless packets.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::namespace::Namespace;

/// Packets between two looks at the clock of a flood with a rate.
const BURST: u64 = 32;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// TCP SYNs, each from another source.
    Syns,
    /// UDP datagrams of one flow, as long as the SYNs.
    Datagrams,
}

/// A flood that is under way, bounded in count. Its checksums are wrong, which is the backends' business: they need not answer.
#[derive(Debug)]
pub struct SynFlood {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Result<()>>>,
}

impl SynFlood {
    /// Begins to send `count` SYNs to a server, each from another source.
    pub fn start(namespace: &Namespace, server: SocketAddr, count: u64) -> Self {
        Self::start_with(Packets::Syns, namespace, server, count, None)
    }

    /// Begins to send `count` packets to a server, at most `rate` a second, or as fast as it goes.
    pub fn start_with(
        packets: Packets,
        namespace: &Namespace,
        server: SocketAddr,
        count: u64,
        rate: Option<f64>,
    ) -> Self {
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, ends) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = namespace.thread(move || flood((packets, rate), server, count, &counter, &ends));
        Self { sent, stop, thread }
    }

    /// How many were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether all were sent.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it, and tells how many were sent.
    ///
    /// # Errors
    /// If they could not be sent.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sender does not panic")??;
        Ok(self.sent.load(Ordering::Relaxed))
    }
}

fn flood(
    (packets, rate): (Packets, Option<f64>),
    server: SocketAddr,
    count: u64,
    sent: &AtomicU64,
    stop: &AtomicBool,
) -> Result<()> {
    // The kernel takes the IP header from us.
    let raw = Protocol::from(libc::IPPROTO_RAW);
    let socket = Socket::new(Domain::for_address(server), Type::RAW, Some(raw)).context("a raw socket")?;
    let to = SockAddr::from(SocketAddr::new(server.ip(), 0));
    let begun = Instant::now();
    for number in 0..count {
        if let Some(rate) = rate
            && number % BURST == 0
        {
            let due = Duration::from_secs_f64(number as f64 / rate);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let packet = match packets {
            Packets::Syns => syn(server, scattered(number)),
            Packets::Datagrams => datagram(server),
        };
        socket.send_to(&packet, &to).context("a packet of the flood")?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The finalizer of SplitMix64: numbers that look random and are the same in every run.
fn scattered(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// An IP header of 20 more bytes from an address of 10.128.0.0/9 or 2001:db8:f::/48.
fn header(server: SocketAddr, protocol: u8, random: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(60);
    match server.ip() {
        IpAddr::V4(address) => {
            bytes.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 128 | (random >> 16) as u8]);
            bytes.extend([(random >> 8) as u8, random as u8]);
            bytes.extend(address.octets());
        }
        IpAddr::V6(address) => {
            bytes.extend([0x60, 0, 0, 0, 0, 20, protocol, 64, 0x20, 0x01, 0x0d, 0xb8, 0, 0x0f, 0, 0]);
            bytes.extend(random.to_be_bytes());
            bytes.extend(address.octets());
        }
    }
    bytes
}

/// A datagram of a flow that is always the same. Over IPv4 it needs no checksum.
fn datagram(server: SocketAddr) -> Vec<u8> {
    let mut bytes = header(server, libc::IPPROTO_UDP as u8, 1);
    bytes.extend(4000_u16.to_be_bytes());
    bytes.extend(server.port().to_be_bytes());
    bytes.extend([0, 20, 0, 0]);
    bytes.extend([0; 12]);
    bytes
}

/// A SYN.
fn syn(server: SocketAddr, random: u64) -> Vec<u8> {
    let mut bytes = header(server, libc::IPPROTO_TCP as u8, random);
    bytes.extend(((random >> 40) as u16 | 1024).to_be_bytes());
    bytes.extend(server.port().to_be_bytes());
    bytes.extend((random as u32).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}
