//! Many short TCP connections, each with one request, and who answered them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{http::get_text, namespace::Namespace};

/// After how long a connection, or a wait for an answer, counts as failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One connection: when, and who answered it or why nobody did.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When its SYN was sent, or a moment before.
    pub started: Instant,
    /// When its answer was complete or it failed.
    pub ended: Instant,
    /// The name of the backend, or the error.
    pub outcome: Result<String, String>,
}

/// Who answered, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Complete answers by backend.
    pub replies: BTreeMap<String, u64>,
    /// Failed connections by error.
    pub errors: BTreeMap<String, u64>,
}

/// Connections opened in the background until [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Result<Vec<Attempt>>>>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    /// How many connections may be opened in all; lowered to 0 to stop.
    limit: AtomicU64,
    opened: AtomicU64,
    completed: AtomicU64,
}

/// Opens `count` connections, `parallel` at a time, and counts the answers to `GET /who`.
///
/// # Errors
/// When the namespace cannot be entered; failed connections are counted, not returned.
pub fn connections(namespace: &Namespace, server: SocketAddr, count: u64, parallel: usize) -> Result<Tally> {
    Ok(attempts(namespace, server, count, parallel)?.iter().collect())
}

/// The same, each of them.
///
/// # Errors
/// As [`connections`].
pub fn attempts(namespace: &Namespace, server: SocketAddr, count: u64, parallel: usize) -> Result<Vec<Attempt>> {
    Load::with_limit(namespace, server, parallel, count).join()
}

impl Load {
    /// Starts opening connections, `parallel` at a time, each as soon as the one before has ended.
    pub fn start(namespace: &Namespace, server: SocketAddr, parallel: usize) -> Self {
        Self::with_limit(namespace, server, parallel, u64::MAX)
    }

    /// How many have ended so far.
    pub fn completed(&self) -> u64 {
        self.shared.completed.load(Ordering::Relaxed)
    }

    /// Opens no more, waits for those that are open, and gives them all in no particular order.
    ///
    /// # Errors
    /// When the namespace could not be entered.
    pub fn stop(self) -> Result<Vec<Attempt>> {
        self.shared.limit.store(0, Ordering::Relaxed);
        self.join()
    }

    fn with_limit(namespace: &Namespace, server: SocketAddr, parallel: usize, limit: u64) -> Self {
        let shared =
            Arc::new(Shared { server, limit: limit.into(), opened: AtomicU64::new(0), completed: AtomicU64::new(0) });
        let worker = |_| {
            let shared = Arc::clone(&shared);
            namespace.thread(move || shared.work())
        };
        Self { workers: (0..parallel.max(1)).map(worker).collect(), shared }
    }

    fn join(mut self) -> Result<Vec<Attempt>> {
        let mut attempts = Vec::new();
        for worker in self.workers.drain(..) {
            attempts.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(attempts)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.limit.store(0, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        while self.opened.fetch_add(1, Ordering::Relaxed) < self.limit.load(Ordering::Relaxed) {
            let started = Instant::now();
            let outcome = get_text(self.server, "/who", TIMEOUT).map_err(|error| error.to_string());
            attempts.push(Attempt { started, ended: Instant::now(), outcome });
            self.completed.fetch_add(1, Ordering::Relaxed);
        }
        attempts
    }
}

impl Tally {
    /// Complete answers.
    pub fn answered(&self) -> u64 {
        self.replies.values().sum()
    }

    /// Failed connections.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Complete answers of one backend.
    pub fn of(&self, backend: &str) -> u64 {
        self.replies.get(backend).copied().unwrap_or(0)
    }

    /// A backend's part of the complete answers, 0 to 1.
    pub fn share(&self, backend: &str) -> f64 {
        self.of(backend) as f64 / self.answered().max(1) as f64
    }
}

impl<'a> FromIterator<&'a Attempt> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a Attempt>>(attempts: I) -> Self {
        let mut tally = Self::default();
        for attempt in attempts {
            let (counts, key) = match &attempt.outcome {
                Ok(name) => (&mut tally.replies, name),
                Err(error) => (&mut tally.errors, error),
            };
            *counts.entry(key.clone()).or_default() += 1;
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_replies_and_errors_apart() {
        let now = Instant::now();
        let attempt = |outcome| Attempt { started: now, ended: now, outcome };
        let attempts =
            [Ok("b1".to_owned()), Err("reset".to_owned()), Ok("b2".to_owned()), Ok("b1".to_owned())].map(attempt);
        let tally: Tally = attempts.iter().collect();
        assert_eq!((tally.answered(), tally.failed(), tally.of("b1"), tally.of("b3")), (3, 1, 2, 0));
        assert!((tally.share("b1") - 2.0 / 3.0).abs() < 1e-9);
    }
}
