//! A BPF file system of one's own, so that tests beside each other do not see each other's pins.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::names;

/// A temporary directory with a bpffs mounted on it; unmounting on drop releases every pin, and with
/// them what only the pins held (a pinned XDP link is detached).
#[derive(Debug)]
pub struct Bpffs {
    directory: TempDir,
}

impl Bpffs {
    /// Mounts it.
    ///
    /// # Errors
    /// When not run as root, or when the kernel has no bpffs.
    pub fn mount() -> Result<Self> {
        let directory = names::scratch("bpffs")?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), directory.path(), Some("bpf"), flags, Some("mode=0700"))
            .context("cannot mount a bpffs (this needs root)")?;
        Ok(Self { directory })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A directory for pins on it; the daemon makes it.
    pub fn pins(&self) -> PathBuf {
        self.path().join("evenkeel")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}
