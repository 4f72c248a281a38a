//! Rules that hold between services, or between a service and the node. They are checked on the model, so that they can
//! be checked again when a backend is added at run time.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{
    super::model::{Config, Limits, Ports, Probe, ProbeKind, Service},
    backend::show,
};

/// What a problem is about; services are numbered as in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Services,
    Name(usize),
    Ports(usize),
    Scheduler(usize),
    Probe(usize),
}

/// A rule that does not hold.
#[derive(Debug)]
pub(super) struct Conflict {
    pub(super) place: Place,
    pub(super) reason: String,
    pub(super) remedy: String,
}

/// Checks the rules that hold between services and between services and the node: unique names, no overlap, one setting
/// for each probe, limits and table sizes.
///
/// Each string is `reason; remedy`; none: all rules hold.
pub fn check_all(config: &Config) -> Vec<String> {
    let conflicts = check(&config.services, config.node.limits);
    conflicts.into_iter().map(|Conflict { reason, remedy, .. }| format!("{reason}; {remedy}")).collect()
}

pub(super) fn check(services: &[Service], limits: Limits) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    names(services, &mut conflicts);
    overlaps(services, &mut conflicts);
    probes(services, &mut conflicts);
    table_sizes(services, &mut conflicts);
    totals(services, limits, &mut conflicts);
    conflicts
}

fn names(services: &[Service], conflicts: &mut Vec<Conflict>) {
    let mut seen = HashSet::new();
    for (index, service) in services.iter().enumerate() {
        if !seen.insert(service.name.as_str()) {
            conflicts.push(Conflict {
                place: Place::Name(index),
                reason: format!("two services are named `{}`", service.name),
                remedy: "give one of them another `name`".to_owned(),
            });
        }
    }
}

/// How exact the ports of a service are. The data path asks for the more exact first, so only equals can overlap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Exactness {
    One,
    Range,
    Any,
}

fn exactness(ports: Ports) -> (Exactness, u16, u16) {
    match ports {
        Ports::Any => (Exactness::Any, 0, u16::MAX),
        Ports::Range(first, last) if first == last => (Exactness::One, first, last),
        Ports::Range(first, last) => (Exactness::Range, first, last),
    }
}

fn overlaps(services: &[Service], conflicts: &mut Vec<Conflict>) {
    let mut groups: HashMap<_, Vec<(u16, usize, u16)>> = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        let (exactness, first, last) = exactness(service.ports);
        groups.entry((service.protocol, service.vip, exactness)).or_default().push((first, index, last));
    }
    for mut group in groups.into_values() {
        group.sort_unstable();
        // The one that reaches furthest so far: whoever begins within it overlaps it.
        let mut furthest: Option<(u16, usize)> = None;
        for (first, index, last) in group {
            if let Some((_, other)) = furthest.filter(|&(end, _)| first <= end) {
                conflicts.push(overlap(services, index, other));
            }
            if furthest.is_none_or(|(end, _)| last > end) {
                furthest = Some((last, index));
            }
        }
    }
}

fn overlap(services: &[Service], one: usize, other: usize) -> Conflict {
    let (first, second) = (one.min(other), one.max(other));
    let (a, b) = (&services[first], &services[second]);
    Conflict {
        place: Place::Ports(second),
        reason: format!(
            "service `{}` overlaps service `{}`: {} {} port {} and {}",
            b.name,
            a.name,
            b.protocol,
            show(b.vip),
            b.ports,
            a.ports
        ),
        remedy: "give each its own ports, or make one a single port".to_owned(),
    }
}

/// One probe serves all services that have the same target, so they must want the same of it.
fn probes(services: &[Service], conflicts: &mut Vec<Conflict>) {
    let mut settings: HashMap<(IpAddr, u16, ProbeKind), (usize, &Probe)> = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        let Some(probe) = &service.probe else { continue };
        let different = service.backends.iter().find_map(|backend| {
            let port = probe.port.unwrap_or(backend.port);
            let &mut (other, wanted) = settings.entry((backend.address, port, probe.kind)).or_insert((index, probe));
            (!same(probe, wanted)).then_some((backend.address, port, other))
        });
        if let Some((address, port, other)) = different {
            conflicts.push(Conflict {
                place: Place::Probe(index),
                reason: format!(
                    "services `{}` and `{}` probe {address} port {port} with different settings",
                    services[other].name, service.name
                ),
                remedy: "one probe serves both: give both the same `probe`, best in `defaults`".to_owned(),
            });
        }
    }
}

/// Whether two probes of one target are the same. Their ports may be written or implied.
fn same(one: &Probe, other: &Probe) -> bool {
    Probe { port: None, ..one.clone() } == Probe { port: None, ..other.clone() }
}

fn table_sizes(services: &[Service], conflicts: &mut Vec<Conflict>) {
    for (index, service) in services.iter().enumerate() {
        let (slots, backends) = (service.table_size(), service.backends.len());
        if backends > slots as usize {
            conflicts.push(Conflict {
                place: Place::Scheduler(index),
                reason: format!("service `{}` has {backends} backends and a table of {slots} slots", service.name),
                remedy: "remove `table_size`, or use a larger one or fewer backends".to_owned(),
            });
        }
    }
}

fn totals(services: &[Service], limits: Limits, conflicts: &mut Vec<Conflict>) {
    let backends: usize = services.iter().map(|service| service.backends.len()).sum();
    // The largest once more: while a table is replaced the old one is still in use.
    let slots: u64 = services.iter().map(|service| u64::from(service.table_size())).sum();
    let largest = services.iter().map(|service| u64::from(service.table_size())).max().unwrap_or(0);
    for (what, wanted, limit) in [
        ("services", services.len() as u64, limits.services),
        ("backends", backends as u64, limits.backends),
        ("slots", slots + largest, limits.slots),
    ] {
        if wanted > u64::from(limit) {
            conflicts.push(Conflict {
                place: Place::Services,
                reason: format!("{wanted} {what} are needed and `limits.{what}` is {limit}"),
                remedy: format!("raise `node.limits.{what}`"),
            });
        }
    }
}
