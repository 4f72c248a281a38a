//! The limit of open files: high for this process, as it was for the programs that it runs.

use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// As it was before it was raised.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Lets this process have as many open files as it may: each probe under way has one, and the usual limit of 1 024 is for
/// programs that call `select(2)`.
///
/// # Errors
///
/// If the kernel refuses.
pub(crate) fn raise() -> Result<()> {
    let before = *BEFORE.get_or_init(|| getrlimit(Resource::Nofile));
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    setrlimit(Resource::Nofile, raised).context("the limit of open files cannot be raised")
}

/// Gives a program that was just started the limit from before. It is no error if the program has ended.
pub(crate) fn lower_for(process: u32) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let (Some(before), Some(pid)) = (BEFORE.get(), pid) {
        let _ = prlimit(Some(pid), Resource::Nofile, *before);
    }
}
