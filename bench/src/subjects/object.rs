//! The bench's own XDP programs, compiled in.

use anyhow::{Context, Result, ensure};
use aya::{Ebpf, Pod, programs::Xdp};
use bench_ebpf::{Plan, Progress};
use lb_common::quic::{QuicLb, octets::Octets};

/// A record as a map holds it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Record<T>(pub(crate) T);

// SAFETY: plain integers without padding.
unsafe impl Pod for Record<Plan> {}
// SAFETY: plain integers without padding.
unsafe impl Pod for Record<Progress> {}
// SAFETY: plain integers without padding; its size is asserted where it is declared.
unsafe impl Pod for Record<QuicLb> {}
// SAFETY: two integers.
unsafe impl Pod for Record<Octets> {}

#[cfg(has_bpf_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("BENCH_OBJECT"));
#[cfg(not(has_bpf_object))]
static OBJECT: &[u8] = &[];

/// The object with all programs of the bench.
pub(crate) fn object() -> Result<&'static [u8]> {
    ensure!(!OBJECT.is_empty(), "the bench was built without its XDP programs; run `cargo xtask setup`, build again");
    Ok(OBJECT)
}

/// A program of an object.
pub(crate) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}
