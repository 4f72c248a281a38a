//! Many TCP connections to [`echo`](crate::servers::echo) servers from one thread: long transfers whose every byte is compared, and
//! new connections at a rate. What fails is counted for the *window* (a number that the test sets) in which it happened.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{content::Content, namespace::Namespace};

/// After how long without an answer a connection counts as broken.
const TIMEOUT: Duration = Duration::from_secs(20);
/// What a transfer sends at a time.
const PIECE: usize = 512;
/// How long it waits before the next.
const PAUSE: Duration = Duration::from_millis(200);
/// Transfers differ in where their bytes begin.
const CONTENT: usize = 1 << 20;

/// Transfers and connections in the background.
#[derive(Debug)]
pub struct Echoes {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<Result<io::Result<()>>>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    window: AtomicUsize,
    /// Right bytes of each transfer.
    received: Vec<AtomicU64>,
    broken: Mutex<Vec<Failure>>,
    answered: AtomicU64,
    failed: Mutex<Vec<Failure>>,
}

/// A connection that broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The transfer's number; that of the connection among new ones.
    pub number: u64,
    /// The window: for a transfer that in which it broke, for a new connection that in which it began.
    pub window: usize,
    /// What happened.
    pub error: String,
}

/// What became of all of them.
#[derive(Clone, Debug)]
pub struct EchoReport {
    /// Bytes that came back, all right.
    pub bytes: u64,
    /// Transfers that did not come to a regular end.
    pub broken: Vec<Failure>,
    /// New connections that were answered.
    pub answered: u64,
    /// Those that were not.
    pub failed: Vec<Failure>,
}

impl Echoes {
    /// Starts so many transfers, and so many connections a second, until [`Self::finish`].
    pub fn start(namespace: &Namespace, server: SocketAddr, transfers: usize, per_second: u32) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            window: AtomicUsize::new(0),
            received: (0..transfers).map(|_| AtomicU64::new(0)).collect(),
            broken: Mutex::default(),
            answered: AtomicU64::new(0),
            failed: Mutex::default(),
        });
        let inside = Arc::clone(&shared);
        let worker = namespace.thread(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(inside.run(server, per_second));
            Ok(())
        });
        Self { shared, worker: Some(worker) }
    }

    /// What fails from now on is counted for this window.
    pub fn set_window(&self, window: usize) {
        self.shared.window.store(window, Ordering::Relaxed);
    }

    /// Right bytes of each transfer so far.
    pub fn received(&self) -> Vec<u64> {
        self.shared.received.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect()
    }

    /// Whether every transfer has had bytes back since [`Self::received`] said this, or is broken.
    pub fn went_on(&self, since: &[u64]) -> bool {
        let broken: Vec<u64> = locked(&self.shared.broken).iter().map(|failure| failure.number).collect();
        let went_on = |(number, (now, before)): (u64, (u64, &u64))| now > *before || broken.contains(&number);
        (0..).zip(self.received().into_iter().zip(since)).all(went_on)
    }

    /// New connections that have ended so far.
    pub fn completed(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed) + locked(&self.shared.failed).len() as u64
    }

    /// Opens no more and lets each end in order.
    ///
    /// # Errors
    /// When the namespace could not be entered.
    pub fn finish(mut self) -> Result<EchoReport> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let worker = self.worker.take().expect("only this and drop take it");
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))??;
        Ok(EchoReport {
            bytes: self.received().iter().sum(),
            broken: locked(&self.shared.broken).clone(),
            answered: self.shared.answered.load(Ordering::Relaxed),
            failed: locked(&self.shared.failed).clone(),
        })
    }
}

impl Drop for Echoes {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

impl Shared {
    async fn run(self: Arc<Self>, server: SocketAddr, per_second: u32) {
        let content = Content::generate(5, CONTENT);
        let mut tasks = JoinSet::new();
        for number in 0..self.received.len() {
            let (shared, content) = (Arc::clone(&self), content.clone());
            tasks.spawn(async move {
                if let Err(error) = shared.transfer(server, number, content.bytes()).await {
                    shared.note(&shared.broken, number as u64, shared.window.load(Ordering::Relaxed), error);
                }
            });
        }
        let mut clock = interval(Duration::from_secs(1) / per_second.max(1));
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0.. {
            clock.tick().await;
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            // Those that have ended are forgotten.
            while tasks.try_join_next().is_some() {}
            let shared = Arc::clone(&self);
            let window = self.window.load(Ordering::Relaxed);
            tasks.spawn(async move {
                match one(server, number).await {
                    Ok(()) => drop(shared.answered.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => shared.note(&shared.failed, number, window, error),
                }
            });
        }
        tasks.join_all().await;
    }

    fn note(&self, failures: &Mutex<Vec<Failure>>, number: u64, window: usize, error: io::Error) {
        locked(failures).push(Failure { number, window, error: error.to_string() });
    }

    async fn transfer(&self, server: SocketAddr, number: usize, content: &[u8]) -> io::Result<()> {
        let mut stream = timeout(TIMEOUT, TcpStream::connect(server)).await??;
        let pieces = content.chunks_exact(PIECE).cycle().skip(number);
        for piece in pieces {
            if self.stop.load(Ordering::Relaxed) {
                return end(stream).await;
            }
            exchange(&mut stream, piece).await?;
            self.received[number].fetch_add(PIECE as u64, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("the content is repeated for ever")
    }
}

/// A new connection with a request and an answer.
async fn one(server: SocketAddr, number: u64) -> io::Result<()> {
    let mut stream = timeout(TIMEOUT, TcpStream::connect(server)).await??;
    exchange(&mut stream, &number.to_be_bytes()).await?;
    end(stream).await
}

async fn exchange(stream: &mut TcpStream, piece: &[u8]) -> io::Result<()> {
    let mut answer = vec![0; piece.len()];
    timeout(TIMEOUT, async {
        stream.write_all(piece).await?;
        stream.read_exact(&mut answer).await
    })
    .await??;
    if answer == piece { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes came back")) }
}

async fn end(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let rest = timeout(TIMEOUT, stream.read(&mut [0; 1])).await??;
    if rest == 0 { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "more came back than was sent")) }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
