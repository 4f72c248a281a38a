//! Links between the program and interfaces, pinned so that they outlive the daemon.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use aya::programs::{
    ProgramError, Xdp,
    links::{FdLink, PinnedLink},
    xdp::{XdpLink, XdpMode},
};
use serde::Serialize;

use super::{Pins, detach::detach};
use crate::config::model::{AttachMode, Interface};

/// A loaded program that can be put on interfaces.
pub trait Attachable {
    /// The program.
    ///
    /// # Errors
    ///
    /// If the object has none.
    fn xdp(&mut self) -> Result<&mut Xdp>;
}

/// How a program really is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the kernel's generic path.
    Generic,
}

/// An interface with the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// How.
    pub mode: AttachedMode,
}

impl AttachedMode {
    const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// The name in output and pins.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    const fn fits(self, wanted: AttachMode) -> bool {
        match wanted {
            AttachMode::Auto => true,
            AttachMode::Native => matches!(self, Self::Native),
            AttachMode::Generic => matches!(self, Self::Generic),
        }
    }
}

/// A pinned link, by its name `INTERFACE:IFINDEX:MODE`. A bpffs takes no dots in names.
struct Pin {
    interface: String,
    ifindex: u32,
    mode: AttachedMode,
}

impl Pin {
    fn name(&self) -> String {
        format!("{}:{}:{}", self.interface.replace('.', "%2E"), self.ifindex, self.mode.name())
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(':');
        let interface = parts.next()?.replace("%2E", ".");
        let ifindex = parts.next()?.parse().ok()?;
        let mode = parts.next()?;
        let mode = AttachedMode::ALL.into_iter().find(|candidate| candidate.name() == mode)?;
        Some(Self { interface, ifindex, mode })
    }
}

/// Puts the program on an interface: into the link that is there, else with a new one.
///
/// # Errors
///
/// If the interface does not exist, holds another program, or its driver refuses.
pub fn attach(loaded: &mut impl Attachable, pins: &Pins, interface: &Interface) -> Result<Attached> {
    let name = &interface.name;
    let ifindex = nix::net::if_::if_nametoindex(name.as_str())
        .with_context(|| format!("interface {name} does not exist; see `ip link` and `node.interfaces`"))?;
    let mut before = None;
    for (path, pin) in pinned(pins)?.into_iter().filter(|(_, pin)| pin.interface == *name) {
        // A link dies with its interface; one of the same name that came later has another index.
        if pin.ifindex == ifindex && pin.mode.fits(interface.mode) {
            replace(loaded, &path)?;
            return Ok(Attached { interface: pin.interface, ifindex, mode: pin.mode });
        }
        tracing::warn!(interface = name, "the pinned link is of another mode or of an interface that is gone");
        detach(&path)?;
        if pin.ifindex == ifindex {
            before = Some(pin.mode);
        }
    }
    let mode = attach_anew(loaded, pins, interface, ifindex)
        .map_err(|error| restore(loaded, pins, name, ifindex, before, error))?;
    Ok(Attached { interface: name.clone(), ifindex, mode })
}

/// Attaches in the mode that was in force before another was refused: the kernel allows one at a time only.
fn restore(
    loaded: &mut impl Attachable,
    pins: &Pins,
    name: &str,
    ifindex: u32,
    before: Option<AttachedMode>,
    error: anyhow::Error,
) -> anyhow::Error {
    let Some(mode) = before else { return error };
    match link(loaded, pins, name, ifindex, mode) {
        Ok(()) => error.context(format!("{name} stays in {} mode", mode.name())),
        Err(again) => error.context(format!("{name} is detached, {} mode is refused, too: {again:#}", mode.name())),
    }
}

/// The interfaces that have the program; those that are gone are left out.
///
/// # Errors
///
/// If the pins cannot be listed.
pub fn attached(pins: &Pins) -> Result<Vec<Attached>> {
    let here = |pin: &Pin| nix::net::if_::if_nametoindex(pin.interface.as_str()) == Ok(pin.ifindex);
    let mut found: Vec<Attached> = pinned(pins)?
        .into_iter()
        .filter(|(_, pin)| here(pin))
        .map(|(_, pin)| Attached { interface: pin.interface, ifindex: pin.ifindex, mode: pin.mode })
        .collect();
    found.sort_by(|a, b| a.interface.cmp(&b.interface));
    Ok(found)
}

/// Detaches all interfaces but some; returns their names.
///
/// # Errors
///
/// If a pin cannot be removed.
pub fn detach_others(pins: &Pins, wanted: &[&str]) -> Result<Vec<String>> {
    let mut detached = Vec::new();
    for (path, pin) in pinned(pins)? {
        if !wanted.contains(&pin.interface.as_str()) {
            detach(&path)?;
            detached.push(pin.interface);
        }
    }
    Ok(detached)
}

/// Replaces the program in all links that are there.
///
/// # Errors
///
/// The first link that refuses; those after it keep the program that they have.
pub(super) fn replace_all(loaded: &mut impl Attachable, pins: &Pins) -> Result<()> {
    pinned(pins)?.iter().try_for_each(|(path, _)| replace(loaded, path))
}

fn pinned(pins: &Pins) -> Result<Vec<(PathBuf, Pin)>> {
    let directory = pins.links();
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match Pin::parse(&name) {
            Some(pin) => found.push((path, pin)),
            None => tracing::warn!(pin = %path.display(), "a pin of unknown form is left alone"),
        }
    }
    Ok(found)
}

/// Replaces the program of a pinned link in one step.
fn replace(loaded: &mut impl Attachable, pin: &Path) -> Result<()> {
    let link = PinnedLink::from_pin(pin).with_context(|| format!("pinned link {} cannot be opened", pin.display()))?;
    let link = XdpLink::try_from(FdLink::from(link)).with_context(|| format!("{} is no XDP link", pin.display()))?;
    let program = loaded.xdp()?;
    let id = program.attach_to_link(link).context("the program of the link cannot be replaced")?;
    // The pin holds the link; nothing else shall, or removing the pin would not detach.
    drop(program.take_link(id)?);
    Ok(())
}

fn attach_anew(loaded: &mut impl Attachable, pins: &Pins, interface: &Interface, ifindex: u32) -> Result<AttachedMode> {
    let name = &interface.name;
    let mut attach = |mode| link(loaded, pins, name, ifindex, mode).map(|()| mode);
    match interface.mode {
        AttachMode::Native => attach(AttachedMode::Native),
        AttachMode::Generic => attach(AttachedMode::Generic),
        AttachMode::Auto => match attach(AttachedMode::Native) {
            Ok(mode) => Ok(mode),
            Err(error) => {
                tracing::warn!(
                    interface = name,
                    "no native XDP, falling back to the much slower generic mode: {error:#}"
                );
                attach(AttachedMode::Generic)
            }
        },
    }
}

fn link(loaded: &mut impl Attachable, pins: &Pins, name: &str, ifindex: u32, mode: AttachedMode) -> Result<()> {
    let flags = match mode {
        AttachedMode::Native => XdpMode::Driver,
        AttachedMode::Generic => XdpMode::Skb,
    };
    let program = loaded.xdp()?;
    let id = program.attach_to_if_index(ifindex, flags).map_err(|error| refused(name, error))?;
    let link = program.take_link(id)?;
    // aya falls back to netlink where the kernel has no links for XDP. Such a link ends with the daemon.
    let link =
        FdLink::try_from(link).map_err(|_| anyhow!("the kernel has no BPF links for XDP (5.9 or newer is needed)"))?;
    let pin = Pin { interface: name.to_owned(), ifindex, mode };
    // The pin holds the link from here on; the descriptor closes.
    drop(link.pin(pins.links().join(pin.name())).context("the link cannot be pinned")?);
    Ok(())
}

fn refused(name: &str, error: ProgramError) -> anyhow::Error {
    let busy = matches!(&error, ProgramError::SyscallError(error)
        if matches!(error.io_error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)));
    let context = if busy {
        format!("interface {name} holds another XDP program; see `ip link show {name}`, remove it first")
    } else {
        format!("the program cannot be attached to {name}")
    };
    anyhow::Error::from(error).context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_named_without_dots() {
        let pin = Pin { interface: "eth0.100".to_owned(), ifindex: 7, mode: AttachedMode::Generic };
        assert_eq!(pin.name(), "eth0%2E100:7:generic");
        let parsed = Pin::parse(&pin.name()).expect("well-formed");
        assert_eq!((parsed.interface, parsed.ifindex, parsed.mode), (pin.interface, 7, pin.mode));
        assert!(Pin::parse("eth0:7:offload").is_none());
    }
}
