//! Compiles the bench's XDP programs and hands the path of their object on as `BENCH_OBJECT`.

use std::{env, path::PathBuf};

use lb_ebpf::{BENCH, Toolchain, compile};

fn main() {
    println!("cargo:rustc-check-cfg=cfg(has_bpf_object)");
    for source in ["ebpf/src", "ebpf/Cargo.toml", "../lb-common/src", "../lb-common/Cargo.toml", "../Cargo.lock"] {
        println!("cargo:rerun-if-changed={source}");
    }
    for path in Toolchain::watched_paths() {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    // Without a toolchain the daemon's own build script says what is missing.
    let Ok(toolchain) = Toolchain::find() else { return };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    match compile(BENCH, &toolchain, &out.join("bpf")) {
        Ok(object) => {
            println!("cargo:rustc-env=BENCH_OBJECT={}", object.display());
            println!("cargo:rustc-cfg=has_bpf_object");
        }
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo:warning={line}");
            }
            std::process::exit(1);
        }
    }
}
