//! What the tables say: read once when they are adopted, then kept up by the writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use imbl::{OrdMap, Vector};
use lb_common::{
    abi::{
        DestinationState, FRAGMENTS_HASH, LimitSettings, ListBound, NextHop, ScoreTerms, ServiceIdentity, SlotRange,
        TunnelEnds, tunnel_index,
    },
    flow::FlowState,
    memory::Slices,
    parse::Family,
    service::builder::{Rule, Table},
    wire::ip::Protocol,
};

use super::{
    allocate::{Places, Ranges},
    desired::{BackendKey, ServiceKey, address_words, backend_address_of},
    pool::{self, Pool},
    quic::QuicTables,
    write::{EgressRecord, TimeoutTicks, Write},
};

/// Content of the tables.
///
/// A plan works on a clone. What grows with the tables shares its structure with its clones, so a clone costs next to
/// nothing, and a change of it what changes.
#[derive(Clone, Debug)]
pub struct Actual {
    /// Services by what they answer to.
    pub services: OrdMap<ServiceKey, Arc<ActualService>>,
    /// Destinations by id.
    pub destinations: Destinations,
    /// Egress interfaces by index.
    pub egress: BTreeMap<u32, EgressRecord>,
    /// Source addresses of `full-nat` by family and place.
    pub pool: [Pool; 2],
    /// Configurations of QUIC-LB and server ids.
    pub quic: QuicTables,
    /// Longest time-outs.
    pub longest_timeouts: TimeoutTicks,
    /// Used slots, those of replaced ranges included until a grace period has passed.
    pub slots: Ranges,
    /// Prefix lists by their first bound, those of replaced ones included until a grace period has passed.
    pub lists: OrdMap<u32, Arc<[u128]>>,
    /// Their ranges.
    pub list_ranges: Ranges,
    /// Used places for services.
    pub service_places: Places,
    /// Used places for destinations.
    pub destination_places: Places,
    /// The service table in force: first bucket and number of buckets.
    pub table: SlotRange,
    /// Generations of all destination places.
    generations: Vector<u16>,
    /// Services by place.
    keys: OrdMap<u32, ServiceKey>,
    /// Destinations by the place of their service, which is not written yet.
    early: BTreeMap<u32, Vec<(BackendKey, u32)>>,
    /// Destinations that were found without their service.
    orphans: BTreeSet<u32>,
    /// Slots that were replaced since the last grace period.
    retired: Vec<u32>,
    /// Prefix lists that were replaced since then.
    retired_lists: Vec<u32>,
    /// There was no grace period since something was replaced, or it is not known.
    unsettled: bool,
}

/// A service in the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActualService {
    /// Its place.
    pub index: u32,
    /// Its policy and what it answers to.
    pub identity: ServiceIdentity,
    /// Its time-outs.
    pub timeouts: TimeoutTicks,
    /// Its slots.
    pub slots: SlotRange,
    /// Its limits.
    pub limits: LimitSettings,
    /// Its destinations.
    pub backends: BTreeMap<BackendKey, u32>,
}

/// A destination in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActualDestination {
    /// The backend.
    pub backend: BackendKey,
    /// The state word.
    pub state: DestinationState,
    /// The next-hop word.
    pub next_hop: NextHop,
    /// Its outer header, if it is reached through a tunnel.
    pub tunnel: Option<TunnelEnds>,
    /// What its score is made of.
    pub score: ScoreTerms,
    /// How many live flows it may have; 0: any number.
    pub most: u32,
}

/// Destinations by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations(Vector<Option<ActualDestination>>);

impl Destinations {
    fn new(places: usize) -> Self {
        Self((0..places).map(|_| None).collect())
    }

    /// The destination in a place.
    #[must_use]
    pub fn get(&self, id: &u32) -> Option<&ActualDestination> {
        self.0.get(*id as usize)?.as_ref()
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &ActualDestination)> {
        self.0.iter().zip(0..).filter_map(|(found, id)| Some((id, found.as_ref()?)))
    }

    fn insert(&mut self, id: u32, destination: ActualDestination) {
        self.0.set(id as usize, Some(destination));
    }

    fn remove(&mut self, id: u32) -> Option<ActualDestination> {
        self.0.get_mut(id as usize)?.take()
    }

    fn change(&mut self, id: u32, change: impl FnOnce(&mut ActualDestination)) {
        if let Some(Some(found)) = self.0.get_mut(id as usize) {
            change(found);
        }
    }
}

impl std::ops::Index<&u32> for Destinations {
    type Output = ActualDestination;

    fn index(&self, id: &u32) -> &ActualDestination {
        self.get(id).expect("a destination")
    }
}

impl Actual {
    /// Reads the tables.
    #[must_use]
    pub fn read(tables: &Slices<'_>) -> Self {
        let header = tables.control.active();
        let (salt, offset, mask) = header.place();
        let mut actual = Self {
            services: OrdMap::new(),
            destinations: Destinations::new(tables.destinations.len()),
            egress: read_egress(tables),
            pool: [Family::V4, Family::V6].map(|family| pool::read(tables.control, tables.nat_pool, family)),
            quic: QuicTables::read(tables.quic_configurations, tables.quic_servers),
            longest_timeouts: FlowState::ALL.map(|state| tables.control.longest_timeout(state as usize)),
            slots: Ranges::default(),
            lists: OrdMap::new(),
            list_ranges: Ranges::default(),
            service_places: Places::new(tables.services.len()),
            destination_places: Places::new(tables.destinations.len()),
            // Fresh tables have a header of zeros: no salt, and nothing in the one bucket.
            table: SlotRange { offset, size: if salt == 0 { 0 } else { mask + 1 } },
            generations: tables.destinations.iter().map(|destination| destination.state().generation).collect(),
            keys: OrdMap::new(),
            early: BTreeMap::new(),
            orphans: BTreeSet::new(),
            retired: Vec::new(),
            retired_lists: Vec::new(),
            unsettled: true,
        };
        actual.read_services(tables);
        actual.read_destinations(tables);
        actual
    }

    fn read_services(&mut self, tables: &Slices<'_>) {
        for (index, service) in tables.services.iter().enumerate().skip(1) {
            let Some((prefix, identity)) = service.identity() else { continue };
            let slots = service.slots();
            self.slots.insert(slots.offset, slots.size);
            let timeouts = FlowState::ALL.map(|state| service.timeout(state));
            self.insert_service(index as u32, prefix, identity, timeouts, slots);
            self.read_limits(tables, index as u32);
        }
    }

    fn read_limits(&mut self, tables: &Slices<'_>, index: u32) {
        let settings = tables.limits[index as usize].settings();
        let (offset, size) = (settings.list.offset, settings.list.size);
        let bounds = tables.list_bounds.iter().skip(offset as usize).take(size as usize).map(ListBound::get);
        self.insert_list(offset, bounds.collect());
        if let Some(service) = self.service_at(index) {
            service.limits = settings;
        }
    }

    fn insert_list(&mut self, offset: u32, bounds: Arc<[u128]>) {
        if !bounds.is_empty() {
            self.list_ranges.insert(offset, bounds.len() as u32);
            self.lists.insert(offset, bounds);
        }
    }

    fn remove_list(&mut self, offset: u32) {
        self.list_ranges.remove(offset);
        self.lists.remove(&offset);
    }

    /// The bounds of a service's prefix list.
    #[must_use]
    pub fn bounds(&self, limits: &LimitSettings) -> &[u128] {
        let list = if limits.list.size > 0 { self.lists.get(&limits.list.offset) } else { None };
        list.map_or(&[], |bounds| bounds)
    }

    fn read_destinations(&mut self, tables: &Slices<'_>) {
        for (id, destination) in tables.destinations.iter().enumerate().skip(1) {
            let (id, state) = (id as u32, destination.state());
            if let Some(service) = self.keys.get(&state.service) {
                let (words, port) = destination.address();
                let backend = (backend_address_of(&words), port);
                let tunnel =
                    state.mode.is_tunnel().then(|| tables.tunnels[tunnel_index(id, state)].ends(service.family));
                let next_hop = destination.next_hop();
                let (score, most) = (tables.scores[id as usize].terms(), tables.scores[id as usize].most());
                self.insert_destination(id, ActualDestination { backend, state, next_hop, tunnel, score, most });
            } else if state.service != 0 {
                self.destination_places.insert(id);
                self.orphans.insert(id);
            }
        }
    }

    fn insert_destination(&mut self, id: u32, destination: ActualDestination) {
        self.destination_places.insert(id);
        self.generations[id as usize] = destination.state.generation;
        let index = destination.state.service;
        match self.service_at(index) {
            Some(service) => drop(service.backends.insert(destination.backend, id)),
            None => self.early.entry(index).or_default().push((destination.backend, id)),
        }
        self.destinations.insert(id, destination);
    }

    fn service_at(&mut self, index: u32) -> Option<&mut ActualService> {
        self.services.get_mut(self.keys.get(&index)?).map(Arc::make_mut)
    }

    /// What the service in a place answers to.
    #[must_use]
    pub fn key_of(&self, index: u32) -> Option<&ServiceKey> {
        self.keys.get(&index)
    }

    /// Destinations of services that are not there: whoever wrote them ended before the service was written.
    pub(super) fn orphans(&self) -> Vec<u32> {
        let early = self.early.values().flatten().map(|(_, id)| *id);
        self.orphans.iter().copied().chain(early).collect()
    }

    /// Whether programs may still use what was replaced before.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Whether a grace period would free slots.
    pub(super) fn has_retired_slots(&self) -> bool {
        !self.retired.is_empty()
    }

    /// The generation that the next backend in a place gets: never 0, and different from those of at least the last
    /// 4 000 backends that had it.
    #[must_use]
    pub fn next_generation(&self, id: u32) -> u16 {
        let mask = (1 << lb_common::abi::GENERATION_BITS) - 1;
        match (self.generations[id as usize] + 1) & mask {
            0 => 1,
            generation => generation,
        }
    }

    /// Follows a write.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Egress { index, record } => {
                self.egress.insert(*index, *record);
            }
            Write::PoolSize { .. } => {}
            Write::PoolAddress { place, address, is_open } => {
                let pool = &mut self.pool[address_words(*address).0 as usize];
                pool.resize((*place as usize + 1).max(pool.len()), (*address, false));
                pool[*place as usize] = (*address, *is_open);
            }
            Write::QuicConfiguration { index, record } => self.quic.set_configuration(*index, record),
            Write::QuicServer { place, server } => self.quic.set_server(*place, *server),
            Write::LongestTimeouts(timeouts) => self.longest_timeouts = *timeouts,
            Write::Destination { id, address, port, next_hop, tunnel, state } => {
                let backend: (IpAddr, u16) = (*address, *port);
                self.insert_destination(
                    *id,
                    ActualDestination {
                        backend,
                        state: *state,
                        next_hop: *next_hop,
                        tunnel: *tunnel,
                        score: ScoreTerms::default(),
                        most: 0,
                    },
                );
            }
            Write::NextHop { id, next_hop } => {
                self.destinations.change(*id, |found| found.next_hop = *next_hop);
            }
            Write::Way { id, tunnel, state } => {
                self.destinations.change(*id, |found| (found.tunnel, found.state) = (*tunnel, *state));
                self.unsettled = true;
            }
            Write::Score { id, terms } => self.destinations.change(*id, |found| found.score = *terms),
            Write::MostFlows { id, most } => self.destinations.change(*id, |found| found.most = *most),
            Write::ListBounds { offset, bounds } => self.insert_list(*offset, bounds.clone()),
            Write::Limits { index, settings } => self.switch_limits(*index, *settings),
            Write::State { id, state } => {
                self.destinations.change(*id, |found| found.state = *state);
            }
            Write::SlotChanges { .. } => {}
            Write::Slots { offset, table } => self.slots.insert(*offset, table.size()),
            Write::Service { index, prefix, identity, timeouts, slots } => {
                self.insert_service(*index, *prefix, *identity, *timeouts, *slots);
            }
            Write::ServiceSlots { index, slots } => self.switch_slots(*index, *slots),
            Write::ServiceOptions { index, identity, timeouts, .. } => {
                if let Some(service) = self.service_at(*index) {
                    service.identity = *identity;
                    service.timeouts = *timeouts;
                }
            }
            Write::ServiceTable { offset, table } => self.switch_table(*offset, table),
            Write::Quiesce => {
                self.unsettled = false;
                for offset in self.retired.drain(..) {
                    self.slots.remove(offset);
                }
                for offset in std::mem::take(&mut self.retired_lists) {
                    self.remove_list(offset);
                }
            }
            Write::FreeDestination { id } => self.remove_destination(*id),
            Write::FreeService { index } => self.remove_service(*index),
        }
    }

    fn insert_service(
        &mut self,
        index: u32,
        prefix: [u32; 4],
        identity: ServiceIdentity,
        timeouts: TimeoutTicks,
        slots: SlotRange,
    ) {
        let key = ServiceKey {
            family: identity.family,
            prefix,
            prefix_length: identity.prefix_length,
            protocol: identity.protocol,
            first_port: identity.first_port,
            last_port: identity.last_port,
        };
        self.service_places.insert(index);
        self.keys.insert(index, key);
        let limits = LimitSettings::default();
        let backends = self.early.remove(&index).into_iter().flatten().collect();
        self.services.insert(key, Arc::new(ActualService { index, identity, timeouts, slots, limits, backends }));
    }

    fn switch_slots(&mut self, index: u32, slots: SlotRange) {
        let Some(service) = self.service_at(index) else { return };
        let before = std::mem::replace(&mut service.slots, slots);
        if before.size > 0 {
            self.retired.push(before.offset);
        }
        self.unsettled = true;
    }

    fn switch_limits(&mut self, index: u32, settings: LimitSettings) {
        let Some(service) = self.service_at(index) else { return };
        let before = std::mem::replace(&mut service.limits, settings).list;
        let stays = settings.list.size > 0 && settings.list.offset == before.offset;
        if before.size > 0 && !stays {
            self.retired_lists.push(before.offset);
            self.unsettled = true;
        }
    }

    fn switch_table(&mut self, offset: u32, table: &Table) {
        self.table = SlotRange { offset, size: table.buckets.len() as u32 };
        self.unsettled = true;
    }

    fn remove_destination(&mut self, id: u32) {
        self.destination_places.remove(id);
        self.orphans.remove(&id);
        let Some(destination) = self.destinations.remove(id) else { return };
        let index = destination.state.service;
        if let Some(service) = self.service_at(index) {
            service.backends.remove(&destination.backend);
        } else if let Some(early) = self.early.get_mut(&index) {
            early.retain(|(_, early)| *early != id);
        }
    }

    fn remove_service(&mut self, index: u32) {
        self.service_places.remove(index);
        let Some(service) = self.keys.remove(&index).and_then(|key| self.services.remove(&key)) else { return };
        // A service without slots has none at offset 0 either.
        if service.slots.size > 0 {
            self.slots.remove(service.slots.offset);
        }
        if service.limits.list.size > 0 {
            self.remove_list(service.limits.list.offset);
        }
    }
}

pub(super) fn read_egress(tables: &Slices<'_>) -> BTreeMap<u32, EgressRecord> {
    let record = |egress: &lb_common::abi::Egress| {
        let mac = egress.source_mac().to_le_bytes();
        EgressRecord {
            ifindex: egress.ifindex(),
            source_mac: [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]],
            vlan: egress.vlan(),
            mtu: egress.mtu(),
        }
    };
    let used = tables.egress.iter().enumerate().filter(|(_, egress)| egress.ifindex() != 0);
    used.map(|(index, egress)| (index as u32, record(egress))).collect()
}

/// The rules of a set of services.
pub(super) fn rules<'a>(services: impl Iterator<Item = (&'a ServiceKey, &'a ActualService)>) -> Vec<Rule> {
    let rule = |key: &ServiceKey, service: &ActualService, protocol: Protocol| Rule {
        index: service.index,
        family: key.family,
        prefix: key.prefix,
        prefix_length: key.prefix_length,
        protocol,
        first_port: key.first_port,
        last_port: key.last_port,
        hashes_fragments: service.identity.fragments == FRAGMENTS_HASH,
    };
    services
        .flat_map(|(key, index)| key.protocol.each().iter().map(move |protocol| rule(key, index, *protocol)))
        .collect()
}
