//! The bench's own clients. They run in the client's namespace.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::topology::VIP4;

use super::{
    responders::{END, REQUEST, Responders},
    stage::{BULK, DATAGRAMS, ECHO},
};

/// How long an answer may take before a subject counts as broken.
const LIMIT: Duration = Duration::from_secs(5);
/// Datagrams under way at most: they fit every socket's buffer, so none is lost.
const WINDOW: u64 = 32;

/// Times of requests over one connection, microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    /// Half of the requests took no longer.
    pub(super) p50: f64,
    /// 99 of 100 requests took no longer.
    pub(super) p99: f64,
}

/// What a client sent and the servers got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    /// Bytes, or datagrams.
    pub(super) amount: u64,
    /// From the first to the last being there.
    pub(super) time: Duration,
}

/// Sends request after request over one connection.
pub(super) fn latency(length: Duration) -> Result<Latency> {
    let mut stream = connect(ECHO)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(1 << 20);
    let begin = Instant::now();
    let mut answer = [0; REQUEST];
    while begin.elapsed() < length {
        let request = [times.len() as u8; REQUEST];
        let start = Instant::now();
        stream.write_all(&request)?;
        stream.read_exact(&mut answer).context("a request was not answered")?;
        times.push(start.elapsed().as_nanos() as u64);
        ensure!(answer == request, "a request got another answer");
    }
    percentiles(times)
}

fn percentiles(mut times: Vec<u64>) -> Result<Latency> {
    ensure!(times.len() >= 100, "only {} requests were answered", times.len());
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100] as f64 / 1e3;
    Ok(Latency { p50: at(50), p99: at(99) })
}

/// Sends as much as goes over one connection.
pub(super) fn upload(length: Duration) -> Result<Transfer> {
    let mut stream = connect(BULK)?;
    let chunk = vec![0x5a; 128 << 10];
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < length {
        stream.write_all(&chunk)?;
        sent += chunk.len() as u64;
    }
    stream.write_all(&[END])?;
    sent += 1;
    let mut counted = [0; 8];
    stream.read_exact(&mut counted).context("the upload was not acknowledged")?;
    let time = begin.elapsed();
    let counted = u64::from_be_bytes(counted);
    ensure!(counted == sent, "{counted} of {sent} bytes arrived");
    Ok(Transfer { amount: sent, time })
}

/// Sends small datagrams of one flow, as many as arrive.
pub(super) fn datagrams(length: Duration, servers: &Responders) -> Result<Transfer> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((VIP4, DATAGRAMS))?;
    let before = servers.datagrams();
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < length {
        for _ in 0..WINDOW {
            socket.send(&[0x5a; 22])?;
        }
        sent += WINDOW;
        let waiting = Instant::now();
        while servers.datagrams() - before < sent {
            ensure!(waiting.elapsed() < LIMIT, "{} of {sent} datagrams arrived", servers.datagrams() - before);
            thread::yield_now();
        }
    }
    Ok(Transfer { amount: sent, time: begin.elapsed() })
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(VIP4.into(), port), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times = (0..1000).rev().map(|n| n * 1000).collect();
        assert_eq!(percentiles(times).expect("enough"), Latency { p50: 500.0, p99: 990.0 });
        assert!(percentiles(vec![1; 99]).is_err());
    }
}
