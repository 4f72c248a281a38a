//! bpf(2), for commands that aya does not have.

use std::{io, os::fd::RawFd};

/// Commands.
pub(super) const OBJ_GET: libc::c_long = 7;
pub(super) const MAP_LOOKUP_BATCH: libc::c_long = 24;
pub(super) const LINK_DETACH: libc::c_long = 34;

/// The start of `union bpf_attr` for a command; the kernel takes the rest as 0.
///
/// # Safety
///
/// Addresses in it belong to memory that lives as long as the value and is as large as the command takes it for.
#[expect(unsafe_code, reason = "the kernel follows addresses in it")]
pub(super) unsafe trait Attributes {}

/// Carries a command out; what the kernel answers in `attributes` is there afterwards, also after an error.
pub(super) fn bpf<T: Attributes>(command: libc::c_long, attributes: &mut T) -> io::Result<RawFd> {
    #[expect(unsafe_code, reason = "libc has no wrapper for the system call")]
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of `attributes`, and what it points to by the trait's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    let result = nix::errno::Errno::result(result)?;
    RawFd::try_from(result).map_err(io::Error::other)
}
