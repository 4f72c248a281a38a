//! Counts and discards what arrives at a device.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result};
use aya::{Ebpf, EbpfLoader, maps::PerCpuArray};
use evenkeel_tests::{namespace::Namespace, topology::attach_program};

use super::line::IN_DRIVER;
use crate::subjects::object::{object, program};

/// A sink on a device.
pub(super) struct Sink {
    ebpf: Ebpf,
    _attached: OwnedFd,
}

impl Sink {
    /// Attaches it.
    pub(super) fn attach(namespace: &Namespace, device: &str) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(object()?)?;
        let program = program(&mut ebpf, "sink")?;
        program.load().context("the kernel refuses the sink")?;
        let attached = attach_program(namespace, device, program.fd()?.as_fd(), IN_DRIVER)?;
        Ok(Self { ebpf, _attached: attached })
    }

    /// IPv4 frames that arrived so far.
    pub(super) fn arrived(&self) -> Result<u64> {
        let map = self.ebpf.map("ARRIVED").context("the sink has no counter")?;
        Ok(PerCpuArray::<_, u64>::try_from(map)?.get(&0, 0)?.iter().sum())
    }
}
