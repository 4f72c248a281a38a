//! Against IPVS and nftables on a Debian kernel, in QEMU: instructions for a packet.
//!
//! QEMU emulates the CPU (no KVM needed) with a clock that counts instructions: one nanosecond of the guest is one
//! instruction. So figures repeat within a per cent on any machine, but know nothing of cache misses.
//!
//! The guest's file system is an [`archive`] in memory: this program, the few programs of the host that it needs
//! ([`programs`]) and the kernel's network modules ([`kernel`]). Nothing of the host is mounted. This program is the
//! guest's first process ([`guest`]); it measures and says what it found on a serial line ([`report`]) to the host, which
//! runs QEMU ([`qemu`]) and collects ([`host`]).

mod archive;
pub(crate) mod guest;
mod host;
mod kernel;
mod programs;
mod qemu;
mod report;

use crate::section::Section;

/// The section.
pub(crate) const SECTION: Section = Section {
    name: "vm",
    about: "instructions a packet, against IPVS and nftables on a kernel in QEMU",
    run: host::run,
};
