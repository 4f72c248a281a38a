//! Compiles the XDP program to a BPF object.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::toolchain::Toolchain;

/// The name of the binary half, and of the object made from it.
pub const OBJECT_NAME: &str = "evenkeel-xdp";

/// Kernels from 5.1 on know BPF cpu v3 (32-bit sub-registers and jumps), and from 5.12 its atomics; our floor is 5.15.
const RUSTFLAGS: &[&str] = &["-Ctarget-cpu=v3", "-Cdebuginfo=2", "-Clink-arg=--btf"];

/// Why no object came out.
#[derive(Debug)]
pub enum CompileError {
    /// The compiler could not be started.
    Start(io::Error),
    /// It ran and refused the source; its own messages are in here.
    Failed(String),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "the BPF compiler could not be started: {error}"),
            Self::Failed(messages) => write!(f, "the XDP program does not compile:\n{messages}"),
        }
    }
}

impl std::error::Error for CompileError {}

/// Compiles the XDP program and returns the path of the object. `target_directory` must not be the one of a build that
/// is under way: cargo locks it.
///
/// # Errors
///
/// [`CompileError`] when the compiler cannot be started or refuses the source.
pub fn compile(toolchain: &Toolchain, target_directory: &Path) -> Result<PathBuf, CompileError> {
    run(toolchain, target_directory, &["build", "--release", "-Zbuild-std=core"])?;
    Ok(target_directory.join("bpfel-unknown-none/release").join(OBJECT_NAME))
}

fn run(toolchain: &Toolchain, target_directory: &Path, command: &[&str]) -> Result<(), CompileError> {
    let linker = format!("-Clinker={}", toolchain.bpf_linker.display());
    let flags = [RUSTFLAGS, &[linker.as_str()]].concat().join("\x1f");
    let mut cargo = Command::new(&toolchain.cargo);
    cargo
        .args(command)
        .args(["--package", "lb-ebpf", "--bin", OBJECT_NAME, "--target", "bpfel-unknown-none"])
        .arg("--target-dir")
        .arg(target_directory)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    for leaked in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(leaked);
    }
    let output = cargo.output().map_err(CompileError::Start)?;
    if output.status.success() {
        return Ok(());
    }
    Err(CompileError::Failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}
