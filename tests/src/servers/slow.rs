//! An HTTP server that takes its time.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv6Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;
use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::AsRawFd as _;

use crate::namespace::Namespace;

/// A running server on every address of its namespace: each request is answered with its name after its delay.
#[derive(Debug)]
pub struct Slow {
    listener: TcpListener,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    delay_us: AtomicU64,
    open: AtomicUsize,
    most: AtomicUsize,
}

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub fn slow(namespace: &Namespace, name: &str, port: u16, delay: Duration) -> Result<Slow> {
    let listener = namespace.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))??;
    let shared = Arc::new(Shared {
        name: name.to_owned(),
        delay_us: AtomicU64::new(delay.as_micros() as u64),
        open: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let (accepting, of_thread) = (listener.try_clone()?, Arc::clone(&shared));
    let thread = namespace.thread(move || {
        while let Ok((stream, _)) = accepting.accept() {
            let shared = Arc::clone(&of_thread);
            thread::spawn(move || shared.answer(&stream));
        }
    });
    Ok(Slow { listener, shared, thread: Some(thread) })
}

impl Slow {
    /// The most requests that it had at one time.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::Relaxed)
    }

    /// Takes this long from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Shared {
    /// A client that goes away is no error.
    fn answer(&self, stream: &TcpStream) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        let head = BufReader::new(stream).lines().take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()));
        if head.count() > 0 {
            // The delay is what this server is for.
            thread::sleep(Duration::from_micros(self.delay_us.load(Ordering::Relaxed)));
            let (name, length) = (&self.name, self.name.len());
            let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{name}");
            let _ = { stream }.write_all(answer.as_bytes());
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // Ends the wait for the next connection.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
