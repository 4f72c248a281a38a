//! Takes a pinned link off its interface.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context, Result};

/// Commands of bpf(2).
const OBJ_GET: libc::c_long = 7;
const LINK_DETACH: libc::c_long = 34;

/// The start of `union bpf_attr` for `BPF_OBJ_GET`; the kernel takes the rest as 0.
#[repr(C)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// As [`ObjectGet`], for `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link: RawFd,
}

/// Detaches a link and removes its pin. When this returns, no packet enters the program from that interface.
///
/// Removing the pin alone would do the same some time later: the kernel frees a link in the background.
///
/// # Errors
///
/// If the pin is no link, or cannot be removed.
pub(super) fn detach(pin: &Path) -> Result<()> {
    let detached = CString::new(pin.as_os_str().as_bytes()).map_err(io::Error::from).and_then(|path| {
        let link = open(&path)?;
        bpf(LINK_DETACH, &LinkDetach { link: link.as_raw_fd() }).map(drop)
    });
    detached.with_context(|| format!("link {} cannot be detached", pin.display()))?;
    fs::remove_file(pin).with_context(|| format!("{}", pin.display()))
}

fn open(path: &CString) -> io::Result<OwnedFd> {
    let fd = bpf(OBJ_GET, &ObjectGet { path: path.as_ptr() as u64, fd: 0, flags: 0 })?;
    #[expect(unsafe_code, reason = "a new descriptor is taken over")]
    // SAFETY: the command returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<RawFd> {
    #[expect(unsafe_code, reason = "libc has no wrapper for the system call, aya none for these commands on a pin")]
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes` and the path they point to, which the caller
    // keeps; it writes nothing back for these commands.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    let result = nix::errno::Errno::result(result)?;
    RawFd::try_from(result).map_err(io::Error::other)
}
