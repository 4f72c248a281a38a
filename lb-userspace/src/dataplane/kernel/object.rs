//! The compiled XDP program, embedded in the binary.

use anyhow::{Result, bail};

/// The entry point of the balancer.
pub const PROGRAM: &str = "evenkeel";
/// The program that tells the clock.
pub const CLOCK: &str = "evenkeel_clock";

#[cfg(has_bpf_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("EVENKEEL_OBJECT"));
#[cfg(not(has_bpf_object))]
static OBJECT: &[u8] = &[];

/// The ELF object.
///
/// # Errors
///
/// If this binary was built where no BPF toolchain was.
pub fn bytes() -> Result<&'static [u8]> {
    if OBJECT.is_empty() {
        bail!(
            "this binary was built without its XDP program, because no BPF toolchain was found; \
             run `cargo xtask setup` and build again"
        );
    }
    Ok(OBJECT)
}
