//! The compiled XDP programs, embedded in the binary.

use std::borrow::Cow;

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

/// The balancer's ELF object, for frames in several buffers or for one buffer alone.
///
/// # Errors
///
/// If this binary was built where no BPF toolchain was.
pub fn balancer(has_long_frames: bool) -> Result<Cow<'static, [u8]>> {
    with_or_without_long_frames(present(OBJECT)?, has_long_frames)
}

/// The decapsulator's ELF object.
///
/// # Errors
///
/// As [`balancer`].
pub fn decapsulator(has_long_frames: bool) -> Result<Cow<'static, [u8]>> {
    with_or_without_long_frames(present(DECAP_OBJECT)?, has_long_frames)
}

/// Whether this kernel has programs for frames in several buffers: since Linux 5.18.
pub(super) fn takes_long_frames() -> bool {
    let release = nix::sys::utsname::uname().map(|names| names.release().to_string_lossy().into_owned());
    let numbers = release.as_deref().unwrap_or_default().split(['.', '-']);
    let numbers: Vec<u32> = numbers.map_while(|number| number.parse().ok()).take(2).collect();
    numbers.as_slice() >= &[5, 18][..]
}

/// An older kernel does not know the section for frames in several buffers: it gets an object whose section asks for none.
fn with_or_without_long_frames(object: &'static [u8], has_long_frames: bool) -> Result<Cow<'static, [u8]>> {
    const ASKING: &[u8] = b"xdp.frags\0";
    if has_long_frames {
        return Ok(object.into());
    }
    let mut object = object.to_vec();
    let is_asking = |at: &usize| object[*at..].starts_with(ASKING);
    // The section's name, which is the end of that of its relocations, and what the type information calls it. What follows a name's end is no part of it.
    let places: Vec<usize> = (0..object.len()).filter(is_asking).collect();
    ensure!(!places.is_empty(), "the object has no section for frames in several buffers");
    places.iter().for_each(|at| object[at + 3] = 0);
    Ok(object.into())
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
