//! Finds what compiles Rust to BPF: a `rustc` that may use unstable features, the source of `core`, and `bpf-linker`.

use std::{
    env,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::version::Version;

/// A part of the BPF toolchain that was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingTool {
    /// No `rustc` of a sufficient release with the source of `core` beside it.
    Compiler,
    /// No `bpf-linker` on the `PATH` or in cargo's own folder of binaries.
    Linker,
}

impl fmt::Display for MissingTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compiler => {
                "no Rust compiler (1.95 or newer) with the source of `core`: Debian's rustc-web, cargo-web \
                 and rust-web-src, or a toolchain of rustup with rust-src"
            }
            Self::Linker => "no bpf-linker",
        })
    }
}

/// A complete BPF toolchain.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// The compiler; run with `RUSTC_BOOTSTRAP=1`, so that a stable release serves as well as a nightly.
    pub rustc: PathBuf,
    /// The cargo of the same release.
    pub cargo: PathBuf,
    /// The linker, which also does the link-time optimisation and writes the BTF.
    pub bpf_linker: PathBuf,
}

impl Toolchain {
    /// Looks for a toolchain on this machine.
    ///
    /// # Errors
    ///
    /// Every part that is missing.
    pub fn find() -> Result<Self, Vec<MissingTool>> {
        match (Compiler::find(), find_linker()) {
            (Some(Compiler { rustc, cargo }), Some(bpf_linker)) => Ok(Self { rustc, cargo, bpf_linker }),
            (compiler, linker) => Err([
                compiler.is_none().then_some(MissingTool::Compiler),
                linker.is_none().then_some(MissingTool::Linker),
            ]
            .into_iter()
            .flatten()
            .collect()),
        }
    }

    /// The `cargo-clippy` of the same release, if it and its driver are installed.
    #[must_use]
    pub fn cargo_clippy(&self) -> Option<PathBuf> {
        clippy_beside(&self.cargo)
    }

    /// Where a missing part would appear: a build script watches these.
    #[must_use]
    pub fn watched_paths() -> Vec<PathBuf> {
        let mut paths = vec![PathBuf::from("/usr/bin/rustc"), PathBuf::from("/usr/lib/rustlib/src")];
        paths.extend(cargo_bin_directory().map(|bin| bin.join("bpf-linker")));
        paths
    }
}

/// A compiler that can make a BPF object of Rust, apart from linking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The compiler itself.
    pub rustc: PathBuf,
    /// The cargo of the same release.
    pub cargo: PathBuf,
}

impl Compiler {
    /// Looks for a compiler on this machine: the distribution's first, then rustup's default toolchain, then its
    /// nightly. The older the LLVM, the surer it is that `bpf-linker`'s can read what it writes.
    #[must_use]
    pub fn find() -> Option<Self> {
        let suits = |compiler: &Self| {
            compiler.cargo.is_file() && is_recent(&compiler.rustc) && has_core_source(&compiler.rustc)
        };
        Some(Self { rustc: "/usr/bin/rustc".into(), cargo: "/usr/bin/cargo".into() })
            .filter(suits)
            .or_else(|| Self::of_rustup(|tool| output("rustup", ["which", tool])).filter(suits))
            .or_else(|| {
                Self::of_rustup(|tool| output("rustup", ["which", "--toolchain", "nightly", tool])).filter(suits)
            })
    }

    /// The `cargo-clippy` of the same release, if it and its driver are installed.
    #[must_use]
    pub fn cargo_clippy(&self) -> Option<PathBuf> {
        clippy_beside(&self.cargo)
    }

    fn of_rustup(which: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self { rustc: which("rustc")?.into(), cargo: which("cargo")?.into() })
    }
}

fn clippy_beside(cargo: &Path) -> Option<PathBuf> {
    let beside = |name| Some(cargo.with_file_name(name)).filter(|path| path.is_file());
    beside("clippy-driver").and(beside("cargo-clippy"))
}

/// Where `cargo install` puts binaries.
#[must_use]
pub fn cargo_bin_directory() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .map(|cargo| cargo.join("bin"))
}

fn is_recent(rustc: &Path) -> bool {
    output(rustc, ["--version"])
        .and_then(|printed| Version::of_tool(&printed))
        .is_some_and(|version| version >= Version::oldest_compiler())
}

fn has_core_source(rustc: &Path) -> bool {
    output(rustc, ["--print", "sysroot"])
        .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs").exists())
}

fn find_linker() -> Option<PathBuf> {
    let on_path = env::var_os("PATH")
        .map(|path| env::split_paths(&path).map(|folder| folder.join("bpf-linker")).collect::<Vec<_>>())
        .unwrap_or_default();
    on_path
        .into_iter()
        .chain(cargo_bin_directory().map(|bin| bin.join("bpf-linker")))
        .find(|candidate| candidate.is_file())
}

/// What a command printed, if it could be run and succeeded. Cargo's and rustup's choice for the surrounding build must
/// not leak into it.
fn output<const N: usize>(program: impl AsRef<OsStr>, arguments: [&str; N]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn clippy_counts_only_with_its_driver() {
        let folder = env::temp_dir().join(format!("evenkeel-clippy-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder is ours");
        let cargo = folder.join("cargo");
        fs::write(folder.join("cargo-clippy"), "").expect("the folder is ours");
        let without_driver = clippy_beside(&cargo);
        fs::write(folder.join("clippy-driver"), "").expect("the folder is ours");
        let with_driver = clippy_beside(&cargo);
        fs::remove_dir_all(&folder).expect("the folder is ours");
        assert_eq!(without_driver, None);
        assert_eq!(with_driver, Some(folder.join("cargo-clippy")));
    }

    #[test]
    fn a_compiler_that_does_not_run_has_no_version_and_no_source() {
        assert!(!is_recent(Path::new("/nonexistent/rustc")));
        assert!(!has_core_source(Path::new("/nonexistent/rustc")));
        assert!(!is_recent(Path::new("/bin/true")), "it prints no version of rustc");
    }
}
