//! Long downloads whose every byte is compared.

use std::{
    io::Read,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;

use crate::{
    content::Content,
    http::{self, Response},
    namespace::Namespace,
    servers::FILE_PATH,
};

/// After how long without a byte a download counts as broken.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A download in the background.
#[derive(Debug)]
pub struct Download {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<Result<Result<(), String>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    backend: OnceLock<String>,
    received: AtomicU64,
    ended: AtomicBool,
    cancelled: AtomicBool,
}

/// How a download ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadReport {
    /// Who sent it; `None` when no head of an answer came.
    pub backend: Option<String>,
    /// Bytes that came and were right.
    pub received: u64,
    /// `Ok` when every byte came and was right, else what went wrong.
    pub outcome: Result<(), String>,
}

impl Download {
    /// Starts to fetch [`FILE_PATH`], which must be `content`, at `rate` bytes per second (`None`: as fast as it goes).
    pub fn start(namespace: &Namespace, server: SocketAddr, content: &Content, rate: Option<u64>) -> Self {
        let shared = Arc::new(Shared::default());
        let path = rate.map_or_else(|| FILE_PATH.to_owned(), |rate| format!("{FILE_PATH}?rate={rate}"));
        let (content, inside) = (content.clone(), Arc::clone(&shared));
        let worker = namespace.thread(move || {
            let outcome = inside.fetch(server, &path, content.bytes());
            inside.ended.store(true, Ordering::Release);
            outcome
        });
        Self { shared, worker: Some(worker) }
    }

    /// Starts `count` of them.
    pub fn start_many(
        count: usize,
        namespace: &Namespace,
        server: SocketAddr,
        content: &Content,
        rate: Option<u64>,
    ) -> Vec<Self> {
        (0..count).map(|_| Self::start(namespace, server, content, rate)).collect()
    }

    /// Who sends it, once the head of the answer is there.
    pub fn backend(&self) -> Option<&str> {
        self.shared.backend.get().map(String::as_str)
    }

    /// Right bytes so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Whether it has ended, well or not.
    pub fn ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the namespace could not be entered; a broken download is in the report.
    pub fn finish(mut self) -> Result<DownloadReport> {
        let worker = self.worker.take().expect("only this and drop take it");
        let outcome = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(DownloadReport { backend: self.backend().map(str::to_owned), received: self.received(), outcome })
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn fetch(&self, server: SocketAddr, path: &str, content: &[u8]) -> Result<(), String> {
        let response = http::get(server, path, TIMEOUT).map_err(|error| error.to_string())?;
        if response.status != 200 {
            return Err(format!("status {}", response.status));
        }
        if let Some(name) = &response.backend {
            let _ = self.backend.set(name.clone());
        }
        self.compare(response, content)
    }

    fn compare(&self, mut response: Response, content: &[u8]) -> Result<(), String> {
        let mut chunk = vec![0; 64 * 1024];
        let mut rest = content;
        while !self.cancelled.load(Ordering::Relaxed) {
            let at = content.len() - rest.len();
            let count = response.body.read(&mut chunk).map_err(|error| format!("after {at} bytes: {error}"))?;
            if count == 0 {
                let missing = rest.len();
                return if missing == 0 { Ok(()) } else { Err(format!("ended {missing} bytes early")) };
            }
            rest = rest.strip_prefix(&chunk[..count]).ok_or_else(|| format!("wrong bytes after byte {at}"))?;
            self.received.fetch_add(count as u64, Ordering::Relaxed);
        }
        Err("cancelled".into())
    }
}
