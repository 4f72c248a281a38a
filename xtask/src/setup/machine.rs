//! What is on this machine.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;
use lb_ebpf::Version;

/// What set-up needs to know of the machine. Tests make one of doubles.
pub(super) struct Machine {
    /// Where programs are looked for, in this order.
    pub(super) path: Vec<PathBuf>,
    /// We are root, and the packages are Debian's or Ubuntu's.
    pub(super) may_install: bool,
    /// The script that decides whether an installed package may start its service.
    pub(super) service_policy: PathBuf,
}

impl Machine {
    /// The machine we run on.
    pub(super) fn this() -> Self {
        let mut path: Vec<PathBuf> =
            env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
        // Where nginx, dnsmasq and ethtool are, and what the PATH of an ordinary user lacks.
        path.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        path.extend(lb_ebpf::cargo_bin_directory());
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let debian = fs::read_to_string("/etc/os-release").is_ok_and(|release| is_debian_like(&release));
        let mut machine = Self { path, may_install: false, service_policy: "/usr/sbin/policy-rc.d".into() };
        machine.may_install = root && debian && machine.find("apt-get").is_some();
        machine
    }

    /// The first executable file of this name.
    pub(super) fn find(&self, program: &str) -> Option<PathBuf> {
        self.path.iter().map(|folder| folder.join(program)).find(|candidate| is_executable(candidate))
    }

    /// A command that sees the same programs as we do.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.find(program).unwrap_or_else(|| program.into()));
        command.env("PATH", self.joined_path()).stdin(Stdio::null());
        command
    }

    /// Those of `packages` that the package lists have a version of.
    pub(super) fn available_packages(&self, packages: &[&str]) -> Result<Vec<String>> {
        let output = self.command("apt-cache").arg("policy").args(packages).env("LC_ALL", "C").output()?;
        Ok(with_candidate(&String::from_utf8_lossy(&output.stdout)))
    }

    /// The version that a program states with `--version`, if it runs.
    pub(super) fn version_of(&self, program: &str) -> Option<Version> {
        let output = self.command(program).arg("--version").output().ok().filter(|output| output.status.success())?;
        Version::of_tool(&String::from_utf8_lossy(&output.stdout))
    }

    fn joined_path(&self) -> OsString {
        env::join_paths(&self.path).unwrap_or_default()
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn is_debian_like(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .any(|name| matches!(name, "debian" | "ubuntu"))
}

/// Reads `apt-cache policy`: a name at the start of a line, then indented facts.
fn with_candidate(policy: &str) -> Vec<String> {
    let mut package = None;
    let mut found = Vec::new();
    for line in policy.lines() {
        if !line.starts_with(' ') {
            package = line.strip_suffix(':');
        } else if let (Some(name), Some(version)) = (package, line.trim().strip_prefix("Candidate: "))
            && version != "(none)"
        {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_children_are_recognised() {
        for (release, expected) in [
            ("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n", true),
            ("ID=ubuntu\nID_LIKE=debian\n", true),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", true),
            ("ID=fedora\n", false),
            ("ID=arch\nHOME_URL=https://debian.example/\n", false),
            ("ID_LIKE=\"rhel fedora\"\nVERSION_ID=debian\n", false),
        ] {
            assert_eq!(is_debian_like(release), expected, "{release:?}");
        }
    }

    #[test]
    fn only_packages_with_a_candidate_count_as_available() {
        let policy = "wrk:\n  Installed: (none)\n  Candidate: 4.1.0-3\n  Version table:\n     4.1.0-3 500\n\
                      rustc-web:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert_eq!(with_candidate(policy), ["wrk"]);
        assert!(with_candidate("").is_empty());
    }

    #[test]
    fn a_program_must_be_an_executable_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let machine =
            Machine { path: vec![folder.path().to_owned()], may_install: false, service_policy: "/nonexistent".into() };
        fs::write(folder.path().join("tool"), "").expect("the folder is ours");
        fs::create_dir(folder.path().join("folder")).expect("the folder is ours");
        assert_eq!(machine.find("tool"), None, "not executable");
        assert_eq!(machine.find("folder"), None, "not a file");
        fs::set_permissions(folder.path().join("tool"), fs::Permissions::from_mode(0o755)).expect("the file is ours");
        assert_eq!(machine.find("tool"), Some(folder.path().join("tool")));
    }
}
