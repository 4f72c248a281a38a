//! An XDP program that passes everything, and the attaching of any.
//!
//! What a balancer on a veth sends with `XDP_TX` lies in the peer's ring until the peer is told. The kernel's
//! `veth_xdp_flush` tells only a peer that has an XDP program itself; with GRO alone the frames wait for other traffic.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use crate::namespace::Namespace;

/// Commands and constants of bpf(2).
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;

/// `BPF_F_XDP_HAS_FRAGS`: it takes frames in several buffers, so the peer's MTU may be any.
const HAS_FRAGS: u32 = 1 << 5;

/// `r0 = XDP_PASS; exit`
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as 0.
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    kernel_version: u32,
    flags: u32,
}

/// As [`Load`], for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: RawFd,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches the program until what is returned is dropped.
pub(super) fn attach(namespace: &Namespace, device: &str) -> Result<OwnedFd> {
    let program = load().context("cannot load an XDP program")?;
    attach_program(namespace, device, program.as_fd(), 0)
}

/// Attaches an XDP program to a device of a namespace until what is returned is dropped. `flags` are those of
/// `XDP_FLAGS_…`; 0 lets the kernel choose the mode.
///
/// # Errors
/// When there is no such device, or it has a program, or it refuses the mode.
pub fn attach_program(namespace: &Namespace, device: &str, program: BorrowedFd<'_>, flags: u32) -> Result<OwnedFd> {
    let program = program.as_raw_fd();
    let attach = || -> Result<OwnedFd> {
        let interface = if_nametoindex(device)?;
        Ok(bpf(LINK_CREATE, &Link { program, interface, attach_type: ATTACH_TYPE_XDP, flags })?)
    };
    namespace.enter(attach)?.with_context(|| format!("cannot attach an XDP program to {device}"))
}

fn load() -> io::Result<OwnedFd> {
    let load = Load {
        kind: PROG_TYPE_XDP,
        instruction_count: PASS.len() as u32,
        instructions: PASS.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        kernel_version: 0,
        flags: HAS_FRAGS,
    };
    bpf(PROG_LOAD, &load)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes`, and what its pointers name, which are
    // constants; it writes nothing back for these commands.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    match RawFd::try_from(fd) {
        // SAFETY: both commands return a new descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
