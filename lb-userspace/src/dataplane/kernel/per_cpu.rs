//! Reads a per-CPU array, many places with one system call. One at a time, ten thousand backends take a fifth of a second.

use std::{
    marker::PhantomData,
    ops::Range,
    os::fd::{AsRawFd as _, BorrowedFd, RawFd},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::syscall::{Attributes, MAP_LOOKUP_BATCH, bpf};

/// Places for each system call.
const BATCH: u32 = 4096;

/// `union bpf_attr` for `BPF_MAP_LOOKUP_BATCH`.
#[repr(C)]
struct LookUpBatch<'a> {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: RawFd,
    element_flags: u64,
    flags: u64,
    memory: PhantomData<&'a mut [u64]>,
}

#[expect(unsafe_code, reason = "the kernel follows the addresses")]
// SAFETY: `read` below is the only place that makes one; there the arrays are as long as `count` says.
unsafe impl Attributes for LookUpBatch<'_> {}

/// CPUs that the kernel has records for.
pub(super) fn cpus() -> Result<usize> {
    aya::util::nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))
}

/// Hands out the record of each CPU for each of these places: `WORDS` words, the place first.
///
/// # Errors
///
/// If the kernel does not read the map, which has to be a per-CPU array of such records and so many places.
pub(super) fn read<const WORDS: usize>(
    map: BorrowedFd<'_>,
    cpus: usize,
    places: Range<u32>,
    mut each: impl FnMut(u32, &[u64; WORDS]),
) -> Result<()> {
    let mut next = places.start;
    while next < places.end {
        let count = (places.end - next).min(BATCH);
        let mut keys = vec![0_u32; count as usize];
        let mut values = vec![0_u64; count as usize * cpus * WORDS];
        // The kernel begins behind this key; without one at the first.
        let (before, mut last) = (next.wrapping_sub(1), 0_u32);
        let mut attributes = LookUpBatch {
            in_batch: if next == 0 { 0 } else { std::ptr::from_ref(&before) as u64 },
            out_batch: std::ptr::from_mut(&mut last) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count,
            map: map.as_raw_fd(),
            element_flags: 0,
            flags: 0,
            memory: PhantomData,
        };
        match bpf(MAP_LOOKUP_BATCH, &mut attributes) {
            Ok(_) => {}
            // Behind the last place there is nothing more.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error).context("per-CPU records cannot be read"),
        }
        ensure!(attributes.count == count, "the kernel read {} of {count} places", attributes.count);
        for (key, records) in keys.iter().zip(values.chunks_exact(cpus * WORDS)) {
            records.as_chunks().0.iter().for_each(|words| each(*key, words));
        }
        next += count;
    }
    Ok(())
}
