//! What the first process has to do for the others.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};

use super::Report;

/// The second serial line.
const REPORT: &str = "/dev/ttyS1";

/// Kinds of file systems and where they belong.
const MOUNTS: &[(&str, &str)] =
    &[("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")];

/// Modules that the kernel would load by itself, but not with these parameters.
const MODULES: &[&[&str]] = &[&["ip_vs", "conn_tab_bits=18"]];

/// Mounts and loads what is needed.
pub(super) fn prepare() -> Result<()> {
    for (kind, at) in MOUNTS {
        mount(Some(*kind), *at, Some(*kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {at}"))?;
    }
    for words in MODULES {
        let output = Command::new("modprobe").args(*words).output().context("cannot run `modprobe`")?;
        let reason = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`modprobe {}`: {}", words.join(" "), reason.trim());
    }
    Ok(())
}

/// The way to the host.
pub(super) fn report() -> Result<Report> {
    Report::open(Path::new(REPORT)).with_context(|| format!("there is no {REPORT}"))
}

/// Ends the guest: QEMU does not start it again.
pub(super) fn end() -> ! {
    let error = reboot(RebootMode::RB_AUTOBOOT).expect_err("a success does not return");
    // The kernel takes the end of its first process for a panic, which ends the guest as well.
    panic!("the guest cannot end itself: {error}")
}
