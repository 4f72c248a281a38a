//! Takes the CPU from other programs while something is measured by the wall clock.
//!
//! What the kernel does for packets outside of any process cannot be told from the work of others by CPU time, so others
//! have to be kept away.

use std::fs;

use anyhow::{Context, Result};

/// The kernel's group of this session's processes: `/autogroup-12 nice 0`. It is not there without `CONFIG_SCHED_AUTOGROUP`.
const GROUP: &str = "/proc/self/autogroup";
/// The highest priority of ordinary programs.
const HIGHEST: i32 = -20;

/// This process and what it starts have the highest ordinary priority until this is dropped. If the process is killed the
/// group keeps it; it ends with the session.
#[derive(Debug)]
pub(crate) struct Priority {
    group: Option<i32>,
    process: i32,
}

impl Priority {
    /// Raises it.
    ///
    /// # Errors
    ///
    /// When not root.
    pub(crate) fn raise() -> Result<Self> {
        // SAFETY: takes and returns numbers; thread 0 is the caller.
        let process = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        set(HIGHEST).context("cannot raise the priority; is this root?")?;
        let group = fs::read_to_string(GROUP).ok().and_then(|text| group_nice(&text));
        if group.is_some() {
            fs::write(GROUP, HIGHEST.to_string()).with_context(|| format!("cannot write {GROUP}"))?;
        }
        Ok(Self { group, process })
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        if let Some(nice) = self.group {
            let _ = fs::write(GROUP, nice.to_string());
        }
        let _ = set(self.process);
    }
}

/// Of every thread: those that start programs hand theirs on.
fn set(nice: i32) -> Result<()> {
    for thread in fs::read_dir("/proc/self/task")? {
        let name = thread?.file_name();
        let id: libc::id_t = name.to_string_lossy().parse()?;
        // SAFETY: takes and returns numbers.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, id, nice) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    Ok(())
}

fn group_nice(text: &str) -> Option<i32> {
    text.trim().rsplit_once("nice ")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_nice_value_is_read() {
        assert_eq!(group_nice("/autogroup-3351 nice 0\n"), Some(0));
        assert_eq!(group_nice("/autogroup-7 nice -20\n"), Some(-20));
        assert_eq!(group_nice("nonsense"), None);
    }
}
