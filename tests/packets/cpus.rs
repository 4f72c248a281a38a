//! Which CPU a thread runs on: `BPF_PROG_TEST_RUN` runs a program on the CPU of its caller.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// CPUs that this thread may run on.
pub(crate) fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("readable");
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
}

/// Lets this thread run on one CPU only.
pub(crate) fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a CPU of the set");
    sched_setaffinity(Pid::from_raw(0), &set).expect("it is one of ours");
}
