//! Finds what compiles Rust to BPF: a `rustc` that may use unstable features, the source of `core`, and `bpf-linker`.

use std::{
    env,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// A part of the BPF toolchain that was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingTool {
    /// No `rustc` with the source of `core` beside it.
    Compiler,
    /// No `bpf-linker` on the `PATH` or in cargo's own folder of binaries.
    Linker,
}

impl fmt::Display for MissingTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compiler => {
                "no Rust compiler with the source of `core`: Debian's rustc-web, cargo-web and \
                 rust-web-src, or rustup's nightly with rust-src"
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
        match (find_compiler(), find_linker()) {
            (Some((rustc, cargo)), Some(bpf_linker)) => Ok(Self { rustc, cargo, bpf_linker }),
            (compiler, linker) => Err([
                compiler.is_none().then_some(MissingTool::Compiler),
                linker.is_none().then_some(MissingTool::Linker),
            ]
            .into_iter()
            .flatten()
            .collect()),
        }
    }

    /// Where a missing part would appear: a build script watches these.
    #[must_use]
    pub fn watched_paths() -> Vec<PathBuf> {
        let mut paths = vec![PathBuf::from("/usr/bin/rustc"), PathBuf::from("/usr/lib/rustlib/src")];
        paths.extend(cargo_bin_directory().map(|bin| bin.join("bpf-linker")));
        paths
    }
}

/// Where `cargo install` puts binaries.
#[must_use]
pub fn cargo_bin_directory() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .map(|cargo| cargo.join("bin"))
}

/// The distribution's compiler first, then rustup's nightly.
fn find_compiler() -> Option<(PathBuf, PathBuf)> {
    let distribution = (PathBuf::from("/usr/bin/rustc"), PathBuf::from("/usr/bin/cargo"));
    if has_core_source(&distribution.0) && distribution.1.exists() {
        return Some(distribution);
    }
    let nightly = |tool: &str| output("rustup", ["which", "--toolchain", "nightly", tool]).map(PathBuf::from);
    let (rustc, cargo) = (nightly("rustc")?, nightly("cargo")?);
    has_core_source(&rustc).then_some((rustc, cargo))
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

/// What a command printed, if it could be run and succeeded. Cargo's and rustup's choice for the surrounding build must not leak into it.
fn output<const N: usize>(program: impl AsRef<OsStr>, arguments: [&str; N]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
