//! Slot tables, and making many of them on all CPUs.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use lb_common::schedule::{
    maglev::{self, MaglevError, Member},
    sequence,
};

use super::desired::{BackendKey, DesiredService};
use crate::config::model::SlotKind;

/// Tables that are made together: many for each CPU, and some megabytes.
pub const AHEAD: usize = 128;

/// A backend in a slot table: key, weight.
pub(super) type SlotMember = (BackendKey, u32);

/// A slot table, as what it is made from: a plan may have thousands of them, of which each is tens of kilobytes of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotTable {
    members: Arc<[SlotMember]>,
    /// The members' destinations.
    ids: Arc<[u32]>,
    recipe: Recipe,
}

/// What a slot table is made by, besides its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Recipe {
    kind: SlotKind,
    size: u32,
    /// What a sequence was brought down to, if it was.
    most: u32,
}

impl Recipe {
    /// For the backends of a service that have slots.
    pub(super) fn of(service: &DesiredService, members: &[SlotMember]) -> Self {
        let size = match service.slot_kind {
            SlotKind::Maglev => service.table_size,
            SlotKind::Turns | SlotKind::List => members.len() as u32,
            SlotKind::WeightedTurns => sequence::length(&weights(members), service.table_size),
        };
        let most = if service.slot_kind == SlotKind::WeightedTurns { service.table_size } else { 0 };
        Self { kind: service.slot_kind, size, most }
    }

    /// Indices into `members`, of which a Maglev table's were approved by [`maglev::check`]. They depend on backends' addresses,
    /// ports and weights alone.
    pub(super) fn picks(self, members: &[SlotMember]) -> Vec<u32> {
        match self.kind {
            SlotKind::Maglev => maglev::build(&claims(members), self.size).expect("a table that was checked"),
            SlotKind::Turns | SlotKind::List => (0..self.size).collect(),
            SlotKind::WeightedTurns => sequence::build(&weights(members), self.most),
        }
    }

    pub(super) fn size(self) -> u32 {
        self.size
    }
}

fn weights(members: &[SlotMember]) -> Vec<u32> {
    members.iter().map(|(_, weight)| *weight).collect()
}

impl SlotTable {
    /// Of the backends of a service that have slots; none for no backend. `id` tells a backend's destination.
    ///
    /// # Errors
    ///
    /// If no such table can be made.
    pub(super) fn of(service: &DesiredService, id: impl Fn(&BackendKey) -> u32) -> Result<Option<Self>, MaglevError> {
        let members = members(service);
        if members.is_empty() {
            return Ok(None);
        }
        let recipe = Recipe::of(service, &members);
        if recipe.kind == SlotKind::Maglev {
            maglev::check(&claims(&members), recipe.size)?;
        }
        let ids = members.iter().map(|(key, _)| id(key)).collect();
        Ok(Some(Self { members: members.into(), ids, recipe }))
    }

    /// Number of slots.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.recipe.size
    }

    pub(super) fn recipe(&self) -> Recipe {
        self.recipe
    }

    /// The slots: destination ids.
    #[must_use]
    pub fn slots(&self) -> Vec<u32> {
        self.slots_of(&self.recipe.picks(&self.members))
    }

    pub(super) fn slots_of(&self, picks: &[u32]) -> Vec<u32> {
        picks.iter().map(|pick| self.ids[*pick as usize]).collect()
    }

    pub(super) fn members(&self) -> &[SlotMember] {
        &self.members
    }

    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }
}

/// The slots of many tables in their order, made on all CPUs; what differs in nothing but destinations is made once.
#[must_use]
pub fn slots_of_all(tables: &[&SlotTable]) -> Vec<Vec<u32>> {
    let recipes: BTreeMap<_, _> = tables.iter().map(|table| ((&*table.members, table.recipe), ())).collect();
    let recipes: Vec<_> = recipes.into_keys().collect();
    let made: BTreeMap<_, _> =
        on_all_cpus(&recipes, |recipe| (*recipe, recipe.1.picks(recipe.0))).into_iter().collect();
    tables.iter().map(|table| table.slots_of(&made[&(&*table.members, table.recipe)])).collect()
}

/// The backends of a service that have slots.
pub(super) fn members(service: &DesiredService) -> Vec<SlotMember> {
    let taking = service.backends.iter().filter(|(_, backend)| backend.weight > 0);
    taking.map(|(key, backend)| (*key, backend.weight)).collect()
}

fn claims(members: &[SlotMember]) -> Vec<Member> {
    let claim = |((address, port), weight): &SlotMember| {
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        Member { id: maglev::member_id(&octets, *port), weight: *weight }
    };
    members.iter().map(claim).collect()
}

/// What `work` makes of each item, in any order.
pub(super) fn on_all_cpus<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}
