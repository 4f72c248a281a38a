//! Takes a pinned link off its interface.

use std::{
    ffi::CString,
    fs, io,
    marker::PhantomData,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context, Result};

use super::syscall::{Attributes, LINK_DETACH, OBJ_GET, bpf};

/// `union bpf_attr` for `BPF_OBJ_GET`.
#[repr(C)]
struct ObjectGet<'a> {
    path: u64,
    fd: u32,
    flags: u32,
    memory: PhantomData<&'a CString>,
}

#[expect(unsafe_code, reason = "the kernel follows the address")]
// SAFETY: `open` below is the only place that makes one, with the address of a string that it holds.
unsafe impl Attributes for ObjectGet<'_> {}

/// As [`ObjectGet`], for `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link: RawFd,
}

#[expect(unsafe_code, reason = "the trait is about addresses")]
// SAFETY: there is no address in it.
unsafe impl Attributes for LinkDetach {}

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
        bpf(LINK_DETACH, &mut LinkDetach { link: link.as_raw_fd() }).map(drop)
    });
    detached.with_context(|| format!("link {} cannot be detached", pin.display()))?;
    fs::remove_file(pin).with_context(|| format!("{}", pin.display()))
}

fn open(path: &CString) -> io::Result<OwnedFd> {
    let fd = bpf(OBJ_GET, &mut ObjectGet { path: path.as_ptr() as u64, fd: 0, flags: 0, memory: PhantomData })?;
    #[expect(unsafe_code, reason = "a new descriptor is taken over")]
    // SAFETY: the command returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
