//! A BPF array in our own memory (`BPF_F_MMAPABLE`).
#![expect(unsafe_code, reason = "the kernel's memory is reached through a raw pointer")]

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd, BorrowedFd},
    slice,
};

use memmap2::{MmapOptions, MmapRaw};

/// Records that may lie in memory which the kernel reads and writes at any time: made of atomics alone, valid for any bits.
///
/// # Safety
///
/// The type is `repr(C)` or `repr(transparent)`, has no padding that matters, and consists of the words of
/// [`lb_common::abi`].
pub(super) unsafe trait Record {}

// SAFETY: these are made of `Word32` and `Word64` alone.
unsafe impl Record for lb_common::abi::Control {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::ServiceBucket {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::Service {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::Word32 {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::Word64 {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::Destination {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::Tunnel {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::Egress {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::NatBucket {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::NatSlots {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::PoolAddress {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::QuicRecord {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::QuicBucket {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::Score {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::ServiceLimits {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::ListBound {}
// SAFETY: likewise.
unsafe impl Record for lb_common::abi::ClientBucket {}
// SAFETY: likewise.
unsafe impl Record for lb_common::flow::FlowBucket {}
// SAFETY: likewise.
unsafe impl Record for lb_common::decap::Control {}

/// A mapped array of records.
#[derive(Debug)]
pub(super) struct Region<T> {
    map: MmapRaw,
    len: usize,
    records: PhantomData<T>,
}

impl<T: Record> Region<T> {
    /// Maps `len` records of the array behind `fd`.
    pub(super) fn map(fd: BorrowedFd<'_>, len: usize, writable: bool) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.len(len * size_of::<T>());
        let raw = fd.as_raw_fd();
        let map = if writable { options.map_raw(raw) } else { options.map_raw_read_only(raw) }?;
        Ok(Self { map, len, records: PhantomData })
    }

    /// The records.
    pub(super) fn records(&self) -> &[T] {
        // SAFETY: the mapping is page-aligned, `len` records long and lives as long as `self`; the kernel never shrinks an
        // array. Records are atomics, so shared access while the kernel and other CPUs write is what they are for.
        unsafe { slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}
