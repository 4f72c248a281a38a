//! Steps: a packet, or a change of the tables that both machines go through alike.

use lb_common::{
    abi::{NextHop, SlotRange},
    flow::{FlowEntry, FlowState, FlowWord, TICK_MASK},
    hash::finish,
    memory::Slices,
};

use super::{recipe::Recipe, setting::services};
use crate::{
    machine::Machine,
    world::{self, Backend, State},
};

/// One step. Services count from 0, time is in ticks.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A packet arrives.
    Packet(Recipe),
    /// A service table with these services is built and put in force.
    Table([bool; super::setting::SERVICES]),
    /// Whether a service rejects where it has no backend.
    Policy { service: usize, reject: bool },
    /// A time-out; with it the longest of all services.
    Timeout { service: usize, state: FlowState, ticks: u32 },
    /// A service gets other slots, written where its present ones do not lie.
    Slots { service: usize, ids: Vec<u32> },
    /// A service's slots are somewhere, in the array or not.
    Range { service: usize, offset: u32, size: u32 },
    /// A destination drains, is gone, or its id belongs to another backend.
    State { service: usize, backend: Backend, state: State },
    /// A next hop is resolved or lost.
    NextHop { service: usize, backend: Backend, egress: u32 },
    /// An interface comes or goes.
    Interface { egress: u32, ifindex: u32 },
    /// All flows grow older; younger, as other CPUs' clocks have it, where it is negative.
    Age(i32),
    /// One flow does, found by counting around the table.
    AgeOne { place: u8, ticks: i32 },
    /// Flows of other clients are written over whatever is there.
    Strangers(Vec<Stranger>),
    /// Every place that is free is taken by a flow of other clients.
    Fill { salt: u64, state: FlowState, age: i32 },
    /// All flows are forgotten.
    Clear,
    /// What is left of the budget for replies, and when it was filled last.
    Budget { tokens: u16, age: u32 },
}

/// A flow that no packet of ours belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stranger {
    pub(super) place: u8,
    pub(super) tag: u64,
    pub(super) id: u32,
    pub(super) generation: u16,
    pub(super) state: FlowState,
    pub(super) age: i32,
}

/// Carries out a step that is neither a packet nor a budget.
pub(super) fn apply(step: &Step, machine: &mut impl Machine, now: u32) {
    match step {
        Step::Packet(_) | Step::Budget { .. } => {}
        Step::Table(chosen) => world::switch_table(machine, &services(), |service| chosen[service]),
        Step::Policy { service, reject } => {
            let mut description = services()[*service].clone();
            description.reject = *reject;
            world::set_identity(machine, *service, &description);
        }
        Step::Timeout { service, state, ticks } => timeout(&machine.tables(), *service, *state, *ticks),
        Step::Slots { service, ids } => world::set_slot_ids(machine, *service, ids),
        Step::Range { service, offset, size } => {
            machine.tables().services[service + 1].set_slots(SlotRange { offset: *offset, size: *size });
        }
        Step::State { service, backend, state } => world::set_state(machine, *service, *backend, *state),
        Step::NextHop { service, backend, egress } => {
            let next_hop = NextHop { mac: NextHop::mac_word(backend.mac()), egress: *egress };
            machine.tables().destinations[backend.id(*service) as usize].set_next_hop(next_hop);
        }
        Step::Interface { egress, ifindex } => {
            machine.tables().egress[*egress as usize].set(world::NEAR_MAC, *ifindex, 1500);
        }
        _ => flows(step, &machine.tables(), now),
    }
}

fn timeout(tables: &Slices<'_>, service: usize, state: FlowState, ticks: u32) {
    tables.services[service + 1].set_timeout(state, ticks);
    let longest = tables.services.iter().map(|service| service.timeout(state)).max();
    tables.control.set_longest_timeout(state, longest.unwrap_or(0));
}

/// Carries out a change of the flow table.
fn flows(step: &Step, tables: &Slices<'_>, now: u32) {
    let entries: Vec<&FlowEntry> = tables.flows.iter().flat_map(|bucket| &bucket.entries).collect();
    let at = |place: u8| entries[usize::from(place) % entries.len()];
    let seen = |age: i32| now.wrapping_sub(age as u32);
    match step {
        Step::Age(ticks) => entries.iter().for_each(|entry| age(entry, *ticks)),
        Step::AgeOne { place, ticks } => age(at(*place), *ticks),
        Step::Strangers(strangers) => {
            for stranger in strangers {
                let Stranger { place, tag, id, generation, state, age } = *stranger;
                at(place).store(tag, FlowWord::new(id, generation, state, seen(age)));
            }
        }
        Step::Fill { salt, state, age } => {
            let free = entries.iter().enumerate().filter(|(_, entry)| entry.word().state().is_none());
            for (number, entry) in free {
                let tag = finish(salt ^ number as u64);
                let id = 1 + (tag % (tables.destinations.len() as u64 - 1)) as u32;
                let generation = tables.destinations[id as usize].state().generation;
                entry.store(tag, FlowWord::new(id, generation, *state, seen(*age)));
            }
        }
        Step::Clear => entries.iter().for_each(|entry| entry.store(0, FlowWord::EMPTY)),
        _ => {}
    }
}

fn age(entry: &FlowEntry, ticks: i32) {
    let word = entry.word();
    if let Some(state) = word.state() {
        let seen = (word.to_bits() as u32 & TICK_MASK).wrapping_sub(ticks as u32);
        entry.refresh(word.refreshed(state, seen));
    }
}
