//! Against IPVS and nftables on a Debian kernel, in QEMU: instructions for a packet.
//!
//! Figures repeat within a per cent on any machine, but know nothing of cache misses: see [`evenkeel_tests::vm`].
//!
//! This program is the guest's first process ([`guest`]); it measures and says what it found on a serial line ([`report`])
//! to the host, which makes the guest and collects ([`host`]).

pub(crate) mod guest;
mod host;
mod report;

use crate::section::Section;

/// The section.
pub(crate) const SECTION: Section = Section {
    name: "vm",
    about: "instructions a packet, against IPVS and nftables on a kernel in QEMU",
    run: host::run,
};
