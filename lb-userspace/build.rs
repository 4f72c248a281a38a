//! Compiles the XDP program beside the daemon and hands its path on as `EVENKEEL_OBJECT`.

use std::{env, path::PathBuf};

use lb_ebpf::{EVENKEEL, Toolchain, compile};

fn main() {
    println!("cargo:rustc-check-cfg=cfg(has_bpf_object)");
    for source in ["../lb-ebpf/src", "../lb-common/src", "../lb-ebpf/Cargo.toml", "../Cargo.lock"] {
        println!("cargo:rerun-if-changed={source}");
    }
    for path in Toolchain::watched_paths() {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(missing) => {
            for tool in missing {
                println!("cargo:warning=BPF toolchain incomplete: {tool}");
            }
            println!(
                "cargo:warning=`evenkeel` is built without its XDP program and cannot `run`; \
                 `cargo xtask setup` installs what is missing"
            );
            return;
        }
    };
    match compile(EVENKEEL, &toolchain, &out.join("bpf")) {
        Ok(object) => {
            let copy = out.join(EVENKEEL.binary);
            std::fs::copy(&object, &copy).expect("the object was just written, and OUT_DIR is ours");
            println!("cargo:rustc-env=EVENKEEL_OBJECT={}", copy.display());
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
