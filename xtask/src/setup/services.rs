//! Keeps packages from starting their services while they are installed.
//!
//! Debian's packages ask `/usr/sbin/policy-rc.d` first; its exit code 101 forbids the start. A script of somebody else's
//! is never touched. Ours forbids only as long as the process that wrote it is alive, so that one left behind by a killed
//! set-up does no harm: it allows everything, and the next set-up removes it.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
};

/// How our own script is recognised.
const MARK: &str = "# Written by Evenkeel's set-up";

/// Forbids the start of services while it exists.
#[derive(Debug)]
pub(super) struct NoServices {
    /// Our script; `None` where there was one already.
    script: Option<PathBuf>,
}

impl NoServices {
    /// Puts the script at `path`, unless somebody else's is there.
    ///
    /// # Errors
    ///
    /// When the script cannot be written.
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        if fs::read_to_string(path).is_ok_and(|script| script.contains(MARK)) {
            fs::remove_file(path)?;
        }
        // `create_new` also refuses a dangling link and a file that we cannot read.
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                let guard = Self { script: Some(path.to_owned()) };
                file.write_all(script(process::id()).as_bytes())?;
                Ok(guard)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self { script: None }),
            Err(error) => Err(error),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(script) = &self.script
            && let Err(error) = fs::remove_file(script)
        {
            eprintln!("warning: {} should be removed: {error}", script.display());
        }
    }
}

fn script(pid: u32) -> String {
    // The name guards against the number having been given to another process.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!(
        "#!/bin/sh\n{MARK}; it forbids only while that runs.\n\
         [ \"$(cat /proc/{pid}/comm 2>/dev/null)\" = '{}' ] && exit 101\nexit 0\n",
        name.trim()
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn exit_code(script: &Path) -> Option<i32> {
        Command::new("sh").arg(script).status().expect("sh runs").code()
    }

    #[test]
    fn it_forbids_while_it_exists_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("policy-rc.d");
        let guard = NoServices::begin(&path).expect("the folder is ours");
        assert_eq!(exit_code(&path), Some(101));
        drop(guard);
        assert!(!path.exists());
    }

    #[test]
    fn somebody_elses_script_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("policy-rc.d");
        fs::write(&path, "#!/bin/sh\nexit 101\n").expect("the folder is ours");
        drop(NoServices::begin(&path).expect("nothing is written"));
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "#!/bin/sh\nexit 101\n");
    }

    #[test]
    fn a_script_left_behind_allows_services_and_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("policy-rc.d");
        let mut ended = Command::new("true").spawn().expect("true runs");
        let left_behind = script(ended.id());
        ended.wait().expect("it is ours");
        fs::write(&path, left_behind).expect("the folder is ours");
        assert_eq!(exit_code(&path), Some(0), "its process has ended");
        let guard = NoServices::begin(&path).expect("the folder is ours");
        assert_eq!(exit_code(&path), Some(101), "ours took its place");
        drop(guard);
        assert!(!path.exists());
    }
}
