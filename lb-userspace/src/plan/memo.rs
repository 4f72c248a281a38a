//! What earlier plans found out, so that only what changed is computed.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
};

use lb_common::{
    hash::HashKey,
    service::builder::{self, BuildError, Rule, Table},
};

use super::{
    desired::{DesiredService, ServiceKey},
    slot_table::{Recipe, SlotMember, SlotTable, members, on_all_cpus},
};

/// What was made from what. Nothing but a cache: it says nothing about what was written, so a plan that failed or was written
/// in part does no harm to it, and it may be lost or shared between plans at any time.
///
/// Of a slot table it keeps three digests of 64 bits, not the table: the slots are in the tables anyway, where reading them
/// takes less time than making them. That two different tables have the same digests is a chance of 2^-64.
#[derive(Debug, Default)]
pub struct Memo {
    hasher: RandomState,
    made: HashMap<ServiceKey, Made>,
    /// Members by slot for the services that are planned next, by the digest of what they are made from.
    ready: HashMap<u64, Vec<u32>>,
    services: Option<(Vec<Rule>, HashKey, usize, Table)>,
}

/// Digests of a service's slot table.
#[derive(Clone, Copy, Debug)]
struct Made {
    /// Of members, weights and size.
    recipe: u64,
    /// Of the members' destinations.
    destinations: u64,
    /// Of the slots.
    slots: u64,
}

impl Memo {
    /// The digest of what a table is made from.
    fn recipe(&self, members: &[SlotMember], recipe: Recipe) -> u64 {
        self.hasher.hash_one((members, recipe))
    }

    /// The digest of a service's slots, if they were made from the same before.
    pub(super) fn made(&self, key: &ServiceKey, table: &SlotTable) -> Option<u64> {
        let made = self.made.get(key)?;
        let same = made.recipe == self.recipe(table.members(), table.recipe())
            && made.destinations == self.hasher.hash_one(table.ids());
        same.then_some(made.slots)
    }

    /// Takes note of the digest of a service's slots and of what they were made from.
    pub(super) fn note(&mut self, key: &ServiceKey, table: &SlotTable, slots: u64) {
        let recipe = self.recipe(table.members(), table.recipe());
        let destinations = self.hasher.hash_one(table.ids());
        self.made.insert(*key, Made { recipe, destinations, slots });
    }

    /// The slots of a table: made ahead, or now.
    pub(super) fn slots(&self, table: &SlotTable) -> Vec<u32> {
        match self.ready.get(&self.recipe(table.members(), table.recipe())) {
            Some(picks) => table.slots_of(picks),
            None => table.slots(),
        }
    }

    /// Makes the tables of services on all CPUs, each different one once, unless they were made from the same before. What was
    /// made ahead for other services is forgotten. No service may have a table that cannot be made.
    pub(super) fn prepare<'a>(&mut self, services: impl Iterator<Item = (&'a ServiceKey, &'a DesiredService)>) {
        let mut wanted = BTreeMap::new();
        for (key, service) in services {
            let members = members(service);
            let made_by = Recipe::of(service, &members);
            let recipe = self.recipe(&members, made_by);
            if !members.is_empty() && self.made.get(key).is_none_or(|made| made.recipe != recipe) {
                wanted.insert(recipe, (members, made_by));
            }
        }
        // What the last services had in common with these is not made again.
        self.ready.retain(|recipe, _| wanted.contains_key(recipe));
        let missing: Vec<_> = wanted.into_iter().filter(|(recipe, _)| !self.ready.contains_key(recipe)).collect();
        self.ready.extend(on_all_cpus(&missing, |(recipe, (members, made_by))| (*recipe, made_by.picks(members))));
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
