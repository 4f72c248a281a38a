//! QUIC-LB: configurations of services, and server ids that name destinations.
//!
//! Each server id is one word, so it comes, goes and changes its destination by one store. A word goes before its destination's place
//! is free. Configurations are read by whoever has the service's record, which names their place; a packet that meets one while it
//! is written reads a server id that nobody has.

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;
use lb_common::{
    abi::{MAX_QUIC, QUIC_BUCKET, QuicBucket, QuicRecord, QuicServer, quic_index, quic_place},
    quic::{CONFIGURATIONS, QuicLb, configuration::MODE_NONE, octets::Octets, servers::Wanted},
};

use super::{
    desired::{BackendKey, DesiredQuic, backend_key},
    diff::Planner,
    error::PlanError,
    write::Write,
};
use crate::quic::{secret, server_ids};

/// What the tables say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicTables {
    configurations: OrdMap<u32, QuicLb>,
    servers: OrdMap<u32, QuicServer>,
    by_destination: OrdMap<u32, BTreeSet<u32>>,
    buckets: u32,
}

impl QuicTables {
    /// Reads them.
    #[must_use]
    pub fn read(configurations: &[QuicRecord], servers: &[QuicBucket]) -> Self {
        let mut tables = Self {
            configurations: OrdMap::new(),
            servers: OrdMap::new(),
            by_destination: OrdMap::new(),
            buckets: servers.len() as u32,
        };
        for (index, record) in (0..).zip(configurations).filter(|(_, record)| record.is_used()) {
            tables.set_configuration(index, &record.load());
        }
        for (place, word) in (0..).zip(servers.iter().flat_map(|bucket| &bucket.words)) {
            tables.set_server(place, QuicServer::from_bits(word.load()));
        }
        tables
    }

    /// Server ids by place.
    pub fn servers(&self) -> impl Iterator<Item = (u32, QuicServer)> {
        self.servers.iter().map(|(place, server)| (*place, *server))
    }

    /// Configurations by place.
    pub fn configurations(&self) -> impl Iterator<Item = (u32, &QuicLb)> {
        self.configurations.iter().map(|(index, record)| (*index, record))
    }

    /// What makes these tables of others, each with its place.
    pub(super) fn repairs(&self, present: &Self) -> Vec<(u32, Write)> {
        if self == present {
            return Vec::new();
        }
        let record = |index: &u32| self.configurations.get(index).copied().unwrap_or(QuicLb::NONE);
        let differs = |index: &&u32| self.configurations.get(*index) != present.configurations.get(*index);
        let places: BTreeSet<&u32> = self.configurations.keys().chain(present.configurations.keys()).collect();
        let configurations = places
            .into_iter()
            .filter(differs)
            .map(|index| (*index, Write::QuicConfiguration { index: *index, record: Box::new(record(index)) }));
        let server = |place: &u32| self.servers.get(place).copied().unwrap_or(QuicServer::NONE);
        let places: BTreeSet<&u32> = self.servers.keys().chain(present.servers.keys()).collect();
        let differs = |place: &&u32| self.servers.get(*place) != present.servers.get(*place);
        let servers = places
            .into_iter()
            .filter(differs)
            .map(|place| (*place, Write::QuicServer { place: *place, server: server(place) }));
        configurations.chain(servers).collect()
    }

    pub(super) fn set_configuration(&mut self, index: u32, record: &QuicLb) {
        if record.mode() == MODE_NONE {
            self.configurations.remove(&index);
        } else {
            self.configurations.insert(index, *record);
        }
    }

    pub(super) fn set_server(&mut self, place: u32, server: QuicServer) {
        if let Some(before) = self.servers.remove(&place)
            && let Some(places) = self.by_destination.get_mut(&before.destination())
        {
            places.remove(&place);
            if places.is_empty() {
                self.by_destination.remove(&before.destination());
            }
        }
        if server != QuicServer::NONE {
            self.servers.insert(place, server);
            self.by_destination.entry(server.destination()).or_default().insert(place);
        }
    }

    fn places_of(&self, destination: u32) -> Vec<u32> {
        self.by_destination.get(&destination).into_iter().flatten().copied().collect()
    }

    /// The place of a server id, or where it may be; `None`: there is no room.
    fn place(&self, wanted: Wanted) -> Option<u32> {
        let mask = self.buckets - 1;
        let places = || {
            let buckets = [wanted.first(mask), wanted.second(mask)];
            buckets.into_iter().flat_map(|bucket| (0..QUIC_BUCKET as u32).map(move |i| bucket * QUIC_BUCKET as u32 + i))
        };
        let has = |place: &u32| self.servers.get(place).is_some_and(|server| server.has(wanted.tag));
        places().find(has).or_else(|| places().find(|place| !self.servers.contains_key(place)))
    }
}

impl Planner<'_> {
    /// Configurations and server ids of a service; returns their place, 0: the service has none.
    pub(super) fn plan_quic(
        &mut self,
        service: u32,
        desired: Option<&DesiredQuic>,
        present: u8,
        ids: &BTreeMap<BackendKey, u32>,
    ) -> Result<u8, PlanError> {
        let Some(desired) = desired else {
            self.forget_quic(present);
            ids.values().for_each(|id| self.forget_server_ids(*id));
            return Ok(0);
        };
        let place = if present == 0 { self.free_quic_place()? } else { present };
        for id in 0..CONFIGURATIONS as u8 {
            let wanted = desired.configurations.iter().find(|parameters| parameters.id == id);
            let record = wanted.map_or(Ok(QuicLb::NONE), QuicLb::new).map_err(PlanError::Quic)?;
            self.set_quic(quic_index(place.into(), id), record);
        }
        self.plan_server_ids(service, desired, ids)?;
        Ok(place)
    }

    fn plan_server_ids(
        &mut self,
        service: u32,
        desired: &DesiredQuic,
        ids: &BTreeMap<BackendKey, u32>,
    ) -> Result<(), PlanError> {
        let secret = secret(self.key);
        let lengths: BTreeSet<u8> =
            desired.configurations.iter().map(|parameters| parameters.server_id_length).collect();
        let mut used = BTreeSet::new();
        for length in lengths {
            let server_ids = server_ids(&secret, &desired.backends, length).map_err(PlanError::ServerIds)?;
            for (backend, server_id) in desired.backends.iter().zip(server_ids) {
                let Some(id) = ids.get(&backend_key(backend)) else { continue };
                let wanted = Wanted::of(self.key, service, server_id, Octets::leading_ones(8 * u32::from(length)));
                let place = self.actual.quic.place(wanted).ok_or(PlanError::Full("backends"))?;
                used.insert(place);
                self.set_server(place, QuicServer::new(wanted.tag, *id));
            }
        }
        // What a backend had before. One that is leaving keeps it: its connections are still there.
        for id in desired.backends.iter().filter_map(|backend| ids.get(&backend_key(backend))) {
            for place in self.actual.quic.places_of(*id) {
                if !used.contains(&place) {
                    self.set_server(place, QuicServer::NONE);
                }
            }
        }
        Ok(())
    }

    /// Forgets what an earlier plan left that ended in between.
    pub(super) fn reclaim_quic(&mut self) {
        let named: BTreeSet<u8> = self.actual.services.values().map(|service| service.identity.quic).collect();
        let lost: Vec<u32> = self.actual.quic.configurations.keys().copied().collect();
        for index in lost.into_iter().filter(|index| !named.contains(&quic_place(*index))) {
            self.set_quic(index, QuicLb::NONE);
        }
        let lost: Vec<u32> = self
            .actual
            .quic
            .by_destination
            .keys()
            .copied()
            .filter(|id| self.actual.destinations.get(id).is_none())
            .collect();
        lost.into_iter().for_each(|id| self.forget_server_ids(id));
    }

    /// Takes the configurations of a place away.
    pub(super) fn forget_quic(&mut self, place: u8) {
        for id in 0..CONFIGURATIONS as u8 {
            self.set_quic(quic_index(place.into(), id), QuicLb::NONE);
        }
    }

    /// Takes the server ids of a destination away.
    pub(super) fn forget_server_ids(&mut self, destination: u32) {
        for place in self.actual.quic.places_of(destination) {
            self.set_server(place, QuicServer::NONE);
        }
    }

    fn set_quic(&mut self, index: u32, record: QuicLb) {
        let present = self.actual.quic.configurations.get(&index).copied().unwrap_or_default();
        if present != record {
            self.push(Write::QuicConfiguration { index, record: Box::new(record) });
        }
    }

    fn set_server(&mut self, place: u32, server: QuicServer) {
        let present = self.actual.quic.servers.get(&place).copied().unwrap_or(QuicServer::NONE);
        if present != server {
            self.push(Write::QuicServer { place, server });
        }
    }

    fn free_quic_place(&self) -> Result<u8, PlanError> {
        let used: BTreeSet<u8> = self.actual.services.values().map(|service| service.identity.quic).collect();
        (1..=MAX_QUIC as u8).find(|place| !used.contains(place)).ok_or(PlanError::QuicServices)
    }
}
