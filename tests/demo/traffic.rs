//! Connections all through the demo, looked at while they go on.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;
use evenkeel_tests::{
    clients::{Attempt, Tally},
    http::get_text,
    namespace::Namespace,
};

/// Clients that each open one connection after the other.
const CLIENTS: usize = 32;
/// Each client's time from one connection to the next, if it is answered in less: 1000 connections a second in all,
/// so that something is left of the machine.
const PACE: Duration = Duration::from_millis(32);
/// After how long a connection, or a wait for an answer, counts as failed.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What `CONN/S` is counted over.
const SECOND: Duration = Duration::from_secs(1);

/// New connections in the background, each with one `GET /who`, until it is dropped.
#[derive(Debug)]
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// In the order in which they ended.
    attempts: Vec<Attempt>,
    /// Of all, also of those that were forgotten.
    totals: Tally,
}

impl Traffic {
    /// Starts it from a namespace.
    pub(crate) fn start(namespace: &Namespace, server: SocketAddr) -> Self {
        let shared = Arc::new(Shared { server, stop: AtomicBool::new(false), seen: Mutex::default() });
        let client = |_| {
            let shared = Arc::clone(&shared);
            namespace.thread(move || shared.work())
        };
        Self { clients: (0..CLIENTS).map(client).collect(), shared }
    }

    /// The connections that were opened at or after `since` and have ended.
    pub(crate) fn since(&self, since: Instant) -> Vec<Attempt> {
        self.shared.seen().attempts.iter().filter(|attempt| attempt.started >= since).cloned().collect()
    }

    /// Of all connections.
    pub(crate) fn totals(&self) -> Tally {
        self.shared.seen().totals.clone()
    }

    /// Of the connections that ended in the last second.
    pub(crate) fn last_second(&self) -> Tally {
        let now = Instant::now();
        let seen = self.shared.seen();
        seen.attempts.iter().rev().take_while(|attempt| now.duration_since(attempt.ended) < SECOND).collect()
    }

    /// Drops what the table needs no more, for a demo that goes on and on; the totals stay.
    pub(crate) fn forget(&self) {
        let now = Instant::now();
        self.shared.seen().attempts.retain(|attempt| now.duration_since(attempt.ended) < SECOND);
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let outcome = get_text(self.server, "/who", TIMEOUT).map_err(|error| error.to_string());
            self.seen().add(started, outcome);
            thread::sleep(PACE.saturating_sub(started.elapsed()));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Called with the lock held, so that the ends are in order.
    fn add(&mut self, started: Instant, outcome: Result<String, String>) {
        let (counts, key) = match &outcome {
            Ok(name) => (&mut self.totals.replies, name),
            Err(error) => (&mut self.totals.errors, error),
        };
        *counts.entry(key.clone()).or_default() += 1;
        self.attempts.push(Attempt { started, ended: Instant::now(), outcome });
    }
}
