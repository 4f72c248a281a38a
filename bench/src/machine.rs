//! Where a bench ran.

use std::{fs, process::Command, time::SystemTime};

use serde::{Deserialize, Serialize};

/// The machine, the code and the time: what must be known to read figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// When the run began, RFC 3339 in UTC.
    pub(crate) date: String,
    /// The commit that was measured, with `-dirty` if files had changed since; empty outside of a repository.
    pub(crate) commit: String,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Model of the CPU.
    pub(crate) cpu: String,
    /// CPUs that the process may use.
    pub(crate) cores: usize,
}

impl Machine {
    /// This one, now. To be asked before the process is pinned to one CPU.
    pub(crate) fn here() -> Self {
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit: commit(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            cpu: model(&information),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The first model that `/proc/cpuinfo` names; not every architecture does.
fn model(information: &str) -> String {
    let lines = information.lines().filter_map(|line| line.split_once(':'));
    let model = lines.filter(|(key, _)| key.trim() == "model name").map(|(_, model)| model.trim()).next();
    model.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// Empty if there is no git or no repository: the bench does not depend on it.
fn commit() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_the_first_named_or_the_architecture() {
        assert_eq!(model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Other\n"), "Some CPU @ 2 GHz");
        assert_eq!(model("processor\t: 0\n"), std::env::consts::ARCH);
    }
}
