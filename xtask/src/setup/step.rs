//! The steps of an installation, as commands that are run or shown.

use std::process::Command;

use super::{guest_kernel, machine::Machine, parts::LINKER_VERSION};
use crate::workspace;

/// Where the packages put the LLVM that `bpf-linker` is built against.
pub(super) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Fetch the package lists.
    Update,
    /// Install packages.
    Packages(Vec<&'static str>),
    /// Keep a service that we installed from starting with the machine: the tests and the bench start their own.
    DisableService(&'static str),
    /// Extend rustup's toolchain.
    Components(Vec<&'static str>),
    /// Build and install `bpf-linker`.
    Linker,
    /// Fetch the kernel of a series that a package stands for and unpack it in the workspace.
    GuestKernel { series: &'static str, package: &'static str },
}

impl Step {
    /// What is being done, for the reader.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Update => "refresh the package lists".into(),
            Self::Packages(packages) => format!("install {}", packages.join(" ")),
            Self::DisableService(service) => format!("keep {service} from starting with the machine"),
            Self::Components(components) => format!("add {} to rustup's toolchain", components.join(" and ")),
            Self::Linker => format!("build bpf-linker {LINKER_VERSION} (about a minute)"),
            Self::GuestKernel { package, .. } => {
                format!("unpack the kernel of {package} in target/vm, without installing it")
            }
        }
    }

    /// What to do when it fails.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Update => "check /etc/apt/sources.list.d and the network; the package lists stay as they were",
            Self::Packages(_) => {
                "the compiler's packages are in Debian 12's security archive (bookworm-security); check the sources, \
                 the network and the free space, then run `cargo xtask setup` again"
            }
            Self::DisableService(_) => "it will be started with the machine; `systemctl disable` prevents it",
            Self::Components(_) => "check the network and `rustup show`, then run `cargo xtask setup` again",
            Self::Linker => {
                "it needs a C compiler, /usr/lib/llvm-22 (llvm-22-dev) and the crates registry; \
                 run `cargo xtask setup` again when they are there"
            }
            Self::GuestKernel { .. } => {
                "the kernel's packages are in Debian 12's security archive (bookworm-security); check the sources, the \
                 network and the free space, then run `cargo xtask setup --vm` again"
            }
        }
    }

    /// Whether set-up can go on without it.
    pub(super) fn is_optional(&self) -> bool {
        matches!(self, Self::Update | Self::DisableService(_))
    }

    /// The environment, the program and its arguments.
    fn parts(&self) -> (&'static [(&'static str, &'static str)], Vec<&str>) {
        let apt: &[_] = &[("DEBIAN_FRONTEND", "noninteractive")];
        let llvm: &[_] = &[("LLVM_PREFIX", LLVM_PREFIX), ("LLVM_SYS_221_PREFIX", LLVM_PREFIX)];
        match self {
            Self::Update => (apt, vec!["apt-get", "update"]),
            Self::Packages(packages) => {
                (apt, [&["apt-get", "install", "--yes", "--no-install-recommends"], &packages[..]].concat())
            }
            Self::DisableService(service) => (&[], vec!["systemctl", "disable", service]),
            Self::Components(components) => (&[], [&["rustup", "component", "add"], &components[..]].concat()),
            Self::Linker => {
                let install = "cargo install --locked --force --no-default-features --features llvm-22";
                let mut words: Vec<_> = install.split(' ').collect();
                words.extend(["--version", LINKER_VERSION, "bpf-linker"]);
                (llvm, words)
            }
            Self::GuestKernel { series, package } => (&[], vec!["sh", guest_kernel::SCRIPT, package, series]),
        }
    }

    /// The command as a user of a shell would write it.
    pub(super) fn shell(&self) -> String {
        let (environment, words) = self.parts();
        let sudo = matches!(words.first(), Some(&"apt-get" | &"systemctl")).then(|| "sudo".to_owned());
        let environment = environment.iter().map(|(name, value)| format!("{name}={value}"));
        sudo.into_iter().chain(environment).chain(words.into_iter().map(String::from)).collect::<Vec<_>>().join(" ")
    }

    /// The command as we run it.
    pub(super) fn command(&self, machine: &Machine) -> Command {
        let (environment, words) = self.parts();
        let mut command = machine.command(words.first().copied().unwrap_or_default());
        command.args(words.iter().skip(1)).envs(environment.iter().copied());
        match self {
            Self::Update | Self::Packages(_) => {
                // Another apt may be at work just after the machine came up; changed configuration files stay.
                command.args(["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"]);
                command.args(["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]);
            }
            Self::Linker => {
                // Where the build looks for it, whatever CARGO_INSTALL_ROOT says.
                if let Some(home) = lb_ebpf::cargo_bin_directory().as_deref().and_then(std::path::Path::parent) {
                    command.arg("--root").arg(home);
                }
            }
            Self::GuestKernel { .. } => {
                command.current_dir(workspace::root());
            }
            Self::DisableService(_) | Self::Components(_) => {}
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_a_user_would_type_them() {
        for (step, expected) in [
            (Step::Update, "sudo DEBIAN_FRONTEND=noninteractive apt-get update"),
            (
                Step::Packages(vec!["wrk", "curl"]),
                "sudo DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends wrk curl",
            ),
            (Step::DisableService("nginx"), "sudo systemctl disable nginx"),
            (Step::Components(vec!["rust-src"]), "rustup component add rust-src"),
            (
                Step::Linker,
                "LLVM_PREFIX=/usr/lib/llvm-22 LLVM_SYS_221_PREFIX=/usr/lib/llvm-22 cargo install --locked --force \
                 --no-default-features --features llvm-22 --version 0.13.0 bpf-linker",
            ),
            (
                Step::GuestKernel { series: "6.1", package: "linux-image" },
                "sh xtask/src/setup/guest_kernel.sh linux-image 6.1",
            ),
        ] {
            assert_eq!(step.shell(), expected);
        }
    }

    #[test]
    fn only_what_the_build_can_do_without_is_optional() {
        assert!(Step::Update.is_optional() && Step::DisableService("nginx").is_optional());
        assert!(![Step::Linker, Step::Packages(vec![]), Step::Components(vec![])].iter().any(Step::is_optional));
    }
}
