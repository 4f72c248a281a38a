//! What is known of links, neighbours and routes, and what follows for each target. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use super::{NextHop, Resolution};

/// An address on a link: what ARP (RFC 826) and neighbour discovery (RFC 4861) resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Hop {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) kind: LinkKind,
    pub(super) mtu: u32,
    /// An administrator switched it on.
    pub(super) up: bool,
    pub(super) carrier: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkKind {
    Ethernet { mac: [u8; 6] },
    Loopback,
    Other,
}

/// The kernel's state of a neighbour entry, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// REACHABLE, DELAY, PROBE, PERMANENT or NOARP: usable, and the kernel looks after it.
    Usable([u8; 6]),
    /// STALE: usable, but not confirmed for a while.
    Stale([u8; 6]),
    /// INCOMPLETE or NONE: asked for, not yet answered.
    Pending,
    /// FAILED: no answer.
    Failed,
    /// Deleted or never made; the kernel's garbage collection deletes entries of live neighbours, too.
    Absent,
}

/// What the kernel should be made to do about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Confirm the address.
    Refresh,
    /// Find the address.
    Resolve,
}

/// Where the kernel would send packets for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Via { ifindex: u32, gateway: Option<IpAddr> },
    Unusable(String),
}

#[derive(Clone, Copy, Debug)]
struct Neighbour {
    report: Report,
    /// The last MAC address that worked. It outlives all reports but FAILED, so that a gap in the kernel's table is none here.
    mac: Option<[u8; 6]>,
    /// It did not answer and has not since.
    failed: bool,
}

const UNKNOWN: Neighbour = Neighbour { report: Report::Absent, mac: None, failed: false };

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    links: HashMap<u32, Link>,
    neighbours: HashMap<Hop, Neighbour>,
    /// Every target; `None` before its first look-up.
    routes: BTreeMap<IpAddr, Option<Route>>,
}

impl Table {
    /// Replaces the targets; returns those that are new and need a route look-up.
    pub(super) fn set_targets(&mut self, targets: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
        self.routes.retain(|target, _| targets.contains(target));
        let new: Vec<_> = targets.iter().copied().filter(|target| !self.routes.contains_key(target)).collect();
        self.routes.extend(new.iter().map(|&target| (target, None)));
        self.forget_unwanted();
        new
    }

    pub(super) fn targets(&self) -> Vec<IpAddr> {
        self.routes.keys().copied().collect()
    }

    /// Takes the results of route look-ups.
    pub(super) fn set_routes(&mut self, routes: impl IntoIterator<Item = (IpAddr, Route)>) {
        for (target, route) in routes {
            if let Some(present) = self.routes.get_mut(&target) {
                *present = Some(route);
            }
        }
        self.forget_unwanted();
    }

    /// Returns whether anything that matters to routing changed.
    pub(super) fn set_link(&mut self, link: Link) -> bool {
        let changed = self.links.get(&link.index) != Some(&link);
        self.links.insert(link.index, link);
        changed
    }

    pub(super) fn remove_link(&mut self, index: u32) {
        self.links.remove(&index);
        self.neighbours.retain(|hop, _| hop.ifindex != index);
    }

    /// Replaces all links.
    pub(super) fn set_links(&mut self, links: Vec<Link>) {
        self.links = links.into_iter().map(|link| (link.index, link)).collect();
        self.neighbours.retain(|hop, _| self.links.contains_key(&hop.ifindex));
    }

    pub(super) fn report(&mut self, hop: Hop, report: Report) {
        let neighbour = self.neighbours.entry(hop).or_insert(UNKNOWN);
        neighbour.report = report;
        match report {
            Report::Usable(mac) | Report::Stale(mac) => {
                neighbour.mac = Some(mac);
                neighbour.failed = false;
            }
            Report::Failed => {
                neighbour.mac = None;
                neighbour.failed = true;
            }
            Report::Pending | Report::Absent => {}
        }
    }

    /// Takes the whole table of the kernel: what it does not list is absent.
    pub(super) fn set_neighbours(&mut self, reports: Vec<(Hop, Report)>) {
        for neighbour in self.neighbours.values_mut() {
            neighbour.report = Report::Absent;
        }
        for (hop, report) in reports {
            self.report(hop, report);
        }
        self.forget_unwanted();
    }

    /// Entries that the kernel no longer has are kept only for the targets' sake.
    fn forget_unwanted(&mut self) {
        let wanted: HashSet<Hop> = self.hops().collect();
        self.neighbours.retain(|hop, neighbour| neighbour.report != Report::Absent || wanted.contains(hop));
    }

    fn hops(&self) -> impl Iterator<Item = Hop> {
        self.routes.iter().filter_map(|(&target, route)| match route {
            Some(Route::Via { ifindex, gateway }) => {
                Some(Hop { ifindex: *ifindex, address: gateway.unwrap_or(target) })
            }
            _ => None,
        })
    }

    /// The neighbours that lead to targets, each once, and what they need.
    pub(super) fn needs(&self) -> BTreeMap<Hop, Need> {
        self.hops().map(|hop| (hop, self.need(hop))).collect()
    }

    fn need(&self, hop: Hop) -> Need {
        if self.links.get(&hop.ifindex).is_none_or(|link| obstacle(link).is_some()) {
            return Need::Nothing;
        }
        match self.neighbours.get(&hop).unwrap_or(&UNKNOWN).report {
            Report::Usable(_) => Need::Nothing,
            Report::Stale(_) => Need::Refresh,
            Report::Pending | Report::Failed | Report::Absent => Need::Resolve,
        }
    }

    /// What follows from all that for every target.
    pub(super) fn resolutions(&self) -> BTreeMap<IpAddr, Resolution> {
        self.routes
            .iter()
            .map(|(&target, route)| {
                let hop = self.next_hop(target, route.as_ref());
                (target, hop.map_or_else(Resolution::Unresolved, Resolution::Resolved))
            })
            .collect()
    }

    fn next_hop(&self, target: IpAddr, route: Option<&Route>) -> Result<NextHop, String> {
        let (ifindex, gateway) = match route {
            None => return Err("the route was not looked up yet".to_owned()),
            Some(Route::Unusable(reason)) => return Err(reason.clone()),
            Some(&Route::Via { ifindex, gateway }) => (ifindex, gateway),
        };
        let link = self.links.get(&ifindex).ok_or_else(|| format!("interface {ifindex} is gone"))?;
        let source_mac = match (link.kind, obstacle(link)) {
            (LinkKind::Ethernet { mac }, None) => mac,
            (_, obstacle) => return Err(obstacle.unwrap_or_default()),
        };
        let address = gateway.unwrap_or(target);
        let neighbour = self.neighbours.get(&Hop { ifindex, address }).unwrap_or(&UNKNOWN);
        let mac = neighbour.mac.ok_or_else(|| {
            let protocol = if address.is_ipv4() { "ARP" } else { "neighbour discovery" };
            let what = if neighbour.failed { "no answer to" } else { "waiting for an answer to" };
            format!("{what} {protocol} from {address} on {}", link.name)
        })?;
        Ok(NextHop { ifindex, ifname: link.name.clone(), source_mac, mac, mtu: link.mtu, gateway })
    }
}

/// Why frames cannot be sent on a link, if they cannot.
fn obstacle(link: &Link) -> Option<String> {
    let name = &link.name;
    match link.kind {
        LinkKind::Loopback => Some(format!("leads to this node itself, by the loopback interface {name}")),
        LinkKind::Other => Some(format!("interface {name} is not Ethernet")),
        LinkKind::Ethernet { .. } if !link.up => Some(format!("interface {name} is down")),
        LinkKind::Ethernet { .. } if !link.carrier => Some(format!("interface {name} has no carrier")),
        LinkKind::Ethernet { .. } => None,
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
