//! Carries out a plan.

use std::collections::HashSet;

use anyhow::{Context, Result};
use lb_common::{
    abi::{DestinationState, LimitSettings, QUIC_BUCKET, ScoreTerms, TunnelEnds, tunnel_index},
    flow::FlowState,
    nat::{candidate::pool_index, hairpin},
    service::{builder, filter},
    steady,
};

use super::DataPlane;
use crate::plan::{
    SlotTable, Write,
    desired::{address_words, backend_address_words},
    features,
    slot_table::{AHEAD, slots_of_all},
    write::TimeoutTicks,
};

/// Carries out writes in their order. Each leaves the tables consistent, so it does not matter where this is interrupted:
/// planning again from the tables goes on from there.
///
/// # Errors
///
/// The first write that fails; later ones are not tried.
pub fn publish(plane: &mut impl DataPlane, writes: &[Write]) -> Result<()> {
    // The program first: it must never meet a table that it cannot serve.
    plane.require(features::of_all(writes, plane.ingress()))?;
    admit_backends(plane, writes)?;
    let mut tables = Tables::of(writes);
    let mut changed = HashSet::new();
    let result = writes.iter().try_for_each(|write| {
        if !leaves_services(write) {
            publish_services(plane, &mut changed);
        }
        if let Write::Service { index, .. } | Write::ServiceOptions { index, .. } | Write::Limits { index, .. } = write
        {
            changed.insert(*index);
        }
        apply(plane, write, &mut tables).with_context(|| format!("while writing {}", name(write)))
    });
    publish_services(plane, &mut changed);
    if writes.iter().any(concerns_backends) {
        hairpin::refresh(&plane.tables(), &plane.constants());
        // For the next time that the filter is handed over: a byte too many costs a look-up.
        filter::refresh_backends(plane.tables().vip_filter, plane.tables().destinations);
    }
    if result.is_err() {
        // A staged table may not have come into force.
        builder::relist(&plane.tables());
        steady::publish_all(&plane.tables());
    }
    result
}

/// Whether a write may change which backends there are in modes that translate.
fn concerns_backends(write: &Write) -> bool {
    match write {
        Write::Destination { state, .. } => state.mode.is_nat(),
        Write::FreeDestination { .. } | Write::Way { .. } => true,
        _ => false,
    }
}

/// Lets replies of backends through that are going to be translated.
fn admit_backends(plane: &mut impl DataPlane, writes: &[Write]) -> Result<()> {
    let mut admits = false;
    for write in writes {
        let tables = plane.tables();
        match write {
            Write::Destination { address, state, .. } if state.mode.is_nat() => {
                filter::admit_backend(tables.vip_filter, &backend_address_words(*address));
            }
            Write::Way { id, state, .. } if state.mode.is_nat() => {
                filter::admit_backend(tables.vip_filter, &tables.destinations[*id as usize].address().0);
            }
            _ => continue,
        }
        admits = true;
    }
    if admits { plane.publish_filter() } else { Ok(()) }
}

/// Gathers the steady words of the destinations of services that have other time-outs: for many services at once, since it
/// goes through all destinations. A new service has no flows yet; those of another go by its old time-outs until then.
fn publish_services(plane: &impl DataPlane, changed: &mut HashSet<u32>) {
    if !changed.is_empty() {
        steady::publish_where(&plane.tables(), |destination| changed.contains(&destination.state().service));
        changed.clear();
    }
}

/// Whether a write needs no steady words to be up to date: it neither ends what flows may go by nor lists a service.
fn leaves_services(write: &Write) -> bool {
    match write {
        Write::Destination { .. }
        | Write::NextHop { .. }
        | Write::Way { .. }
        | Write::State { .. }
        | Write::Score { .. }
        | Write::MostFlows { .. }
        | Write::ListBounds { .. }
        | Write::Limits { .. }
        | Write::Slots { .. }
        | Write::SlotChanges { .. }
        | Write::Service { .. }
        | Write::ServiceSlots { .. }
        | Write::ServiceOptions { .. }
        | Write::Egress { .. }
        | Write::PoolAddress { .. }
        | Write::PoolSize { .. }
        | Write::QuicConfiguration { .. }
        | Write::QuicServer { .. } => true,
        Write::LongestTimeouts(_)
        | Write::ServiceTable { .. }
        | Write::Quiesce
        | Write::FreeDestination { .. }
        | Write::FreeService { .. } => false,
    }
}

fn apply(plane: &mut impl DataPlane, write: &Write, tables: &mut Tables<'_>) -> Result<()> {
    match write {
        Write::Egress { index, record } => {
            // The device first: a packet that meets the new record must find it.
            plane.set_device(*index, record.ifindex)?;
            let egress = &plane.tables().egress[*index as usize];
            egress.set_in_vlan(record.source_mac, record.vlan, record.ifindex, record.mtu);
            steady::publish_where(&plane.tables(), |destination| destination.next_hop().egress == *index);
        }
        Write::PoolAddress { place, address, is_open } => {
            let (family, words) = address_words(*address);
            let tables = plane.tables();
            tables.nat_pool[pool_index(family, *place) as usize].set(&words, *is_open);
        }
        Write::PoolSize { family, size } => {
            plane.tables().control.set_pool(*family, *size);
        }
        Write::QuicConfiguration { index, record } => {
            plane.tables().quic_configurations[*index as usize].set(record);
        }
        Write::QuicServer { place, server } => {
            let (bucket, word) = (*place as usize / QUIC_BUCKET, *place as usize % QUIC_BUCKET);
            plane.tables().quic_servers[bucket].words[word].publish(server.to_bits());
        }
        Write::LongestTimeouts(timeouts) => {
            for (state, ticks) in FlowState::ALL.into_iter().zip(timeouts) {
                plane.tables().control.set_longest_timeout(state, *ticks);
            }
        }
        Write::Destination { id, address, port, next_hop, tunnel, state } => {
            // What nobody had before has no counts either; each renewal is two system calls.
            if plane.tables().destinations[*id as usize].state().generation != 0 {
                plane.renew_counters(*id)?;
            }
            let destination = &plane.tables().destinations[*id as usize];
            let score = &plane.tables().scores[*id as usize];
            score.set_terms(ScoreTerms::default());
            score.set_load(0);
            score.adjust_live(-score.live());
            score.set_most(0);
            set_tunnel(plane, *id, tunnel.as_ref(), *state);
            destination.set_address(&backend_address_words(*address), *port);
            destination.set_next_hop(*next_hop);
            destination.set_state(*state);
            steady::publish(&plane.tables(), *id);
        }
        Write::NextHop { id, next_hop } => {
            plane.tables().destinations[*id as usize].set_next_hop(*next_hop);
            steady::publish(&plane.tables(), *id);
        }
        Write::Way { id, tunnel, state } => {
            set_tunnel(plane, *id, tunnel.as_ref(), *state);
            plane.tables().destinations[*id as usize].set_state(*state);
            steady::publish(&plane.tables(), *id);
        }
        Write::State { id, state } => {
            plane.tables().destinations[*id as usize].set_state(*state);
            steady::publish(&plane.tables(), *id);
        }
        Write::Score { id, terms } => plane.tables().scores[*id as usize].set_terms(*terms),
        Write::MostFlows { id, most } => plane.tables().scores[*id as usize].set_most(*most),
        Write::ListBounds { offset, bounds } => {
            let places = &plane.tables().list_bounds[*offset as usize..][..bounds.len()];
            places.iter().zip(bounds.iter()).for_each(|(place, bound)| place.set(*bound));
        }
        // Its steady words follow: with a list they let the first packet in a tick take the long way.
        Write::Limits { index, settings } => plane.tables().limits[*index as usize].set(settings),
        Write::Slots { offset, .. } => {
            let ids = tables.next();
            let slots = &plane.tables().slots[*offset as usize..][..ids.len()];
            slots.iter().zip(ids).for_each(|(slot, id)| slot.store(id));
        }
        Write::SlotChanges { changes } => {
            let slots = plane.tables().slots;
            // Who finds a new destination finds its record as well.
            changes.iter().for_each(|(slot, id)| slots[*slot as usize].publish(*id));
        }
        Write::Service { index, prefix, identity, timeouts, slots } => {
            clear_limits(plane, *index)?;
            set_timeouts(plane, *index, timeouts);
            let service = &plane.tables().services[*index as usize];
            service.set_slots(*slots);
            service.set_identity(prefix, *identity);
        }
        Write::ServiceSlots { index, slots } => plane.tables().services[*index as usize].set_slots(*slots),
        Write::ServiceOptions { index, prefix, identity, timeouts } => {
            set_timeouts(plane, *index, timeouts);
            plane.tables().services[*index as usize].set_identity(prefix, *identity);
        }
        Write::ServiceTable { offset, table } => {
            table.stage(&plane.tables(), *offset);
            plane.publish_filter()?;
            table.switch(&plane.tables());
            plane.publish_filter()?;
        }
        Write::Quiesce => plane.quiesce()?,
        Write::FreeDestination { id } => {
            let destination = &plane.tables().destinations[*id as usize];
            let generation = destination.state().generation;
            destination.set_state(DestinationState { generation, ..Default::default() });
            plane.tables().scores[*id as usize].set_most(0);
        }
        Write::FreeService { index } => {
            plane.tables().services[*index as usize].clear();
            plane.tables().limits[*index as usize].set(&LimitSettings::default());
        }
    }
    Ok(())
}

/// The slots of the tables that are written, made on all CPUs some at a time: all together they may be most of the memory.
struct Tables<'a> {
    ahead: std::vec::IntoIter<&'a SlotTable>,
    made: std::vec::IntoIter<Vec<u32>>,
}

impl<'a> Tables<'a> {
    fn of(writes: &'a [Write]) -> Self {
        let table = |write: &'a Write| match write {
            Write::Slots { table, .. } => Some(table),
            _ => None,
        };
        let ahead: Vec<_> = writes.iter().filter_map(table).collect();
        Self { ahead: ahead.into_iter(), made: Vec::new().into_iter() }
    }

    /// The slots of the next one.
    fn next(&mut self) -> Vec<u32> {
        if self.made.len() == 0 {
            let some: Vec<_> = self.ahead.by_ref().take(AHEAD).collect();
            self.made = slots_of_all(&some).into_iter();
        }
        self.made.next().unwrap_or_default()
    }
}

/// Writes the outer header that a state names.
fn set_tunnel(plane: &impl DataPlane, id: u32, tunnel: Option<&TunnelEnds>, state: DestinationState) {
    if let Some(ends) = tunnel {
        plane.tables().tunnels[tunnel_index(id, state)].set(ends);
    }
}

fn set_timeouts(plane: &impl DataPlane, index: u32, timeouts: &TimeoutTicks) {
    for (state, ticks) in FlowState::ALL.into_iter().zip(timeouts) {
        plane.tables().services[index as usize].set_timeout(state, *ticks);
    }
}

/// A service without limits, of which nothing was ever refused.
fn clear_limits(plane: &mut impl DataPlane, index: u32) -> Result<()> {
    let tables = plane.tables();
    let limits = &tables.limits[index as usize];
    limits.set(&LimitSettings::default());
    limits.fill();
    plane.renew_limit_counters(index)
}

fn name(write: &Write) -> String {
    match write {
        Write::Egress { index, .. } => format!("egress {index}"),
        Write::PoolAddress { address, .. } => format!("pool address {address}"),
        Write::PoolSize { size, .. } => format!("a pool of {size} addresses"),
        Write::QuicConfiguration { index, .. } => format!("QUIC configuration {index}"),
        Write::QuicServer { place, .. } => format!("server id {place}"),
        Write::LongestTimeouts(_) => "the longest time-outs".to_owned(),
        Write::Destination { id, .. }
        | Write::NextHop { id, .. }
        | Write::Way { id, .. }
        | Write::State { id, .. }
        | Write::Score { id, .. }
        | Write::MostFlows { id, .. }
        | Write::FreeDestination { id } => format!("destination {id}"),
        Write::Slots { offset, table } => format!("{} slots at {offset}", table.size()),
        Write::ListBounds { offset, bounds } => format!("{} bounds of prefixes at {offset}", bounds.len()),
        Write::SlotChanges { changes } => format!("{} single slots", changes.len()),
        Write::Service { index, .. }
        | Write::ServiceSlots { index, .. }
        | Write::ServiceOptions { index, .. }
        | Write::Limits { index, .. }
        | Write::FreeService { index } => format!("service {index}"),
        Write::ServiceTable { .. } => "the service table".to_owned(),
        Write::Quiesce => "nothing, but waiting for a grace period".to_owned(),
    }
}
