//! What the first process has to do for the others.

use std::{fs::File, process::Command};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};

/// The second serial line.
const REPORT: &str = "/dev/ttyS1";

/// Kinds of file systems and where they belong.
const MOUNTS: &[(&str, &str)] =
    &[("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")];

/// Mounts what programs expect.
///
/// # Errors
///
/// If the kernel lacks a file system.
pub fn prepare() -> Result<()> {
    for (kind, at) in MOUNTS {
        mount(Some(*kind), *at, Some(*kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {at}"))?;
    }
    Ok(())
}

/// Loads a module with parameters; without any the kernel does so by itself.
///
/// # Errors
///
/// If the kernel has no such module.
pub fn load_module(words: &[&str]) -> Result<()> {
    let output = Command::new("modprobe").args(words).output().context("cannot run `modprobe`")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`modprobe {}`: {}", words.join(" "), reason.trim());
    Ok(())
}

/// The way to the host.
///
/// # Errors
///
/// If QEMU gave the guest no second serial line.
pub fn report() -> Result<File> {
    File::options().write(true).open(REPORT).with_context(|| format!("there is no {REPORT}"))
}

/// Ends the guest: QEMU does not start it again.
pub fn end() -> ! {
    let error = reboot(RebootMode::RB_AUTOBOOT).expect_err("a success does not return");
    // The kernel takes the end of its first process for a panic, which ends the guest as well.
    panic!("the guest cannot end itself: {error}")
}
