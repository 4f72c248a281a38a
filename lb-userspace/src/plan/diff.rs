//! The difference between what should be and what is, as writes in the order in which they are safe.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use lb_common::{
    abi::{DestinationState, MAX_EGRESS, NextHop, ServiceIdentity, SlotRange, Word32},
    hash::HashKey,
    memory::Slices,
    schedule::maglev::{self, MaglevError, Member},
    service::builder::{self, BuildError},
};

use super::{
    actual::{Actual, ActualService, rules},
    desired::{BackendKey, Desired, DesiredBackend, DesiredService, ServiceKey},
    write::{EgressRecord, TimeoutTicks, Write},
};

/// Why a plan cannot be made. Nothing was written.
#[derive(Debug, PartialEq, Eq)]
pub enum PlanError {
    /// No free place in a table; names the limit.
    Full(&'static str),
    /// More interfaces lead to backends than the table holds.
    Egress,
    /// The service table cannot be built.
    Services(BuildError),
    /// A Maglev table cannot be built.
    Maglev(MaglevError),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(limit) => {
                write!(f, "no room in the tables; raise `node.limits.{limit}` (needs `evenkeel detach`)")
            }
            Self::Egress => write!(f, "more than {} interfaces lead to backends", MAX_EGRESS - 1),
            Self::Services(error) => write!(f, "{error}"),
            Self::Maglev(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PlanError {}

/// Finished tables of the last plan, so that only what changed is computed.
#[derive(Debug, Default)]
pub struct Memo(HashMap<ServiceKey, Finished>);

/// Members (backend, weight, destination id), size, and the table made from them.
type Finished = (Vec<(BackendKey, u32, u32)>, u32, Arc<Vec<u32>>);

struct Planner<'a> {
    tables: Slices<'a>,
    key: &'a HashKey,
    /// What is, kept up with each write that is planned.
    actual: Actual,
    writes: Vec<Write>,
}

/// Plans. `tables` are only read.
///
/// # Errors
///
/// [`PlanError`]; `actual` and the tables are as before then.
pub fn plan(
    desired: &Desired,
    actual: &Actual,
    tables: Slices<'_>,
    key: &HashKey,
    memo: &mut Memo,
) -> Result<Vec<Write>, PlanError> {
    let mut planner = Planner { tables, key, actual: actual.clone(), writes: Vec::new() };
    planner.plan_timeouts(desired);
    let mut leftovers = Leftovers::default();
    for (service_key, service) in &desired.services {
        planner.plan_service(service_key, service, memo, &mut leftovers)?;
    }
    memo.0.retain(|service_key, _| desired.services.contains_key(service_key));
    planner.plan_service_table(desired, &mut leftovers)?;
    planner.free(&leftovers);
    Ok(planner.writes)
}

/// What is no longer referred to once everything else is written.
#[derive(Default)]
struct Leftovers {
    destinations: BTreeSet<u32>,
    services: BTreeSet<u32>,
    /// Slots or a table were replaced.
    replaced: bool,
}

impl Planner<'_> {
    fn push(&mut self, write: Write) {
        self.actual.apply(&write);
        self.writes.push(write);
    }

    fn plan_timeouts(&mut self, desired: &Desired) {
        let mut longest: TimeoutTicks = [0; 5];
        for service in desired.services.values() {
            for (longest, timeout) in longest.iter_mut().zip(service.timeouts) {
                *longest = timeout.max(*longest);
            }
        }
        if longest != self.actual.longest_timeouts {
            self.push(Write::LongestTimeouts(longest));
        }
    }

    fn plan_service(
        &mut self,
        key: &ServiceKey,
        desired: &DesiredService,
        memo: &mut Memo,
        leftovers: &mut Leftovers,
    ) -> Result<(), PlanError> {
        let present = self.actual.services.get(key).cloned();
        let index = match &present {
            Some(service) => service.index,
            None => self.actual.service_places.find().ok_or(PlanError::Full("services"))?,
        };
        if present.is_none() {
            // Reserved now, so that destinations can name it; written below.
            self.actual.service_places.insert(index);
        }
        let ids = self.plan_destinations(index, desired, present.as_ref())?;
        let slots = self.plan_slots(key, desired, &ids, present.as_ref(), memo)?;
        self.plan_record(key, desired, index, slots, present.as_ref(), leftovers);
        self.plan_states(index, desired, &ids);
        let gone = present.iter().flat_map(|service| &service.backends);
        leftovers.destinations.extend(gone.filter(|(key, _)| !desired.backends.contains_key(key)).map(|(_, id)| *id));
        Ok(())
    }

    /// New destinations, and next hops of present ones.
    fn plan_destinations(
        &mut self,
        service: u32,
        desired: &DesiredService,
        present: Option<&ActualService>,
    ) -> Result<BTreeMap<BackendKey, u32>, PlanError> {
        let mut ids = BTreeMap::new();
        for (key, backend) in &desired.backends {
            let known = present.and_then(|service| service.backends.get(key)).copied();
            let id = match known {
                Some(id) => {
                    self.plan_next_hop(id, backend)?;
                    id
                }
                None => self.plan_destination(service, *key, backend)?,
            };
            ids.insert(*key, id);
        }
        Ok(ids)
    }

    fn plan_destination(
        &mut self,
        service: u32,
        (address, port): BackendKey,
        backend: &DesiredBackend,
    ) -> Result<u32, PlanError> {
        let id = self.actual.destination_places.find().ok_or(PlanError::Full("backends"))?;
        let next_hop = match backend.next_hop {
            Some((egress, mac)) => self.next_hop(egress, mac)?,
            None => NextHop::default(),
        };
        let state = DestinationState {
            generation: self.actual.next_generation(id),
            keeps_flows: backend.keeps_flows,
            takes_flows: backend.weight > 0,
            service,
        };
        self.push(Write::Destination { id, address, port, next_hop, state });
        Ok(id)
    }

    /// A next hop that is no longer resolved stays: the last one known is the best there is.
    fn plan_next_hop(&mut self, id: u32, backend: &DesiredBackend) -> Result<(), PlanError> {
        let Some((egress, mac)) = backend.next_hop else { return Ok(()) };
        let next_hop = self.next_hop(egress, mac)?;
        if self.actual.destinations.get(&id).is_some_and(|found| found.next_hop != next_hop) {
            self.push(Write::NextHop { id, next_hop });
        }
        Ok(())
    }

    fn next_hop(&mut self, egress: EgressRecord, mac: [u8; 6]) -> Result<NextHop, PlanError> {
        Ok(NextHop { mac: NextHop::mac_word(mac), egress: self.egress_index(egress)? })
    }

    /// The index of an interface: its own, else a free one, else one that no destination refers to.
    fn egress_index(&mut self, record: EgressRecord) -> Result<u32, PlanError> {
        let own = self.actual.egress.iter().find(|(_, found)| found.ifindex == record.ifindex);
        if let Some((index, found)) = own {
            let (index, same) = (*index, *found == record);
            if !same {
                self.push(Write::Egress { index, record });
            }
            return Ok(index);
        }
        let used: BTreeSet<u32> = self.actual.destinations.values().map(|found| found.next_hop.egress).collect();
        let index = (1..MAX_EGRESS)
            .find(|index| !self.actual.egress.contains_key(index))
            .or_else(|| (1..MAX_EGRESS).find(|index| !used.contains(index)))
            .ok_or(PlanError::Egress)?;
        self.push(Write::Egress { index, record });
        Ok(index)
    }

    /// The slots of a service: where they are if they are right, else in a new range.
    fn plan_slots(
        &mut self,
        key: &ServiceKey,
        desired: &DesiredService,
        ids: &BTreeMap<BackendKey, u32>,
        present: Option<&ActualService>,
        memo: &mut Memo,
    ) -> Result<SlotRange, PlanError> {
        let members: Vec<(BackendKey, u32, u32)> = desired
            .backends
            .iter()
            .filter(|(_, backend)| backend.weight > 0)
            .map(|(key, backend)| (*key, backend.weight, ids[key]))
            .collect();
        if members.is_empty() {
            memo.0.remove(key);
            return Ok(SlotRange::default());
        }
        let range = present.map(|service| service.slots).unwrap_or_default();
        let remembered = memo.0.get(key).filter(|(of, size, _)| *of == members && *size == desired.table_size);
        if let Some((_, _, slots)) = remembered
            && slots.len() as u32 == range.size
        {
            return Ok(range);
        }
        let slots = Arc::new(build(&members, desired.table_size).map_err(PlanError::Maglev)?);
        memo.0.insert(*key, (members, desired.table_size, Arc::clone(&slots)));
        if self.holds(range, &slots) {
            return Ok(range);
        }
        let size = slots.len() as u32;
        let capacity = self.tables.slots.len() as u32;
        let offset = self.actual.slots.find(size, capacity).ok_or(PlanError::Full("slots"))?;
        self.push(Write::Slots { offset, ids: slots });
        Ok(SlotRange { offset, size })
    }

    fn holds(&self, range: SlotRange, slots: &[u32]) -> bool {
        let end = range.offset as usize + range.size as usize;
        let held = self.tables.slots.get(range.offset as usize..end);
        range.size as usize == slots.len()
            && held.is_some_and(|held| held.iter().map(Word32::load).eq(slots.iter().copied()))
    }

    /// The service's own record.
    fn plan_record(
        &mut self,
        key: &ServiceKey,
        desired: &DesiredService,
        index: u32,
        slots: SlotRange,
        present: Option<&ActualService>,
        leftovers: &mut Leftovers,
    ) {
        let identity = identity(key, desired);
        let timeouts = desired.timeouts;
        let Some(present) = present else {
            return self.push(Write::Service { index, prefix: key.prefix, identity, timeouts, slots });
        };
        if present.identity != identity || present.timeouts != timeouts {
            self.push(Write::ServiceOptions { index, prefix: key.prefix, identity, timeouts });
        }
        if present.slots != slots {
            self.push(Write::ServiceSlots { index, slots });
            leftovers.replaced = true;
        }
    }

    /// States of destinations, after the slots: a backend leaves the table before its flows are let go.
    fn plan_states(&mut self, service: u32, desired: &DesiredService, ids: &BTreeMap<BackendKey, u32>) {
        for (key, backend) in &desired.backends {
            let id = ids[key];
            let Some(found) = self.actual.destinations.get(&id) else { continue };
            let state = DestinationState {
                generation: found.state.generation,
                keeps_flows: backend.keeps_flows,
                takes_flows: backend.weight > 0,
                service,
            };
            if found.state != state {
                self.push(Write::State { id, state });
            }
        }
    }

    fn plan_service_table(&mut self, desired: &Desired, leftovers: &mut Leftovers) -> Result<(), PlanError> {
        let gone: Vec<ActualService> = self
            .actual
            .services
            .iter()
            .filter(|(key, _)| !desired.services.contains_key(key))
            .map(|(_, service)| service.clone())
            .collect();
        for service in gone {
            leftovers.services.insert(service.index);
            leftovers.destinations.extend(service.backends.values());
        }
        let kept = self.actual.services.iter().filter(|(key, _)| desired.services.contains_key(key));
        let wanted = rules(kept.map(|(key, service)| (key, service.index)));
        if self.actual.rules.as_ref() == Some(&wanted) {
            return Ok(());
        }
        // Half of the buckets each for the table in force and for the next one.
        let half = self.tables.service_buckets.len() / 2;
        let table = builder::build(&wanted, self.key, half).map_err(PlanError::Services)?;
        let same = table.is_in_force(&self.tables);
        self.actual.rules = Some(wanted);
        if !same {
            let offset = if (self.actual.table.offset as usize) < half { half as u32 } else { 0 };
            let offset = if self.actual.table.size == 0 { 0 } else { offset };
            self.push(Write::ServiceTable { offset, table: Box::new(table) });
            leftovers.replaced = true;
        }
        Ok(())
    }

    fn free(&mut self, leftovers: &Leftovers) {
        let freed = !leftovers.destinations.is_empty() || !leftovers.services.is_empty();
        if leftovers.replaced || freed {
            self.push(Write::Quiesce);
        }
        for id in &leftovers.destinations {
            self.push(Write::FreeDestination { id: *id });
        }
        for index in &leftovers.services {
            self.push(Write::FreeService { index: *index });
        }
    }
}

fn identity(key: &ServiceKey, desired: &DesiredService) -> ServiceIdentity {
    ServiceIdentity {
        first_port: key.first_port,
        last_port: key.last_port,
        protocol: key.protocol,
        prefix_length: key.prefix_length,
        family: key.family,
        on_no_backend: desired.on_no_backend,
    }
}

/// A Maglev table of destination ids. It depends on backends' addresses, ports and weights alone.
fn build(members: &[(BackendKey, u32, u32)], size: u32) -> Result<Vec<u32>, MaglevError> {
    let of = |((address, port), weight, _): &(BackendKey, u32, u32)| {
        let octets = match address {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(address) => address.octets(),
        };
        Member { id: maglev::member_id(&octets, *port), weight: *weight }
    };
    let table = maglev::build(&members.iter().map(of).collect::<Vec<_>>(), size)?;
    Ok(table.into_iter().map(|member| members[member as usize].2).collect())
}
