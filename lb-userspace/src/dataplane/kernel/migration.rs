//! Flows that move into a new flow table while packets go on: after a start with another size, or over the tables of an earlier
//! layout.
//!
//! ```text
//! maps/FLOWS             the table in force, or the new one from the exchange on
//! maps/FLOWS_next        the new one until then
//! maps/FLOWS_before_L_N  tables of layout L that programs may still use, or whose flows are not all copied
//! ```
//!
//! 1. The new program is loaded over the present maps, but with the new flow table. Nothing uses it yet.
//! 2. Every service chooses by the flow's hash until the end, so that a flow which begins now gets the same destination by either
//!    table. A grace period.
//! 3. All flows are copied.
//! 4. The pins change places, each by one step; the program is replaced in every link. A grace period: nobody writes the old
//!    table any more.
//! 5. Flows are copied again: those that began or changed since 3. What packets have written in the new table stays.
//!
//! With an earlier layout all of it happens in a second directory with the same pins, which takes the place of the first one in
//! step 4 ([`Pins::stage`]).
//!
//! Whoever is killed in between leaves forwarding as it is, and the next start goes on: before the exchange from the beginning,
//! after it with 2 and the tables `FLOWS_before_L_N`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aya::maps::{MapData, MapInfo};
use lb_common::{
    abi::{Control, LAYOUT_VERSION, Pick, Scheduling, Service, map},
    flow::{FlowBucket, resize},
    memory::{Own, Slices, View},
};

use super::{
    Loaded, Pins, attach, grace,
    layouts::{self, ReadFlow},
    loaded::region,
    region::Region,
};

/// How often flows are copied before the exchange. A flow that moves to its other bucket may be missed once.
const ROUNDS: usize = 2;
/// Buckets that one call of [`Loaded::settle_flows`] looks at: some milliseconds' work.
const SETTLED_AT_ONCE: usize = 1 << 14;

/// How far a round of [`Loaded::settle_flows`] has come.
#[derive(Debug, Default)]
pub(super) struct Settling {
    next: usize,
    /// Copies that it met and left.
    left: u64,
}

/// Services that choose by hash for a while.
struct Hashing<'a> {
    before: Vec<(&'a Service, Scheduling)>,
}

impl<'a> Hashing<'a> {
    fn begin(services: &'a [Service], control: &Control) -> Self {
        // Nor does a backend that is full give way to another, at random: the next count of flows sets it again.
        control.set_counted(None);
        let listed = services.iter().filter(|service| service.identity().is_some());
        let before: Vec<_> = listed
            .map(|service| (service, service.scheduling()))
            .filter(|(_, scheduling)| !scheduling.pick.is_stateless() || scheduling.resets_unknown)
            .collect();
        for (service, scheduling) in &before {
            let pick = if scheduling.pick.is_stateless() { scheduling.pick } else { Pick::FlowHash };
            service.set_scheduling(Scheduling { pick, resets_unknown: false, ..*scheduling });
        }
        Self { before }
    }
}

impl Drop for Hashing<'_> {
    fn drop(&mut self) {
        for (service, scheduling) in &self.before {
            service.set_scheduling(*scheduling);
        }
    }
}

/// A flow table of an earlier program.
struct Source {
    read: ReadFlow,
    table: Region<FlowBucket>,
    // Keeps the map.
    _map: MapData,
}

impl Source {
    fn open(layout: u32, pin: &Path) -> Result<Self> {
        let read = layouts::reader(layout)
            .with_context(|| format!("{} is of a layout that this version cannot read", pin.display()))?;
        let map = MapData::from_pin(pin).with_context(|| format!("{}", pin.display()))?;
        let entries = map.info()?.max_entries() as usize;
        let table = Region::map(std::os::fd::AsFd::as_fd(map.fd()), entries, false)
            .with_context(|| format!("{} cannot be mapped into memory", pin.display()))?;
        Ok(Self { read, table, _map: map })
    }
}

/// Where a program that needs so many buckets finds its flow table: in the present one, or in a new one.
///
/// # Errors
///
/// If the pin cannot be read, or what is left of a start that was killed cannot be removed.
pub(super) fn place(pins: &Pins, buckets: usize) -> Result<PathBuf> {
    let (present, next) = (pins.map(map::FLOWS), pins.next_flows());
    let is_new = present.exists() && MapInfo::from_pin(&present)?.max_entries() as usize != buckets;
    Ok(if is_new { next } else { present })
}

/// Removes the new table of a start that did not come as far as to use it.
///
/// # Errors
///
/// If it cannot be removed.
pub(super) fn remove_unused(pins: &Pins) -> Result<()> {
    let next = pins.next_flows();
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}", next.display()))
        }
        _ => Ok(()),
    }
}

impl Loaded {
    /// Takes the flows of earlier tables over, if there are any, and puts this program in the place of the one before: all in
    /// one, so that no packet meets a table without its flow.
    ///
    /// # Errors
    ///
    /// If a table cannot be read, or a link refuses the program. What forwarded before still does, and the next start goes on.
    pub fn adopt_flows(&mut self, pins: &Pins) -> Result<()> {
        let is_new = pins.next_flows().exists();
        let mut old = pins.flows_before()?;
        if is_new {
            old.push((LAYOUT_VERSION, pins.map(map::FLOWS)));
        }
        if old.is_empty() {
            return pins.commit();
        }
        let sources = old.iter().map(|(layout, pin)| Source::open(*layout, pin)).collect::<Result<Vec<_>>>()?;
        let least = sources.iter().map(|source| source.table.records().len()).min().unwrap_or_default();
        // A mapping of its own: `replace_all` takes all of this value.
        let services: Region<Service> = region(self.ebpf(), map::SERVICES, self.tables().services.len(), true)?;
        let hashing = Hashing::begin(services.records(), self.tables().control);
        grace::wait()?;
        for _ in 0..ROUNDS {
            self.copy_flows(&sources)?;
        }
        let control = self.tables().control;
        if least < self.tables().flows.len() {
            let (before, least) = (control.flow_buckets_before(), least as u32);
            control.set_flow_buckets_before(if before == 0 { least } else { before.min(least) });
        }
        if is_new {
            pins.exchange_flows()?;
        }
        pins.commit()?;
        attach::replace_all(self, pins)?;
        grace::wait()?;
        let copied = self.copy_flows(&sources)?;
        drop(hashing);
        pins.remove_flows_before()?;
        pins.remove_others()?;
        tracing::info!(
            flows = copied.flows,
            without_room = copied.without_room,
            from = least,
            to = self.tables().flows.len(),
            "flows moved to a flow table with other buckets"
        );
        Ok(())
    }

    /// Removes entries that a flow table which grew holds more than once, as far as packets have told which of them are used:
    /// with each call from a part of the table.
    ///
    /// # Errors
    ///
    /// If the clock cannot be read, or the table not be mapped.
    pub fn settle_flows(&mut self) -> Result<()> {
        let (before, buckets) = (self.tables().control.flow_buckets_before() as usize, self.tables().flows.len());
        if before == 0 {
            return Ok(());
        }
        let end = buckets.min(self.settling.next + SETTLED_AT_ONCE);
        // A table that shrank since has no more entries of a flow than it may.
        if before < buckets {
            let which = self.settling.next..end;
            self.settling.left += self.with_writable_flows(|view| resize::settle(view, before, which))?;
        }
        self.settling.next = end;
        if end == buckets && std::mem::take(&mut self.settling).left == 0 {
            self.tables().control.set_flow_buckets_before(0);
            tracing::info!("every flow has one entry again");
        }
        Ok(())
    }

    fn copy_flows(&self, sources: &[Source]) -> Result<resize::Copied> {
        self.with_writable_flows(|view| {
            let copied = sources.iter().map(|source| resize::copy(view, source.table.records(), source.read));
            copied.fold(resize::Copied::default(), |sum, one| resize::Copied {
                flows: sum.flows + one.flows,
                without_room: sum.without_room + one.without_room,
            })
        })
    }

    fn with_writable_flows<T>(&self, act: impl FnOnce(&View<'_>) -> T) -> Result<T> {
        // The daemon's mapping is for reading alone.
        let flows: Region<FlowBucket> = region(self.ebpf(), map::FLOWS, self.tables().flows.len(), true)?;
        let tables = Slices { flows: flows.records(), ..self.tables() };
        Ok(act(&View::outside(tables, self.constants(), self.now()?, &Own::default())))
    }
}
