//! What earlier plans found out, so that only what changed is computed, and the building of slot tables on all CPUs.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use lb_common::{
    hash::HashKey,
    schedule::maglev::{self, MaglevError, Member},
    service::builder::{self, BuildError, Rule, Table},
};

use super::desired::{BackendKey, DesiredService, ServiceKey};

/// A backend in a slot table: key, weight.
pub(super) type SlotMember = (BackendKey, u32);

/// A slot table of indices into its members, before it is known which destinations they are.
pub(super) type Picks = Arc<Vec<u32>>;

/// What was made from what. Nothing but a cache: it says nothing about what was written, so a plan that failed or was written
/// in part does no harm to it, and it may be lost or shared between plans at any time.
///
/// Of a slot table it keeps three digests of 64 bits, not the table: the slots are in the tables anyway, where reading them
/// takes less time than making them. Digests are keyed at random; that two different tables have one is a chance of 2^-64.
#[derive(Debug, Default)]
pub struct Memo {
    hasher: RandomState,
    made: HashMap<ServiceKey, Made>,
    /// Tables for the services that are planned next, by the digest of what they are made from.
    ready: HashMap<u64, Result<Picks, MaglevError>>,
    services: Option<(Vec<Rule>, HashKey, usize, Table)>,
}

/// Digests of a service's slot table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// Of members, weights and size.
    pub(super) recipe: u64,
    /// Of the members' destinations.
    pub(super) destinations: u64,
    /// Of the slots.
    pub(super) slots: u64,
}

impl Memo {
    /// The digest of what a table is made from.
    pub(super) fn recipe(&self, members: &[SlotMember], size: u32) -> u64 {
        self.hasher.hash_one((members, size))
    }

    /// The digest of a list of destinations.
    pub(super) fn destinations(&self, ids: &[u32]) -> u64 {
        self.hasher.hash_one(ids)
    }

    /// What a service's slots were made from.
    pub(super) fn made(&self, key: &ServiceKey) -> Option<Made> {
        self.made.get(key).copied()
    }

    /// Takes note of what a service's slots were made from.
    pub(super) fn note(&mut self, key: &ServiceKey, made: Made) {
        self.made.insert(*key, made);
    }

    /// A table of indices into `members`: made ahead, or now.
    pub(super) fn picks(&self, recipe: u64, members: &[SlotMember], size: u32) -> Result<Picks, MaglevError> {
        match self.ready.get(&recipe) {
            Some(ready) => ready.clone(),
            None => build(members, size),
        }
    }

    /// Makes the tables of services on all CPUs, each different one once, unless they were made from the same before. What was
    /// made ahead for other services is forgotten.
    pub(super) fn prepare<'a>(&mut self, services: impl Iterator<Item = (&'a ServiceKey, &'a DesiredService)>) {
        let mut wanted = BTreeMap::new();
        for (key, service) in services {
            let members = members(service);
            let recipe = self.recipe(&members, service.table_size);
            if !members.is_empty() && self.made.get(key).is_none_or(|made| made.recipe != recipe) {
                wanted.insert(recipe, (members, service.table_size));
            }
        }
        // What the last services had in common with these is not made again.
        self.ready.retain(|recipe, _| wanted.contains_key(recipe));
        let missing: Vec<_> = wanted.into_iter().filter(|(recipe, _)| !self.ready.contains_key(recipe)).collect();
        self.ready.extend(on_all_cpus(&missing, |(recipe, (members, size))| (*recipe, build(members, *size))));
    }

    /// Forgets what was made ahead.
    pub(super) fn clear_ready(&mut self) {
        self.ready = HashMap::new();
    }

    /// The service table.
    pub(super) fn service_table(&mut self, rules: Vec<Rule>, key: &HashKey, most: usize) -> Result<&Table, BuildError> {
        let found = self.services.take().filter(|(of, under, within, _)| (of, under, within) == (&rules, key, &most));
        let table = match found {
            Some((.., table)) => table,
            None => builder::build(&rules, key, most)?,
        };
        Ok(&self.services.insert((rules, *key, most, table)).3)
    }

    /// Forgets services that are not desired.
    pub(super) fn retain(&mut self, desired: &BTreeMap<ServiceKey, DesiredService>) {
        self.made.retain(|key, _| desired.contains_key(key));
    }
}

/// The backends of a service that have slots.
pub(super) fn members(service: &DesiredService) -> Vec<SlotMember> {
    let taking = service.backends.iter().filter(|(_, backend)| backend.weight > 0);
    taking.map(|(key, backend)| (*key, backend.weight)).collect()
}

/// A Maglev table of indices into `members`. It depends on backends' addresses, ports and weights alone.
fn build(members: &[SlotMember], size: u32) -> Result<Picks, MaglevError> {
    let of = |((address, port), weight): &SlotMember| {
        let octets = match address {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(address) => address.octets(),
        };
        Member { id: maglev::member_id(&octets, *port), weight: *weight }
    };
    maglev::build(&members.iter().map(of).collect::<Vec<_>>(), size).map(Arc::new)
}

/// What `work` makes of each item, in any order.
fn on_all_cpus<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
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
