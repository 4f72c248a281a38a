//! CPU time of the core that everything runs on.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// Seconds that a core was busy since boot: user, nice, system, interrupts and softirqs. They contain the client, the
/// balancer, the servers and the kernel's work for them, and what others ran on that core meanwhile.
pub(super) fn busy(cpu: usize) -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = busy_ticks(&text, cpu).with_context(|| format!("/proc/stat has no CPU {cpu}"))?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not say what a tick is")?;
    Ok(ticks as f64 / per_second as f64)
}

/// The columns are user, nice, system, idle, iowait, irq, softirq, steal, … (proc_stat(5)).
fn busy_ticks(text: &str, cpu: usize) -> Option<u64> {
    let name = format!("cpu{cpu}");
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(&name))?;
    let columns: Vec<u64> = line.split_whitespace().skip(1).map_while(|column| column.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().map(|column| columns.get(*column)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 20 300 4000 5 60000 700000 8 0 0\ncpu10 1 1 1 1 1 1 1 0 0 0\nintr 5\n";

    #[test]
    fn idle_waiting_and_stolen_time_do_not_count() {
        assert_eq!(busy_ticks(STAT, 0), Some(760_321));
        assert_eq!(busy_ticks(STAT, 10), Some(5));
        assert_eq!(busy_ticks(STAT, 1), None);
    }
}
