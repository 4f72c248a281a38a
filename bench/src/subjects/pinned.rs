//! Any other XDP program, pinned in a BPF file system.

use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::{ProgramFd, ProgramInfo};

use super::{
    packets::Shape,
    subject::{Expected, Subject},
};

/// The program. What it does with packets is its owner's affair, so only its verdicts are reported.
pub(crate) struct Pinned {
    name: String,
    program: ProgramFd,
}

impl Pinned {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let info = ProgramInfo::from_pin(path).with_context(|| format!("{} is no pinned program", path.display()))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, program: info.fd()? })
    }
}

impl Subject for Pinned {
    fn name(&self) -> &str {
        &self.name
    }

    fn program(&self) -> Result<ProgramFd> {
        Ok(self.program.try_clone()?)
    }

    fn takes(&self, _: Shape, _: Expected) -> bool {
        true
    }
}
