//! Checked access to a packet.

use core::ptr;

use aya_ebpf::programs::XdpContext;

/// Length of the packet.
#[inline(always)]
pub(crate) fn len(xdp: &XdpContext) -> usize {
    xdp.data_end() - xdp.data()
}

/// The `N` bytes at `at`, if the packet has them.
#[inline(always)]
pub(crate) fn bytes<const N: usize>(xdp: &XdpContext, at: usize) -> Option<*mut u8> {
    let start = xdp.data() + at;
    if start + N > xdp.data_end() { None } else { Some(start as *mut u8) }
}

/// Reads a value, as in memory.
///
/// # Safety
///
/// `at` plus the size of `T` must lie within the bytes that `start` was checked for.
#[inline(always)]
pub(crate) unsafe fn get<T>(start: *mut u8, at: usize) -> T {
    // SAFETY: within checked bytes; x86-64 reads unaligned values as well, and the verifier looks at both.
    unsafe { ptr::read(start.add(at).cast()) }
}

/// Writes a value, as in memory.
///
/// # Safety
///
/// As for [`get`].
#[inline(always)]
pub(crate) unsafe fn set<T>(start: *mut u8, at: usize, value: T) {
    // SAFETY: as for `get`.
    unsafe { ptr::write(start.add(at).cast(), value) }
}
