//! How the XDP program is compiled.
//!
//! The package has two halves. The binary half (`main.rs`, `maps.rs`, `context.rs`; `decap/` for tunnel backends) is the
//! programs themselves and is only ever compiled for a BPF target. This library half runs on the host: the build script of `evenkeel` and `cargo xtask`
//! use it to find a compiler and to run it.
#![cfg_attr(target_arch = "bpf", no_std)]

#[cfg(not(target_arch = "bpf"))]
mod compile;
#[cfg(not(target_arch = "bpf"))]
mod toolchain;
#[cfg(not(target_arch = "bpf"))]
mod version;

#[cfg(not(target_arch = "bpf"))]
pub use {
    compile::{BENCH, CompileError, DECAP, EVENKEEL, Source, clippy, compile},
    toolchain::{Compiler, MissingTool, Toolchain, cargo_bin_directory},
    version::Version,
};
