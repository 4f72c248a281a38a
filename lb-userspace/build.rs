//! Compiles the XDP programs beside the daemon and hands their paths on as `EVENKEEL_OBJECT` and `EVENKEEL_DECAP_OBJECT`.

use std::{
    env,
    path::{Path, PathBuf},
};

use lb_ebpf::{DECAP, EVENKEEL, Source, Toolchain, compile};

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
    let features = if env::var_os("CARGO_FEATURE_NEXT_LAYOUT").is_some() { "next-layout" } else { "" };
    embed(EVENKEEL.with_features(features), "EVENKEEL_OBJECT", &toolchain, &out);
    embed(DECAP, "EVENKEEL_DECAP_OBJECT", &toolchain, &out);
    println!("cargo:rustc-cfg=has_bpf_object");
}

fn embed(source: Source, variable: &str, toolchain: &Toolchain, out: &Path) {
    match compile(source, toolchain, &out.join("bpf")) {
        Ok(object) => {
            let copy = out.join(source.binary);
            std::fs::copy(&object, &copy).expect("the object was just written, and OUT_DIR is ours");
            println!("cargo:rustc-env={variable}={}", copy.display());
        }
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo:warning={line}");
            }
            std::process::exit(1);
        }
    }
}
