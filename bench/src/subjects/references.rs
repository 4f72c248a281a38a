//! The least that programs of a kind can do.

use anyhow::{Context, Result};
use aya::{Ebpf, EbpfLoader, programs::ProgramFd};

use super::{
    object::{object, program},
    packets::Shape,
    subject::{Expected, Subject},
};

/// Swaps the MAC addresses and transmits: what forwarding is measured against.
pub(crate) const MAC_SWAP: &str = "mac-swap";
/// Leaves the packet to the host: what passing is measured against.
pub(crate) const PASS: &str = "pass";
/// Discards the packet: what dropping is measured against.
pub(crate) const DROP: &str = "drop";
/// Puts an IPv4 header in front.
pub(crate) const IPIP_PUSH: &str = "ipip-push";

/// One of them.
pub(crate) struct Reference {
    name: &'static str,
    _ebpf: Ebpf,
    program: ProgramFd,
}

impl Reference {
    /// Loads one by its name in results.
    pub(crate) fn load(name: &'static str) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(object()?)?;
        let program = program(&mut ebpf, &name.replace('-', "_"))?;
        program.load().with_context(|| format!("the kernel refuses {name}"))?;
        let program = program.fd()?.try_clone()?;
        Ok(Self { name, _ebpf: ebpf, program })
    }
}

impl Subject for Reference {
    fn name(&self) -> &str {
        self.name
    }

    fn program(&self) -> Result<ProgramFd> {
        Ok(self.program.try_clone()?)
    }

    fn takes(&self, _: Shape, expected: Expected) -> bool {
        match expected {
            Expected::Passed => self.name == PASS,
            Expected::Dropped => self.name == DROP,
            _ => self.name == MAC_SWAP || self.name == IPIP_PUSH,
        }
    }
}
