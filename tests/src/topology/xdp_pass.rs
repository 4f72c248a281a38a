//! An XDP program that passes everything.
//!
//! What a balancer on a veth sends with `XDP_TX` lies in the peer's ring until the peer is told. The kernel's
//! `veth_xdp_flush` tells only a peer that has an XDP program itself; with GRO alone the frames wait for other traffic.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use crate::namespace::Namespace;

/// Commands and constants of bpf(2).
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;

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
    let attach = || -> Result<OwnedFd> {
        let interface = if_nametoindex(device)?;
        let program = load()?;
        let link = Link {
            program: std::os::fd::AsRawFd::as_raw_fd(&program),
            interface,
            attach_type: ATTACH_TYPE_XDP,
            flags: 0,
        };
        Ok(bpf(LINK_CREATE, &link)?)
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
        flags: 0,
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
