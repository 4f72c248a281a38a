//! Ctrl-C, as a flag: the guards clean up only if `main` returns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// Whether somebody wants the demo to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes SIGINT, SIGTERM and SIGHUP from now on. Must be called before other threads are started: they inherit
    /// that the signals are blocked, so that the one thread that waits for them gets them all. Child processes do not
    /// inherit it: the standard library empties their mask.
    ///
    /// # Errors
    /// When the signals cannot be blocked.
    pub(crate) fn install() -> Result<Self> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals.thread_block().context("cannot block signals")?;
        let interrupt = Self { flag: Arc::new(AtomicBool::new(false)) };
        let flag = Arc::clone(&interrupt.flag);
        thread::Builder::new().name("signals".into()).spawn(move || {
            while signals.wait().is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        })?;
        Ok(interrupt)
    }

    /// Whether a signal came.
    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}
