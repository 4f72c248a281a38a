//! The compiled XDP programs, embedded in the binary.

use anyhow::{Result, bail, ensure};

/// The entry point of the balancer.
pub const PROGRAM: &str = "evenkeel";
/// The program that tells the clock.
pub const CLOCK: &str = "evenkeel_clock";
/// The entry point of the decapsulator, in an object of its own.
pub const DECAP_PROGRAM: &str = "evenkeel_decap";

#[cfg(has_bpf_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("EVENKEEL_OBJECT"));
#[cfg(not(has_bpf_object))]
static OBJECT: &[u8] = &[];

#[cfg(has_bpf_object)]
static DECAP_OBJECT: &[u8] = aya::include_bytes_aligned!(env!("EVENKEEL_DECAP_OBJECT"));
#[cfg(not(has_bpf_object))]
static DECAP_OBJECT: &[u8] = &[];

/// The balancer's ELF object.
///
/// # Errors
///
/// If this binary was built where no BPF toolchain was.
pub fn bytes() -> Result<&'static [u8]> {
    present(OBJECT)
}

/// The decapsulator's ELF object.
///
/// # Errors
///
/// As [`bytes`].
pub fn decap_bytes() -> Result<&'static [u8]> {
    present(DECAP_OBJECT)
}

/// The balancer's object for a kernel without programs for frames in several buffers (before Linux 5.18): its section asks for none.
///
/// # Errors
///
/// As [`bytes`].
pub fn bytes_for_one_buffer() -> Result<Vec<u8>> {
    const ASKING: &[u8] = b"xdp.frags\0";
    let mut object = bytes()?.to_vec();
    let is_asking = |at: &usize| object[*at..].starts_with(ASKING);
    // The section's name, which is the end of that of its relocations, and what the type information calls it. What follows a name's end is no part of it.
    let places: Vec<usize> = (0..object.len()).filter(is_asking).collect();
    ensure!(!places.is_empty(), "the object has no section for frames in several buffers");
    places.iter().for_each(|at| object[at + 3] = 0);
    Ok(object)
}

fn present(object: &'static [u8]) -> Result<&'static [u8]> {
    if object.is_empty() {
        bail!(
            "this binary was built without its XDP programs, because no BPF toolchain was found; \
             run `cargo xtask setup` and build again"
        );
    }
    Ok(object)
}
