//! What the tables hold that nobody here wrote: records that differ from the ones that were published.
//!
//! What is repaired is put back where it was, so that flows keep their destinations. Slots and the service table are not looked at here:
//! each plan of everything compares them.

use std::net::IpAddr;

use lb_common::{
    abi::{ListBound, tunnel_index},
    flow::FlowState,
    memory::Slices,
    parse::Family,
};

use super::{
    actual::{Actual, ActualService, read_egress},
    desired::{BackendKey, ServiceKey, backend_address_of},
    pool,
    quic::QuicTables,
    write::Write,
};

/// A record that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The table, by the name of its map.
    pub table: &'static str,
    /// The record in it.
    pub index: u32,
    /// What of it differs.
    pub what: &'static str,
    /// The service that it belongs to.
    pub service: Option<ServiceKey>,
    /// The backend.
    pub backend: Option<BackendKey>,
    /// What puts it right.
    pub repairs: Vec<Write>,
}

/// Compares what was published with what is there. It trusts nothing that the tables say.
#[must_use]
pub fn find(actual: &Actual, tables: &Slices<'_>) -> Vec<Drift> {
    let mut found = Vec::new();
    node(actual, tables, &mut found);
    for (key, service) in &actual.services {
        of_service(actual, key, service, tables, &mut found);
    }
    destinations(actual, tables, &mut found);
    strangers(actual, tables, &mut found);
    found
}

fn of_node(table: &'static str, index: u32, what: &'static str, repair: Write) -> Drift {
    Drift { table, index, what, service: None, backend: None, repairs: vec![repair] }
}

fn node(actual: &Actual, tables: &Slices<'_>, found: &mut Vec<Drift>) {
    let longest = FlowState::ALL.map(|state| tables.control.longest_timeout(state as usize));
    if longest != actual.longest_timeouts {
        let repair = Write::LongestTimeouts(actual.longest_timeouts);
        found.push(of_node("CONTROL", 0, "longest time-outs", repair));
    }
    let present = read_egress(tables);
    for (index, record) in actual.egress.iter().filter(|(index, record)| present.get(index) != Some(record)) {
        let repair = Write::Egress { index: *index, record: *record };
        found.push(of_node("EGRESS", *index, "interface of next hops", repair));
    }
    for family in [Family::V4, Family::V6] {
        let (wanted, is) = (&actual.pool[family as usize], pool::read(tables.control, tables.nat_pool, family));
        if *wanted == is {
            continue;
        }
        for (place, (address, is_open)) in (0..).zip(wanted) {
            if is.get(place as usize) != Some(&(*address, *is_open)) {
                let repair = Write::PoolAddress { place, address: *address, is_open: *is_open };
                found.push(of_node("NAT_POOL", place, "source address", repair));
            }
        }
        if wanted.len() != is.len() {
            let repair = Write::PoolSize { family, size: wanted.len() as u32 };
            found.push(of_node("CONTROL", 0, "number of source addresses", repair));
        }
    }
    let quic = QuicTables::read(tables.quic_configurations, tables.quic_servers);
    for (index, repair) in actual.quic.repairs(&quic) {
        let (table, what) = match repair {
            Write::QuicServer { .. } => ("QUIC_SERVERS", "server id"),
            _ => ("QUIC_CONFIGURATIONS", "configuration of QUIC-LB"),
        };
        found.push(of_node(table, index, what, repair));
    }
}

fn of_service(actual: &Actual, key: &ServiceKey, service: &ActualService, tables: &Slices<'_>, found: &mut Vec<Drift>) {
    let index = service.index;
    let mut note = |table, index, what, repair| {
        found.push(Drift { table, index, what, service: Some(*key), backend: None, repairs: vec![repair] });
    };
    let record = &tables.services[index as usize];
    let timeouts = FlowState::ALL.map(|state| record.timeout(state));
    if record.identity() != Some((key.prefix, service.identity)) || timeouts != service.timeouts {
        let (prefix, identity, timeouts) = (key.prefix, service.identity, service.timeouts);
        let repair = Write::ServiceOptions { index, prefix, identity, timeouts };
        note("SERVICES", index, "address, options or time-outs", repair);
    }
    if record.slots() != service.slots {
        note("SERVICES", index, "range of slots", Write::ServiceSlots { index, slots: service.slots });
    }
    let list = service.limits.list;
    let bounds = tables.list_bounds.iter().skip(list.offset as usize).take(list.size as usize).map(ListBound::get);
    let wanted = actual.bounds(&service.limits);
    if list.size > 0 && !bounds.eq(wanted.iter().copied()) {
        let repair = Write::ListBounds { offset: list.offset, bounds: wanted.into() };
        note("LIST_BOUNDS", list.offset, "list of prefixes", repair);
    }
    if tables.limits[index as usize].settings() != service.limits {
        note("LIMITS", index, "limits", Write::Limits { index, settings: service.limits });
    }
}

fn destinations(actual: &Actual, tables: &Slices<'_>, found: &mut Vec<Drift>) {
    for (id, wanted) in actual.destinations.iter() {
        let service = actual.key_of(wanted.state.service);
        let mut add = |table, what, repairs| {
            let backend = Some(wanted.backend);
            found.push(Drift { table, index: id, what, service: service.copied(), backend, repairs });
        };
        let (record, score) = (&tables.destinations[id as usize], &tables.scores[id as usize]);
        let (words, port) = record.address();
        let tunnel =
            wanted.tunnel.filter(|ends| tables.tunnels[tunnel_index(id, wanted.state)].ends(ends.inner) != *ends);
        if (backend_address_of(&words), port) != wanted.backend {
            let (address, port): (IpAddr, u16) = wanted.backend;
            let (next_hop, tunnel, state) = (wanted.next_hop, wanted.tunnel, wanted.state);
            // The whole record, which begins its score anew.
            let whole = Write::Destination { id, address, port, next_hop, tunnel, state };
            let score = [Write::Score { id, terms: wanted.score }, Write::MostFlows { id, most: wanted.most }];
            add("DESTINATIONS", "the whole record", [whole].into_iter().chain(score).collect());
            continue;
        }
        let mut note = |table, what, repair| add(table, what, vec![repair]);
        if record.state() != wanted.state {
            note("DESTINATIONS", "state", Write::Way { id, tunnel: wanted.tunnel, state: wanted.state });
        } else if tunnel.is_some() {
            note("TUNNELS", "outer header", Write::Way { id, tunnel, state: wanted.state });
        }
        if record.next_hop() != wanted.next_hop {
            note("DESTINATIONS", "next hop", Write::NextHop { id, next_hop: wanted.next_hop });
        }
        if score.terms() != wanted.score {
            note("SCORES", "weight", Write::Score { id, terms: wanted.score });
        }
        if score.most() != wanted.most {
            note("SCORES", "most flows", Write::MostFlows { id, most: wanted.most });
        }
    }
}

/// Records in places that nobody has.
fn strangers(actual: &Actual, tables: &Slices<'_>, found: &mut Vec<Drift>) {
    for (index, record) in (0..).zip(tables.services).skip(1) {
        if record.identity().is_some() && actual.key_of(index).is_none() {
            found.push(of_node("SERVICES", index, "a service that is not configured", Write::FreeService { index }));
        }
    }
    for (id, record) in (0..).zip(tables.destinations).skip(1) {
        if record.state().service != 0 && actual.destinations.get(&id).is_none() {
            let repair = Write::FreeDestination { id };
            found.push(of_node("DESTINATIONS", id, "a backend that is not configured", repair));
        }
    }
}
