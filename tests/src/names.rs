//! Names that say which process owns a thing, so that leftovers of dead processes can be told and removed.
//!
//! Namespaces and temporary directories are called `ek-<pid>-<n>-<role>`.

use std::{
    fs,
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use tempfile::TempDir;

use crate::namespace;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A prefix `ek-<pid>-<n>` that no other call on this machine gives while this process lives.
pub fn unique() -> String {
    format!("ek-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A temporary directory of this process, removed on drop and by [`sweep`].
///
/// # Errors
/// When the system's temporary directory cannot be written.
pub fn scratch(role: &str) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("{}-{role}-", unique()))
        .tempdir()
        .with_context(|| format!("no temporary directory for {role}"))
}

/// The process id in a name of this harness; `None` for any other name.
pub fn owner(name: &str) -> Option<u32> {
    let mut parts = name.strip_prefix("ek-")?.splitn(3, '-');
    let pid = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u32>().ok()?;
    parts.next().filter(|role| !role.is_empty())?;
    Some(pid)
}

/// Removes the namespaces (with the processes in them), mounts and directories of processes that are no more.
///
/// Safe beside other running tests: what a living process owns is left alone, and what another sweep
/// removed first is no error.
pub fn sweep() {
    for name in orphans(Path::new(namespace::DIRECTORY)) {
        namespace::destroy(&name);
    }
    let temporary = std::env::temp_dir();
    for name in orphans(&temporary) {
        let path = temporary.join(name);
        // Detached before it is emptied: removing files of a mounted bpffs would be another thing than unmounting it.
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(&path);
    }
}

/// What bears the name of a dead process in `directory`.
fn orphans(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_owner() {
        let (a, b) = (unique(), unique());
        assert_ne!(a, b);
        assert_eq!(owner(&format!("{a}-lb")), Some(process::id()));
    }

    #[test]
    fn names_of_others_have_no_owner() {
        for name in ["ek-1-2", "ek-1-2-", "ek--2-lb", "ek-x-2-lb", "ek-1-x-lb", "xek-1-2-lb", "lb", ""] {
            assert_eq!(owner(name), None, "{name}");
        }
    }

    #[test]
    fn only_what_dead_processes_own_is_an_orphan() {
        let place = tempfile::tempdir().unwrap();
        // Process ids end at 2^22 on Linux: this one cannot live.
        for name in ["ek-4194305-0-lb".to_owned(), format!("{}-lb", unique()), "other".to_owned()] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        assert_eq!(orphans(place.path()), ["ek-4194305-0-lb"]);
    }
}
