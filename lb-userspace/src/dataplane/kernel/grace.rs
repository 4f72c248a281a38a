//! A grace period: after it, no program still uses what was taken out of the tables before.

use anyhow::{Context, Result};

/// Waits for one. Programs run inside RCU read-side sections, and `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu` in the
/// kernel; it takes some milliseconds.
///
/// # Errors
///
/// If the kernel has no such command (it is there since 4.3, but not with `nohz_full` CPUs).
pub fn wait() -> Result<()> {
    #[expect(unsafe_code, reason = "libc has no wrapper for the system call")]
    // SAFETY: the system call takes three integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    nix::errno::Errno::result(result).context("membarrier: the kernel cannot wait for a grace period").map(drop)
}
