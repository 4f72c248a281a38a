//! Rules that hold between services, or between a service and the node. They are checked on the model, so that they can
//! be checked again when a backend is added at run time.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use lb_common::abi::MAX_QUIC;

use super::{
    super::model::{Backend, Config, Fragments, Limits, Node, Ports, Probe, Service},
    backend::show,
    quic,
};
use crate::{plan::desired::ServiceKey, probe::Target};

/// What a problem is about; services are numbered as in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Services,
    Name(usize),
    Vip(usize),
    Ports(usize),
    Scheduler(usize),
    Probe(usize),
    Quic(usize),
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
    words(check(&config.services, &config.node))
}

/// Checks a service that is to take the place of the one of its name, with the same VIP and ports, as [`check_all`] would
/// check all of them; `others_at` are the other services with a backend of an address.
///
/// The cost does not grow with the number of backends of other services.
pub fn check_one<'a, Others: Iterator<Item = &'a Service>>(
    service: &Arc<Service>,
    services: &[Arc<Service>],
    limits: Limits,
    others_at: impl Fn(IpAddr) -> Others,
) -> Vec<String> {
    let mut conflicts = Vec::new();
    for (target, probe) in service.backends.iter().filter_map(|backend| probed(service, backend)) {
        let users =
            others_at(target.address).flat_map(|other| other.backends.iter().map(move |backend| (other, backend)));
        let mut probes = users.filter_map(|(other, backend)| Some((other, probed(other, backend)?)));
        let different = probes.find(|(_, (of, wanted))| *of == target && !same(probe, wanted));
        if let Some((other, _)) = different {
            conflicts.push(probe_conflict(0, other, service, &target));
            break;
        }
    }
    table_sizes(std::slice::from_ref(service), &mut conflicts);
    server_ids(std::slice::from_ref(service), &mut conflicts);
    totals(
        services.iter().map(|other| if other.name == service.name { service } else { other }),
        limits,
        &mut conflicts,
    );
    words(conflicts)
}

fn words(conflicts: Vec<Conflict>) -> Vec<String> {
    conflicts.into_iter().map(|Conflict { reason, remedy, .. }| format!("{reason}; {remedy}")).collect()
}

pub(super) fn check(services: &[Arc<Service>], node: &Node) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    names(services, &mut conflicts);
    overlaps(services, &mut conflicts);
    fragments(services, &mut conflicts);
    probes(services, &mut conflicts);
    table_sizes(services, &mut conflicts);
    server_ids(services, &mut conflicts);
    quic_places(services, &mut conflicts);
    totals(services.iter(), node.limits, &mut conflicts);
    pool(services, node, &mut conflicts);
    conflicts
}

/// A reply to an address of the pool would be taken for a packet for the service.
fn pool(services: &[Arc<Service>], node: &Node, conflicts: &mut Vec<Conflict>) {
    for (index, service) in services.iter().enumerate() {
        for address in node.nat.pool.iter().filter(|address| service.vip.contains(*address)) {
            conflicts.push(Conflict {
                place: Place::Vip(index),
                reason: format!(
                    "the VIP {} of service `{}` has pool address {address}",
                    show(service.vip),
                    service.name
                ),
                remedy: "give `node.nat.pool` addresses that serve for nothing else".to_owned(),
            });
        }
    }
}

/// Every backend of a service with `quic` has a server id of its own.
fn server_ids(services: &[Arc<Service>], conflicts: &mut Vec<Conflict>) {
    for (index, service) in services.iter().enumerate() {
        if let Some(message) = quic::ids_conflict(&service.quic, &service.backends) {
            let (reason, remedy) = message.split_once("; ").unwrap_or((&message, ""));
            conflicts.push(Conflict {
                place: Place::Quic(index),
                reason: format!("service `{}`: {reason}", service.name),
                remedy: remedy.to_owned(),
            });
        }
    }
}

fn quic_places(services: &[Arc<Service>], conflicts: &mut Vec<Conflict>) {
    let mut with_quic = services.iter().enumerate().filter(|(_, service)| !service.quic.is_empty());
    if let Some((index, _)) = with_quic.nth(MAX_QUIC as usize) {
        conflicts.push(Conflict {
            place: Place::Quic(index),
            reason: format!("more than {MAX_QUIC} services have `quic`"),
            remedy: "remove it from some; a node has room for no more configurations".to_owned(),
        });
    }
}

fn names(services: &[Arc<Service>], conflicts: &mut Vec<Conflict>) {
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

fn overlaps(services: &[Arc<Service>], conflicts: &mut Vec<Conflict>) {
    let mut groups: HashMap<_, Vec<(u16, usize, u16)>> = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        let (exactness, first, last) = exactness(service.ports);
        for protocol in ServiceKey::of(service).protocol.each() {
            groups.entry((protocol, service.vip, exactness)).or_default().push((first, index, last));
        }
    }
    // Two services of both protocols meet twice.
    let mut told = HashSet::new();
    for mut group in groups.into_values() {
        group.sort_unstable();
        // The one that reaches furthest so far: whoever begins within it overlaps it.
        let mut furthest: Option<(u16, usize)> = None;
        for (first, index, last) in group {
            if let Some((_, other)) = furthest.filter(|&(end, _)| first <= end)
                && told.insert((index.min(other), index.max(other)))
            {
                conflicts.push(overlap(services, index, other));
            }
            if furthest.is_none_or(|(end, _)| last > end) {
                furthest = Some((last, index));
            }
        }
    }
}

fn overlap(services: &[Arc<Service>], one: usize, other: usize) -> Conflict {
    let (first, second) = (one.min(other), one.max(other));
    let (a, b) = (&services[first], &services[second]);
    Conflict {
        place: Place::Ports(second),
        reason: format!(
            "service `{}` overlaps service `{}`: {} {} port {} and {}{}",
            b.name,
            a.name,
            b.protocol,
            show(b.vip),
            b.ports,
            if a.protocol == b.protocol { String::new() } else { format!("{} ", a.protocol) },
            a.ports
        ),
        remedy: "give each its own ports, or make one a single port".to_owned(),
    }
}

/// A fragment without its first one has no port, so one service at most can ask for those of an address.
fn fragments(services: &[Arc<Service>], conflicts: &mut Vec<Conflict>) {
    let mut askers: HashMap<_, &Service> = HashMap::new();
    for (index, service) in services.iter().enumerate().filter(|(_, service)| service.fragments == Fragments::Hash) {
        if let Some(other) = askers.insert((service.vip, service.protocol), service) {
            conflicts.push(Conflict {
                place: Place::Name(index),
                reason: format!(
                    "services `{}` and `{}` both have `fragments: hash` for {} {}",
                    other.name,
                    service.name,
                    service.protocol,
                    show(service.vip)
                ),
                remedy: "a fragment without its first one has no port: leave it to one of the two".to_owned(),
            });
        }
    }
}

/// One probe serves all services that have the same target, so they must want the same of it.
fn probes(services: &[Arc<Service>], conflicts: &mut Vec<Conflict>) {
    let mut settings: HashMap<Target, (usize, &Probe)> = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        let different = service.backends.iter().find_map(|backend| {
            let (target, probe) = probed(service, backend)?;
            let &mut (other, wanted) = settings.entry(target.clone()).or_insert((index, probe));
            (!same(probe, wanted)).then_some((target, other))
        });
        if let Some((target, other)) = different {
            conflicts.push(probe_conflict(index, &services[other], service, &target));
        }
    }
}

/// What is probed of a backend, and how.
fn probed<'a>(service: &'a Service, backend: &Backend) -> Option<(Target, &'a Probe)> {
    let probe = service.probe.as_ref()?;
    Some((Target::of(probe, service, backend), probe))
}

fn probe_conflict(index: usize, one: &Service, other: &Service, target: &Target) -> Conflict {
    let port = if target.port == 0 { String::new() } else { format!(" port {}", target.port) };
    Conflict {
        place: Place::Probe(index),
        reason: format!(
            "services `{}` and `{}` probe {}{port} with different settings",
            one.name, other.name, target.address
        ),
        remedy: "one probe serves both: give both the same `probe`, best in `defaults`".to_owned(),
    }
}

/// Whether two probes of one target are the same. Ports may be written or implied, and sources be for the other family.
fn same(one: &Probe, other: &Probe) -> bool {
    let times = |probe: &Probe| Probe { port: None, source: None, ..probe.clone() };
    times(one) == times(other)
}

fn table_sizes(services: &[Arc<Service>], conflicts: &mut Vec<Conflict>) {
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

fn totals<'a>(services: impl Iterator<Item = &'a Arc<Service>>, limits: Limits, conflicts: &mut Vec<Conflict>) {
    let (mut count, mut backends, mut slots, mut largest, mut prefixes) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    for service in services {
        count += 1;
        backends += service.backends.len() as u64;
        prefixes += (service.limits.allow.len() + service.limits.deny.len()) as u64;
        slots += u64::from(service.table_size());
        largest = largest.max(u64::from(service.table_size()));
    }
    // The largest once more: while a table is replaced by one of another size the old one is still in use.
    for (what, wanted, limit) in [
        ("services", count, limits.services),
        ("backends", backends, limits.backends),
        ("slots", slots + largest, limits.slots),
        ("prefixes", prefixes, limits.prefixes),
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
