//! Compiles XDP programs to BPF objects.

use std::{
    env, fmt, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::toolchain::Toolchain;

/// A binary of this workspace that is compiled for BPF.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its package.
    pub package: &'static str,
    /// The binary, and the name of the object made from it.
    pub binary: &'static str,
    /// Features of the package, comma-separated.
    pub features: &'static str,
}

impl Source {
    /// The same with these features.
    #[must_use]
    pub const fn with_features(self, features: &'static str) -> Self {
        Self { features, ..self }
    }
}

/// The balancer.
pub const EVENKEEL: Source = Source { package: "lb-ebpf", binary: "evenkeel-xdp", features: "" };
/// The decapsulator for tunnel backends.
pub const DECAP: Source = Source { package: "lb-ebpf", binary: "evenkeel-decap", features: "" };
/// The programs that the bench compares it with.
pub const BENCH: Source = Source { package: "bench-ebpf", binary: "bench-xdp", features: "" };

/// Kernels from 5.1 on know BPF cpu v3 (32-bit sub-registers and jumps), and from 5.12 its atomics; our floor is 5.15.
const RUSTFLAGS: &[&str] = &["-Ctarget-cpu=v3", "-Cdebuginfo=2", "-Clink-arg=--btf"];

/// Why no object came out.
#[derive(Debug)]
pub enum CompileError {
    /// The compiler could not be started.
    Start(io::Error),
    /// It ran and refused the source; its own messages are in here.
    Failed(String),
    /// The toolchain has no clippy of its own, and another release's does not read its `core`.
    NoClippy,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "the BPF compiler could not be started: {error}"),
            Self::Failed(messages) => write!(f, "the program is refused:\n{messages}"),
            Self::NoClippy => {
                f.write_str("the BPF toolchain has no clippy: Debian's rust-web-clippy, or rustup's clippy")
            }
        }
    }
}

impl std::error::Error for CompileError {}

/// Compiles a program and returns the path of the object. `target_directory` must not be the one of a build that
/// is under way: cargo locks it.
///
/// # Errors
///
/// [`CompileError`] when the compiler cannot be started or refuses the source.
pub fn compile(source: Source, toolchain: &Toolchain, target_directory: &Path) -> Result<PathBuf, CompileError> {
    let mut cargo = command(source, toolchain, &toolchain.cargo, target_directory, &["build", "--release"]);
    run(&mut cargo)?;
    Ok(target_directory.join("bpfel-unknown-none/release").join(source.binary))
}

/// Runs clippy over a program, and over `lb-common` as it is compiled for BPF; every warning is an error.
/// `target_directory` as for [`compile`].
///
/// # Errors
///
/// [`CompileError`] when the toolchain has no clippy, it cannot be started, or it finds something.
pub fn clippy(source: Source, toolchain: &Toolchain, target_directory: &Path) -> Result<(), CompileError> {
    let clippy = toolchain.cargo_clippy().ok_or(CompileError::NoClippy)?;
    // `cargo clippy` would start the first `cargo-clippy` of the PATH, which may belong to another release.
    let mut cargo = command(source, toolchain, &clippy, target_directory, &["clippy"]);
    run(cargo.env("CARGO", &toolchain.cargo).args(["--", "-Dwarnings"]))
}

fn command(
    source: Source,
    toolchain: &Toolchain,
    program: &Path,
    target_directory: &Path,
    subcommand: &[&str],
) -> Command {
    let linker = format!("-Clinker={}", toolchain.bpf_linker.display());
    let flags = [RUSTFLAGS, &[linker.as_str()]].concat().join("\x1f");
    let mut cargo = Command::new(program);
    cargo
        .args(subcommand)
        .args(["--package", source.package, "--bin", source.binary, "--features", source.features])
        .args(["--target", "bpfel-unknown-none", "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(target_directory)
        .current_dir(manifest_directory())
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    for leaked in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(leaked);
    }
    cargo
}

/// A directory of the workspace: the one of the package that is being built or run. The one that this library was compiled in
/// may be another checkout, if its target directory was copied.
fn manifest_directory() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn run(cargo: &mut Command) -> Result<(), CompileError> {
    let output = cargo.output().map_err(CompileError::Start)?;
    if output.status.success() {
        return Ok(());
    }
    Err(CompileError::Failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(cargo: &str) -> Toolchain {
        Toolchain { rustc: "/opt/rust/rustc".into(), cargo: cargo.into(), bpf_linker: "/opt/bpf-linker".into() }
    }

    fn variable(command: &Command, name: &str) -> Option<Option<String>> {
        let found = command.get_envs().find(|(key, _)| *key == name)?;
        Some(found.1.map(|value| value.to_string_lossy().into_owned()))
    }

    #[test]
    fn the_chosen_compiler_and_linker_are_used_and_the_surrounding_build_does_not_leak_in() {
        let toolchain = toolchain("/opt/rust/cargo");
        let cargo = command(EVENKEEL, &toolchain, &toolchain.cargo, Path::new("/tmp/bpf"), &["build"]);
        assert_eq!(cargo.get_program(), "/opt/rust/cargo");
        assert_eq!(variable(&cargo, "RUSTC"), Some(Some("/opt/rust/rustc".to_owned())));
        assert_eq!(variable(&cargo, "RUSTC_BOOTSTRAP"), Some(Some("1".to_owned())));
        assert_eq!(variable(&cargo, "RUSTC_WORKSPACE_WRAPPER"), Some(None), "clippy around us must not check BPF");
        let flags = variable(&cargo, "CARGO_ENCODED_RUSTFLAGS").flatten().expect("the flags are set");
        assert!(flags.split('\x1f').any(|flag| flag == "-Clinker=/opt/bpf-linker"), "{flags:?}");
    }

    #[test]
    fn a_toolchain_without_clippy_says_so() {
        let error = clippy(EVENKEEL, &toolchain("/nonexistent/cargo"), Path::new("/nonexistent/target"));
        assert!(matches!(error, Err(CompileError::NoClippy)), "{error:?}");
    }
}
