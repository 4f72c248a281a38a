//! Carries out a plan.

use anyhow::{Context, Result};
use lb_common::{flow::FlowState, steady};

use super::DataPlane;
use crate::plan::{Write, desired::address_words, write::TimeoutTicks};

/// Carries out writes in their order. Each leaves the tables consistent, so it does not matter where this is interrupted:
/// planning again from the tables goes on from there.
///
/// # Errors
///
/// The first write that fails; later ones are not tried.
pub fn publish(plane: &mut impl DataPlane, writes: &[Write]) -> Result<()> {
    for write in writes {
        apply(plane, write).with_context(|| format!("while writing {}", name(write)))?;
    }
    Ok(())
}

fn apply(plane: &mut impl DataPlane, write: &Write) -> Result<()> {
    match write {
        Write::Egress { index, record } => {
            // The device first: a packet that meets the new record must find it.
            plane.set_device(*index, record.ifindex)?;
            plane.tables().egress[*index as usize].set(record.source_mac, record.ifindex, record.mtu);
            steady::publish_where(&plane.tables(), |destination| destination.next_hop().egress == *index);
        }
        Write::LongestTimeouts(timeouts) => {
            for (state, ticks) in FlowState::ALL.into_iter().zip(timeouts) {
                plane.tables().control.set_longest_timeout(state, *ticks);
            }
        }
        Write::Destination { id, address, port, next_hop, state } => {
            // What nobody had before has no counts either; each clearing is a system call.
            if plane.tables().destinations[*id as usize].state().generation != 0 {
                plane.clear_counters(*id)?;
            }
            let destination = &plane.tables().destinations[*id as usize];
            destination.set_address(&address_words(*address).1, *port);
            destination.set_next_hop(*next_hop);
            destination.set_state(*state);
            steady::publish(&plane.tables(), *id);
        }
        Write::NextHop { id, next_hop } => {
            plane.tables().destinations[*id as usize].set_next_hop(*next_hop);
            steady::publish(&plane.tables(), *id);
        }
        Write::State { id, state } => {
            plane.tables().destinations[*id as usize].set_state(*state);
            steady::publish(&plane.tables(), *id);
        }
        Write::Slots { offset, ids } => {
            let slots = &plane.tables().slots[*offset as usize..][..ids.len()];
            for (slot, id) in slots.iter().zip(ids.iter()) {
                slot.store(*id);
            }
        }
        Write::SlotChanges { changes } => {
            let slots = plane.tables().slots;
            changes.iter().for_each(|(slot, id)| slots[*slot as usize].store(*id));
        }
        Write::Service { index, prefix, identity, timeouts, slots } => {
            set_timeouts(plane, *index, timeouts);
            let service = &plane.tables().services[*index as usize];
            service.set_slots(*slots);
            service.set_identity(prefix, *identity);
            steady::publish_where(&plane.tables(), |destination| destination.state().service == *index);
        }
        Write::ServiceSlots { index, slots } => plane.tables().services[*index as usize].set_slots(*slots),
        Write::ServiceOptions { index, prefix, identity, timeouts } => {
            set_timeouts(plane, *index, timeouts);
            plane.tables().services[*index as usize].set_identity(prefix, *identity);
            steady::publish_where(&plane.tables(), |destination| destination.state().service == *index);
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
            destination.set_state(lb_common::abi::DestinationState { generation, ..Default::default() });
        }
        Write::FreeService { index } => plane.tables().services[*index as usize].clear(),
    }
    Ok(())
}

fn set_timeouts(plane: &impl DataPlane, index: u32, timeouts: &TimeoutTicks) {
    for (state, ticks) in FlowState::ALL.into_iter().zip(timeouts) {
        plane.tables().services[index as usize].set_timeout(state, *ticks);
    }
}

fn name(write: &Write) -> String {
    match write {
        Write::Egress { index, .. } => format!("egress {index}"),
        Write::LongestTimeouts(_) => "the longest time-outs".to_owned(),
        Write::Destination { id, .. }
        | Write::NextHop { id, .. }
        | Write::State { id, .. }
        | Write::FreeDestination { id } => format!("destination {id}"),
        Write::Slots { offset, ids } => format!("{} slots at {offset}", ids.len()),
        Write::SlotChanges { changes } => format!("{} single slots", changes.len()),
        Write::Service { index, .. }
        | Write::ServiceSlots { index, .. }
        | Write::ServiceOptions { index, .. }
        | Write::FreeService { index } => format!("service {index}"),
        Write::ServiceTable { .. } => "the service table".to_owned(),
        Write::Quiesce => "nothing, but waiting for a grace period".to_owned(),
    }
}
