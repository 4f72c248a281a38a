//! An independent model of what a program under way may still read.
//!
//! It follows the writes alone. What a packet can reach now, or could reach at any time since the last grace period, must not
//! be overwritten nor given away; pointers lead to whole records only.

use std::{collections::BTreeMap, collections::BTreeSet, ops::Range};

use evenkeel::plan::{Write, write::TimeoutTicks};
use lb_common::{
    abi::{DestinationState, SlotRange, tunnel_index},
    memory::Sizes,
};

/// What was written so far.
#[derive(Clone, Debug)]
pub(crate) struct Checker {
    slots: Vec<u32>,
    services: BTreeMap<u32, Service>,
    destinations: BTreeMap<u32, Destination>,
    generations: BTreeMap<u32, u16>,
    /// Interface and VLAN by index.
    egress: BTreeMap<u32, (u32, u16)>,
    longest: TimeoutTicks,
    /// The destination that each word of the table of server ids names; 0: none.
    server_ids: BTreeMap<u32, u32>,
    /// Buckets and services of the table in force.
    buckets: Range<u32>,
    listed: BTreeSet<u32>,
    half: u32,
    recent: Reach,
    /// First bound and what is behind the last one, by service.
    lists: BTreeMap<u32, (u32, u32)>,
}

#[derive(Clone, Debug)]
struct Service {
    range: Range<u32>,
    ids: BTreeSet<u32>,
    timeouts: TimeoutTicks,
}

#[derive(Clone, Debug)]
struct Destination {
    state: DestinationState,
    egress: u32,
}

/// What a packet can reach.
#[derive(Clone, Debug, Default)]
struct Reach {
    services: BTreeSet<u32>,
    destinations: BTreeSet<u32>,
    egress: BTreeSet<u32>,
    tunnels: BTreeSet<usize>,
    slots: BTreeSet<(u32, u32)>,
    buckets: BTreeSet<(u32, u32)>,
    lists: BTreeSet<(u32, u32)>,
}

fn overlaps(ranges: &BTreeSet<(u32, u32)>, range: &Range<u32>) -> bool {
    ranges.iter().any(|(start, end)| *start < range.end && range.start < *end)
}

impl Checker {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self {
            slots: vec![0; sizes.slots],
            services: BTreeMap::new(),
            destinations: BTreeMap::new(),
            generations: BTreeMap::new(),
            egress: BTreeMap::new(),
            longest: [0; 5],
            server_ids: BTreeMap::new(),
            buckets: 0..0,
            listed: BTreeSet::new(),
            half: sizes.service_buckets as u32 / 2,
            recent: Reach::default(),
            lists: BTreeMap::new(),
        }
    }

    /// Checks a write and follows it.
    pub(crate) fn follow(&mut self, write: &Write) {
        self.check(write);
        self.apply(write);
        let now = self.reach();
        if matches!(write, Write::Quiesce) {
            self.recent = now;
        } else {
            self.recent.join(now);
        }
    }

    fn check(&self, write: &Write) {
        let recent = &self.recent;
        match write {
            Write::Egress { index, record } => {
                let other = self.egress.get(index).is_some_and(|found| *found != (record.ifindex, record.vlan));
                assert!(!other || !recent.egress.contains(index), "egress {index} is in use");
            }
            Write::Destination { id, state, .. } => {
                assert!(!recent.destinations.contains(id), "destination {id} is in use");
                assert!(!self.destinations.contains_key(id), "destination {id} was not freed");
                assert_ne!(self.generations.get(id), Some(&state.generation), "generation of {id}");
                assert_ne!(state.generation, 0);
            }
            Write::Way { id, state, .. } => {
                assert!(!recent.tunnels.contains(&tunnel_index(*id, *state)), "a header of {id} is in use");
                let before = self.destinations[id].state;
                let (mode, toa, second_tunnel) = (before.mode, before.toa, before.second_tunnel);
                let same = DestinationState { mode, toa, second_tunnel, ..*state };
                assert_eq!(before, same, "more than the way of {id} changes");
            }
            Write::Score { id, .. } => assert!(self.destinations.contains_key(id), "{id} has no score"),
            Write::State { id, state } => {
                assert_eq!(self.destinations[id].state.generation, state.generation);
                assert_eq!(self.destinations[id].state.service, state.service);
            }
            Write::Slots { offset, table } => {
                let range = *offset..*offset + table.size();
                assert!(!overlaps(&recent.slots, &range), "slots {range:?} are in use");
            }
            Write::ListBounds { offset, bounds } => {
                let range = *offset..*offset + bounds.len() as u32;
                assert!(!overlaps(&recent.lists, &range), "bounds {range:?} are in use");
                assert!(bounds.is_sorted_by(|a, b| a < b), "bounds ascend");
            }
            Write::MostFlows { id, .. } => assert!(self.destinations.contains_key(id), "{id} has no limit"),
            Write::Limits { index, .. } => assert!(self.services.contains_key(index), "{index} has no limits"),
            Write::Service { index, .. } => {
                assert!(!recent.services.contains(index), "service {index} is in use");
                assert!(!self.services.contains_key(index), "service {index} was not freed");
            }
            Write::SlotChanges { changes } => {
                // In the slots of one service each slot is a word of its own; which service, `reach` checks.
                let ranges: Vec<_> = self.services.values().map(|service| service.range.clone()).collect();
                let whole = |range: &Range<u32>| changes.iter().all(|(slot, _)| range.contains(slot));
                assert_eq!(ranges.iter().filter(|range| whole(range)).count(), 1, "changes of one service");
                assert!(changes.iter().all(|(slot, id)| self.slots[*slot as usize] != *id), "a slot that stays");
            }
            Write::ServiceTable { offset, table } => {
                let range = *offset..*offset + table.buckets.len() as u32;
                assert!(!overlaps(&recent.buckets, &range), "buckets {range:?} are in use");
                assert_eq!(
                    range.start / self.half,
                    (range.end - 1) / self.half,
                    "buckets {range:?} are in both halves"
                );
            }
            Write::FreeDestination { id } => {
                assert!(!recent.destinations.contains(id), "destination {id} is in use");
                assert!(self.server_ids.values().all(|named| named != id), "a server id names destination {id}");
            }
            Write::QuicServer { place, server } => {
                let named = server.destination();
                assert!(named == 0 || self.destinations.contains_key(&named), "server id {place} names nobody");
                assert_ne!(self.server_ids.get(place).copied().unwrap_or(0), named, "server id {place} stays");
            }
            Write::FreeService { index } => assert!(!recent.services.contains(index), "service {index} is in use"),
            _ => {}
        }
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Egress { index, record } => drop(self.egress.insert(*index, (record.ifindex, record.vlan))),
            Write::PoolAddress { .. } | Write::PoolSize { .. } | Write::QuicConfiguration { .. } => {}
            Write::QuicServer { place, server } => drop(self.server_ids.insert(*place, server.destination())),
            Write::Score { .. } | Write::MostFlows { .. } | Write::ListBounds { .. } => {}
            Write::Limits { index, settings } => {
                let list = settings.list;
                self.lists.insert(*index, (list.offset, list.offset + list.size));
            }
            Write::LongestTimeouts(longest) => self.longest = *longest,
            Write::Destination { id, next_hop, state, .. } => {
                self.generations.insert(*id, state.generation);
                self.destinations.insert(*id, Destination { state: *state, egress: next_hop.egress });
            }
            Write::NextHop { id, next_hop } => self.destination(*id).egress = next_hop.egress,
            Write::Way { id, state, .. } | Write::State { id, state } => self.destination(*id).state = *state,
            Write::Slots { offset, table } => {
                self.slots[*offset as usize..][..table.size() as usize].copy_from_slice(&table.slots());
            }
            Write::SlotChanges { changes } => {
                changes.iter().for_each(|(slot, id)| self.slots[*slot as usize] = *id);
                for service in self.services.values_mut() {
                    let slots = &self.slots[service.range.start as usize..service.range.end as usize];
                    service.ids = slots.iter().copied().collect();
                }
            }
            Write::Service { index, timeouts, slots, .. } => {
                let service = Service { range: 0..0, ids: BTreeSet::new(), timeouts: *timeouts };
                self.services.insert(*index, service);
                self.point(*index, *slots);
            }
            Write::ServiceSlots { index, slots } => self.point(*index, *slots),
            Write::ServiceOptions { index, timeouts, .. } => {
                self.services.get_mut(index).expect("a service").timeouts = *timeouts;
            }
            Write::ServiceTable { offset, table } => {
                self.buckets = *offset..*offset + table.buckets.len() as u32;
                self.listed = table.buckets.iter().flatten().map(|(_, index)| *index).filter(|i| *i != 0).collect();
            }
            Write::Quiesce => {}
            Write::FreeDestination { id } => assert!(self.destinations.remove(id).is_some(), "{id} was free"),
            Write::FreeService { index } => {
                self.lists.remove(index);
                assert!(self.services.remove(index).is_some(), "{index} was free");
            }
        }
    }

    fn destination(&mut self, id: u32) -> &mut Destination {
        self.destinations.get_mut(&id).expect("a destination")
    }

    fn point(&mut self, index: u32, slots: SlotRange) {
        let range = slots.offset..slots.offset + slots.size;
        let ids = self.slots[range.start as usize..range.end as usize].iter().copied().collect();
        let service = self.services.get_mut(&index).expect("a service");
        (service.range, service.ids) = (range, ids);
    }

    fn reach(&self) -> Reach {
        let mut reach = Reach { services: self.listed.clone(), ..Reach::default() };
        reach.buckets.insert((self.buckets.start, self.buckets.end));
        for index in &self.listed {
            let service = &self.services[index];
            reach.slots.insert((service.range.start, service.range.end));
            reach.destinations.extend(&service.ids);
            reach.lists.extend(self.lists.get(index));
            let longest = self.longest.iter().zip(&service.timeouts).all(|(longest, timeout)| longest >= timeout);
            assert!(longest, "time-outs of service {index} are above the longest");
            let own = |id: &u32| self.destinations.get(id).is_some_and(|found| found.state.service == *index);
            assert!(service.ids.iter().all(own), "slots of service {index} hold what is not its own");
        }
        // Entries of flows lead to what keeps them.
        let kept = self
            .destinations
            .iter()
            .filter(|(_, found)| found.state.keeps_flows && self.listed.contains(&found.state.service));
        reach.destinations.extend(kept.map(|(id, _)| *id));
        let tunnelled = |id: &&u32| self.destinations[*id].state.mode.is_tunnel();
        let tunnels = reach.destinations.iter().filter(tunnelled);
        reach.tunnels = tunnels.map(|id| tunnel_index(*id, self.destinations[id].state)).collect();
        reach.egress = reach.destinations.iter().map(|id| self.destinations[id].egress).collect();
        reach
    }

    /// Places in use: services, destinations.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.services.len(), self.destinations.len())
    }
}

impl Reach {
    fn join(&mut self, other: Self) {
        self.services.extend(other.services);
        self.destinations.extend(other.destinations);
        self.egress.extend(other.egress);
        self.tunnels.extend(other.tunnels);
        self.slots.extend(other.slots);
        self.buckets.extend(other.buckets);
        self.lists.extend(other.lists);
    }
}
