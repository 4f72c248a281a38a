//! The difference between what should be and what is, as writes in the order in which they are safe.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lb_common::{
    abi::{DestinationState, LimitSettings, NextHop, ScoreTerms, ServiceIdentity, SlotRange},
    hash::HashKey,
    memory::Slices,
    service::builder::{Rule, Table},
};

use super::{
    actual::{Actual, ActualService, rules},
    desired::{BackendKey, Desired, DesiredBackend, DesiredLimits, DesiredService, ServiceKey},
    error::PlanError,
    memo::Memo,
    slot_table::{AHEAD, Recipe, SlotTable, members},
    write::{TimeoutTicks, Write},
};

pub(super) struct Planner<'a> {
    pub(super) tables: Slices<'a>,
    pub(super) key: &'a HashKey,
    /// What is, kept up with each write that is planned.
    pub(super) actual: Actual,
    writes: Vec<Write>,
    /// Slots that are planned, by offset. Elsewhere the tables tell.
    pub(super) slots: HashMap<u32, SlotTable>,
    /// The service table that is planned; `None`: the one in force stays.
    table: Option<Table>,
    /// Programs may still use what an earlier plan replaced.
    unsettled: bool,
}

/// Plans. `tables` are only read.
///
/// What is new is written before what goes is freed, if there is room for both; else what goes makes room first.
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
    match Planner::new(actual, tables, key).run(desired, memo, false) {
        Err(PlanError::Full(_)) => Planner::new(actual, tables, key).run(desired, memo, true),
        planned => planned,
    }
}

/// Plans those services alone that an event concerns; the others, as the caller knows, are as they should be. The writes are
/// those of [`plan`] with the others beside them, at a cost that does not grow with their number.
///
/// `None`: it takes a plan of everything. That is so if a service is new or answers otherwise than before (which concerns the
/// service table and the longest time-outs), if something was left by a plan that was not finished, and if there is no room.
///
/// # Errors
///
/// [`PlanError`], as from [`plan`].
pub fn plan_some(
    some: &Desired,
    actual: &Actual,
    tables: Slices<'_>,
    key: &HashKey,
    memo: &mut Memo,
) -> Result<Option<Vec<Write>>, PlanError> {
    let mut planner = Planner::new(actual, tables, key);
    if !planner.actual.orphans().is_empty() || !some.services.iter().all(|(key, service)| planner.goes_on(key, service))
    {
        return Ok(None);
    }
    match planner.plan_services(some, memo) {
        Ok(leftovers) => planner.free(&leftovers),
        Err(PlanError::Full(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(planner.writes))
}

/// What is no longer referred to once everything else is written.
#[derive(Default)]
pub(super) struct Leftovers {
    destinations: BTreeSet<u32>,
    services: BTreeSet<u32>,
    /// Slots or a table were replaced.
    replaced: bool,
}

impl<'a> Planner<'a> {
    fn new(actual: &Actual, tables: Slices<'a>, key: &'a HashKey) -> Self {
        let unsettled = actual.is_unsettled();
        let (actual, slots, writes) = (actual.clone(), HashMap::new(), Vec::new());
        Self { tables, key, actual, writes, slots, table: None, unsettled }
    }

    /// Plans everything, if need be in the room of what goes.
    fn run(mut self, desired: &Desired, memo: &mut Memo, make_room: bool) -> Result<Vec<Write>, PlanError> {
        self.reclaim();
        self.reclaim_quic();
        self.plan_pool(&desired.pool);
        let longest = longest_timeouts(desired);
        self.raise_timeouts(longest);
        if make_room {
            self.make_room(desired, memo)?;
        }
        let mut leftovers = self.plan_services(desired, memo)?;
        memo.retain(&desired.services);
        self.plan_removals(desired, &mut leftovers);
        self.plan_service_table(|key, _| desired.services.contains_key(key), memo, &mut leftovers)?;
        self.set_timeouts(longest);
        self.free(&leftovers);
        Ok(self.writes)
    }

    /// Whether a service is there and answers as it did.
    fn goes_on(&self, key: &ServiceKey, desired: &DesiredService) -> bool {
        let present = self.actual.services.get(key);
        present.is_some_and(|found| {
            let quic = found.identity.quic;
            (quic != 0) == desired.quic.is_some()
                && found.identity == identity(key, desired, quic)
                && found.timeouts == desired.timeouts
        })
    }

    fn compares_slots(&self, key: &ServiceKey, desired: &DesiredService) -> bool {
        let size = Recipe::of(desired, &members(desired)).size();
        let same_size = |found: &Arc<ActualService>| found.slots.size == size;
        self.actual.services.get(key).is_some_and(same_size) && SlotTable::of(desired, |_| 0).is_ok()
    }

    fn plan_services(&mut self, desired: &Desired, memo: &mut Memo) -> Result<Leftovers, PlanError> {
        let mut leftovers = Leftovers::default();
        let mut services = desired.services.iter();
        loop {
            // The tables of some are made on all CPUs, and used up before those of the next. New ones are made when they are
            // written: nothing is compared with them.
            let some = services.clone().take(AHEAD);
            memo.prepare(some.clone().filter(|(key, service)| self.compares_slots(key, service)));
            for (key, service) in some {
                self.plan_service(key, service, memo, &mut leftovers)?;
            }
            if services.nth(AHEAD - 1).is_none() {
                memo.clear_ready();
                return Ok(leftovers);
            }
        }
    }

    pub(super) fn push(&mut self, write: Write) {
        if matches!(write, Write::Quiesce) {
            self.unsettled = false;
        } else if self.unsettled && write.uses_a_free_place() {
            self.push(Write::Quiesce);
        }
        self.actual.apply(&write);
        self.writes.push(write);
    }

    /// Frees destinations whose service was never written: an earlier plan ended in between. First, so that none of them
    /// is taken for a backend of the next service in that place.
    fn reclaim(&mut self) {
        for id in self.actual.orphans() {
            // Its server ids may have been written before its service.
            self.forget_server_ids(id);
            self.push(Write::FreeDestination { id });
        }
    }

    /// Entries that are idle for longer than the longest time-outs are overwritten, so these are raised before those of
    /// any service, and lowered after all of them.
    fn raise_timeouts(&mut self, longest: TimeoutTicks) {
        let present = self.actual.longest_timeouts;
        self.set_timeouts(std::array::from_fn(|state| present[state].max(longest[state])));
    }

    fn set_timeouts(&mut self, longest: TimeoutTicks) {
        if longest != self.actual.longest_timeouts {
            self.push(Write::LongestTimeouts(longest));
        }
    }

    pub(super) fn plan_service(
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
        let ids = self.plan_destinations(index, desired, present.as_deref())?;
        let quic = present.as_ref().map_or(0, |found| found.identity.quic);
        let quic = self.plan_quic(index, desired.quic.as_ref(), quic, &ids)?;
        let slots = self.plan_slots(key, desired, &ids, present.as_deref(), memo)?;
        self.plan_record((key, desired, quic), index, slots, present.as_deref(), leftovers);
        let limits = present.as_ref().map(|found| found.limits).unwrap_or_default();
        self.plan_limits(index, &desired.limits, limits, leftovers)?;
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
                    self.plan_way(id, backend);
                    id
                }
                None => self.plan_destination(service, *key, backend)?,
            };
            self.plan_score(id, desired, backend);
            self.plan_most_flows(id, backend.most);
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
            resets_flows: backend.resets_flows,
            takes_flows: backend.weight > 0,
            mode: backend.way.mode(),
            second_tunnel: false,
            toa: backend.way.toa(),
            service,
        };
        let tunnel = backend.way.tunnel();
        self.push(Write::Destination { id, address, port, next_hop, tunnel, state });
        Ok(id)
    }

    /// Before the slots: what is in the list has a score.
    fn plan_score(&mut self, id: u32, desired: &DesiredService, backend: &DesiredBackend) {
        if !desired.scheduling.pick.is_by_score() || backend.weight == 0 {
            return;
        }
        let terms = ScoreTerms::of_weight(backend.weight, 1);
        if self.actual.destinations.get(&id).is_some_and(|found| found.score != terms) {
            self.push(Write::Score { id, terms });
        }
    }

    fn plan_most_flows(&mut self, id: u32, most: u32) {
        if self.actual.destinations.get(&id).is_some_and(|found| found.most != most) {
            self.push(Write::MostFlows { id, most });
        }
    }

    /// Limits of a service, its prefix list in another place if it is another one.
    fn plan_limits(
        &mut self,
        index: u32,
        desired: &DesiredLimits,
        present: LimitSettings,
        leftovers: &mut Leftovers,
    ) -> Result<(), PlanError> {
        let mut settings = desired.settings;
        if self.actual.bounds(&present) == &*desired.bounds {
            settings.list.offset = present.list.offset;
        } else if desired.bounds.is_empty() {
            leftovers.replaced = true;
        } else {
            let capacity = self.tables.list_bounds.len() as u32;
            let offset = self.actual.list_ranges.find(settings.list.size, capacity);
            settings.list.offset = offset.ok_or(PlanError::Full("prefixes"))?;
            self.push(Write::ListBounds { offset: settings.list.offset, bounds: desired.bounds.clone() });
            leftovers.replaced |= present.list.size > 0;
        }
        if settings != present {
            self.push(Write::Limits { index, settings });
        }
        Ok(())
    }

    /// A destination is reached otherwise: the new outer header goes to its other place, then its state names that.
    fn plan_way(&mut self, id: u32, backend: &DesiredBackend) {
        let Some(found) = self.actual.destinations.get(&id) else { return };
        if backend.way.is(found.state, found.tunnel) {
            return;
        }
        let second_tunnel = !found.state.second_tunnel;
        let state = DestinationState { mode: backend.way.mode(), toa: backend.way.toa(), second_tunnel, ..found.state };
        self.push(Write::Way { id, tunnel: backend.way.tunnel(), state });
    }

    /// The service's own record.
    fn plan_record(
        &mut self,
        (key, desired, quic): (&ServiceKey, &DesiredService, u8),
        index: u32,
        slots: SlotRange,
        present: Option<&ActualService>,
        leftovers: &mut Leftovers,
    ) {
        let identity = identity(key, desired, quic);
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
                resets_flows: backend.resets_flows,
                takes_flows: backend.weight > 0,
                mode: found.state.mode,
                second_tunnel: found.state.second_tunnel,
                toa: found.state.toa,
                service,
            };
            if found.state != state {
                self.push(Write::State { id, state });
            }
        }
    }

    /// Services that are not desired leave.
    pub(super) fn plan_removals(&mut self, desired: &Desired, leftovers: &mut Leftovers) {
        for (_, service) in self.actual.services.iter().filter(|(key, _)| !desired.services.contains_key(key)) {
            leftovers.services.insert(service.index);
            leftovers.destinations.extend(service.backends.values());
        }
    }

    /// A service table of those services that are to be listed.
    pub(super) fn plan_service_table(
        &mut self,
        is_listed: impl Fn(&ServiceKey, &ActualService) -> bool,
        memo: &mut Memo,
        leftovers: &mut Leftovers,
    ) -> Result<(), PlanError> {
        let listed = self.actual.services.iter().filter(|(key, service)| is_listed(key, service));
        let wanted: Vec<Rule> = rules(listed.map(|(key, service)| (key, service.as_ref())));
        // Half of the buckets each for the table in force and for the next one.
        let half = self.tables.service_buckets.len() / 2;
        let table = memo.service_table(wanted, self.key, half).map_err(PlanError::Services)?;
        if self.table.as_ref().map_or_else(|| table.is_in_force(&self.tables), |planned| planned == table) {
            return Ok(());
        }
        self.table = Some(table.clone());
        let in_first_half = self.actual.table.size > 0 && (self.actual.table.offset as usize) < half;
        let offset = if in_first_half { half as u32 } else { 0 };
        let table = Box::new(table.clone());
        self.push(Write::ServiceTable { offset, table });
        leftovers.replaced = true;
        Ok(())
    }

    /// Lets the flows of backends go that leave a service that stays. What is freed after the grace period is in no
    /// program's hands then.
    fn let_go(&mut self, leftovers: &Leftovers) {
        for id in &leftovers.destinations {
            let Some(found) = self.actual.destinations.get(id) else { continue };
            let state = DestinationState { keeps_flows: false, resets_flows: false, takes_flows: false, ..found.state };
            if found.state != state && !leftovers.services.contains(&state.service) {
                self.push(Write::State { id: *id, state });
            }
        }
    }

    pub(super) fn free(&mut self, leftovers: &Leftovers) {
        self.let_go(leftovers);
        leftovers.destinations.iter().for_each(|id| self.forget_server_ids(*id));
        let gone = self.actual.services.values().filter(|service| leftovers.services.contains(&service.index));
        let quic: Vec<u8> = gone.map(|service| service.identity.quic).filter(|place| *place != 0).collect();
        quic.into_iter().for_each(|place| self.forget_quic(place));
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

/// The longest time-outs of all services.
fn longest_timeouts(desired: &Desired) -> TimeoutTicks {
    let mut longest: TimeoutTicks = [0; 5];
    for service in desired.services.values() {
        for (longest, timeout) in longest.iter_mut().zip(service.timeouts) {
            *longest = timeout.max(*longest);
        }
    }
    longest
}

fn identity(key: &ServiceKey, desired: &DesiredService, quic: u8) -> ServiceIdentity {
    ServiceIdentity {
        first_port: key.first_port,
        last_port: key.last_port,
        protocol: key.protocol,
        prefix_length: key.prefix_length,
        family: key.family,
        on_no_backend: desired.on_no_backend,
        fragments: desired.fragments,
        quic,
        scheduling: desired.scheduling,
    }
}
