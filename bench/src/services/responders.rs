//! Servers that do as little as possible: one echoes, one counts what it gets, one counts datagrams.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;
use evenkeel_tests::namespace::Namespace;
use nix::sys::socket::{Shutdown, shutdown};

use super::stage::{BULK, DATAGRAMS, ECHO};

/// Bytes of a request, and of its answer.
pub(super) const REQUEST: usize = 64;
/// The byte that ends an upload, and is nowhere else in it. Closing one direction would not do: nginx closes both.
pub(super) const END: u8 = 0xff;
/// How long the end of the datagrams' server may take.
const POLL: Duration = Duration::from_millis(50);

/// The servers of all backends. They end when this is dropped.
pub(super) struct Responders {
    datagrams: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    listeners: Vec<TcpListener>,
    threads: Vec<JoinHandle<()>>,
}

impl Responders {
    /// Starts them in these namespaces.
    pub(super) fn start<'a>(namespaces: impl Iterator<Item = &'a Namespace>) -> Result<Self> {
        let mut responders =
            Self { datagrams: Arc::default(), stop: Arc::default(), listeners: Vec::new(), threads: Vec::new() };
        for namespace in namespaces {
            responders.listen(namespace, ECHO, echo)?;
            responders.listen(namespace, BULK, count)?;
            let socket = namespace.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DATAGRAMS)))??;
            socket.set_read_timeout(Some(POLL))?;
            let (counter, stop) = (Arc::clone(&responders.datagrams), Arc::clone(&responders.stop));
            responders.threads.push(thread::spawn(move || count_datagrams(&socket, &counter, &stop)));
        }
        Ok(responders)
    }

    /// Datagrams that all of them got.
    pub(super) fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }

    fn listen(&mut self, namespace: &Namespace, port: u16, serve: fn(TcpStream) -> std::io::Result<()>) -> Result<()> {
        let listener = namespace.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??;
        self.listeners.push(listener.try_clone()?);
        self.threads.push(thread::spawn(move || {
            // The listener is shut down at the end.
            while let Ok((stream, _)) = listener.accept() {
                // A connection that breaks is the client's to notice.
                thread::spawn(move || drop(serve(stream)));
            }
        }));
        Ok(())
    }
}

impl Drop for Responders {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for listener in &self.listeners {
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST];
    loop {
        stream.read_exact(&mut request)?;
        stream.write_all(&request)?;
    }
}

/// Answers with the number of bytes when [`END`] has come.
fn count(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0_u64;
    loop {
        let more = stream.read(&mut buffer)?;
        bytes += more as u64;
        match buffer[..more].last() {
            None => return Ok(()),
            Some(&END) => return stream.write_all(&bytes.to_be_bytes()),
            Some(_) => {}
        }
    }
}

fn count_datagrams(socket: &UdpSocket, counter: &AtomicU64, stop: &AtomicBool) {
    let mut datagram = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if socket.recv(&mut datagram).is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_upload_is_counted_to_its_end() -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        let counting = thread::spawn(move || count(server));
        client.write_all(&[0x5a; 1000])?;
        client.write_all(&[END])?;
        let mut counted = [0; 8];
        client.read_exact(&mut counted)?;
        assert_eq!(u64::from_be_bytes(counted), 1001);
        counting.join().expect("no panic")?;
        Ok(())
    }
}
