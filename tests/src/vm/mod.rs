//! Debian's kernels in QEMU, for the tests in guests and for the bench.
//!
//! QEMU emulates the CPU (no KVM needed) with a clock that counts instructions: one nanosecond of the guest is one
//! instruction, and a guest that waits for a timer is there at once. So nothing in the guest is late because the machine
//! is busy.
//!
//! The guest's file system is an [`archive`] in memory: a first process, the few programs of the host that it needs
//! ([`programs`]) and the kernel's network modules ([`kernel`]). Nothing of the host is mounted. The first process prepares
//! the guest for the others ([`first_process`]) and writes on a serial line what [`qemu`] reads.

pub mod archive;
pub mod first_process;
pub mod kernel;
pub mod programs;
pub mod qemu;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};

use self::{
    archive::Archive,
    kernel::Kernel,
    qemu::{Guest, Qemu},
};
use crate::names;

/// Path of the first process in the guest.
pub const INIT: &str = "/init";
/// Path of the daemon in the guest.
pub const DAEMON: &str = "/bin/evenkeel";

/// What to do when a part is missing.
pub(crate) const REMEDY: &str = "run `cargo xtask setup --vm`";
/// Lines of the guest's console that are shown when something failed.
const TAIL: usize = 40;

/// Boots a kernel with these files, has `collect` read what the guest says, and ends it.
///
/// # Errors
///
/// If QEMU cannot be started, or that of `collect`, with the end of what the guest's console said.
pub fn run<T>(
    kernel: &Kernel,
    files: Archive,
    memory: u32,
    patience: Duration,
    collect: impl FnOnce(&mut Qemu) -> Result<T>,
) -> Result<T> {
    let folder = names::scratch("vm")?;
    let (archive, console) = (folder.path().join("archive"), folder.path().join("console"));
    fs::write(&archive, files.finish()).context("no room for the guest's file system")?;
    let guest = Guest { kernel: &kernel.image, archive: &archive, console: &console, memory };
    let mut qemu = Qemu::start(&guest, patience)?;
    let outcome = collect(&mut qemu);
    drop(qemu);
    outcome.map_err(|error| match tail(&console) {
        said if said.is_empty() => error,
        said => error.context(format!("{said}\n(the last that the guest's console said)")),
    })
}

fn tail(console: &Path) -> String {
    let text = fs::read(console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
