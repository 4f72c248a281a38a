//! What the program has done, and with which rules.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, ensure};
use lb_common::{
    abi::PacketCounter,
    decap::{Counters, DropReason, Kind, Network, PassReason},
};
use serde::Serialize;

use super::options::written;
use crate::dataplane::kernel::{Attached, DecapTables, Pins, attach};

/// The answer to `evenkeel decap status --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Interfaces that have the program.
    pub interfaces: Vec<Attached>,
    /// UDP destination port of GUE.
    pub gue_port: u16,
    /// Our own addresses.
    pub ends: Vec<String>,
    /// Who may send.
    pub from: Vec<String>,
    /// Everything that arrived: the sum of what follows.
    pub received: Count,
    /// Packets that were unpacked, by kind.
    pub unpacked: BTreeMap<&'static str, Count>,
    /// Packets left to the host as they were, by reason.
    pub passed: BTreeMap<&'static str, u64>,
    /// Packets discarded, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// Packets, and the bytes of their frames as they arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl From<&PacketCounter> for Count {
    fn from(counter: &PacketCounter) -> Self {
        Self { packets: counter.packets.get(), bytes: counter.bytes.get() }
    }
}

impl Status {
    /// Asks the pinned tables.
    ///
    /// # Errors
    ///
    /// If nothing is attached, or the tables are of another version.
    pub fn read(pin_directory: &Path) -> Result<Self> {
        let pins = Pins::of_decap(pin_directory);
        ensure!(
            pins.links().exists() && pins.check_decap()?,
            "nothing is attached with pins in {}; start it with `evenkeel decap run`",
            pin_directory.display()
        );
        let tables = DecapTables::open(&pins)?;
        let rules = tables.control().active();
        let list = |networks: &mut dyn Iterator<Item = Network>| networks.map(written).collect();
        let counters = tables.counters()?;
        Ok(Self {
            interfaces: attach::attached(&pins)?,
            gue_port: rules.gue_port(),
            ends: list(&mut rules.ends()),
            from: list(&mut rules.sources()),
            received: (&counters.received()).into(),
            unpacked: Kind::ALL.iter().map(|kind| (kind.name(), counters.unpacked(*kind).into())).collect(),
            passed: PassReason::ALL.iter().map(|reason| (reason.name(), counters.passed(*reason).get())).collect(),
            dropped: dropped(&counters),
        })
    }
}

fn dropped(counters: &Counters) -> BTreeMap<&'static str, u64> {
    DropReason::ALL.iter().map(|reason| (reason.name(), counters.dropped(*reason).get())).collect()
}
