//! What is known of links, neighbours and routes, and what follows for each target. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
    time::Duration,
};

use super::{NextHop, Resolution};

/// An address on a link: what ARP (RFC 826) and neighbour discovery (RFC 4861) resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Hop {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
}

/// The kernel has a table of neighbours for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

/// For how long the neighbours of an interface are taken for reachable once they answered, at the mean
/// (`base_reachable_time_ms`).
pub(super) type ReachableTimes = HashMap<(Family, u32), Duration>;

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
    /// It is a VLAN device.
    pub(super) vlan: Option<Vlan>,
}

/// What a VLAN device stands for. XDP cannot send through one, only through the interface below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vlan {
    pub(super) id: u16,
    /// Its tags are of IEEE 802.1Q, not 802.1ad.
    pub(super) is_customer: bool,
    /// The interface below.
    pub(super) on: u32,
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
    /// REACHABLE: confirmed a moment ago.
    Reachable([u8; 6]),
    /// PROBE: usable, and the kernel asks. It may have its answer already: it makes its announcements without a lock, so that one can
    /// overtake the next.
    Asked([u8; 6]),
    /// PERMANENT or NOARP: nobody has to ask. Managed or learned elsewhere: somebody else does.
    Usable([u8; 6]),
    /// STALE, or DELAY, which ends in some seconds: usable, but not confirmed for a while.
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
    /// Confirm the address again this long after the last time.
    Keep(Duration),
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

/// The kernel's default.
const REACHABLE_TIME: Duration = Duration::from_secs(30);
/// Requests to confirm an address are no closer to each other, whatever the kernel is set to.
const SHORTEST_KEEP: Duration = Duration::from_millis(100);

const UNKNOWN: Neighbour = Neighbour { report: Report::Absent, mac: None, failed: false };

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    links: HashMap<u32, Link>,
    neighbours: HashMap<Hop, Neighbour>,
    /// Every target; `None` before its first look-up.
    routes: BTreeMap<IpAddr, Option<Route>>,
    reachable_times: ReachableTimes,
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

    pub(super) fn set_reachable_times(&mut self, times: ReachableTimes) {
        self.reachable_times = times;
    }

    /// Returns whether it changes what [`Self::resolutions`] says.
    pub(super) fn report(&mut self, hop: Hop, report: Report) -> bool {
        let neighbour = self.neighbours.entry(hop).or_insert(UNKNOWN);
        let before = (neighbour.mac, neighbour.failed);
        // The kernel says FAILED of an entry that is deleted, too. Where nobody had been asked, nobody failed to answer.
        let deleted = report == Report::Failed && matches!(neighbour.report, Report::Reachable(_) | Report::Stale(_));
        let report = if deleted { Report::Absent } else { report };
        neighbour.report = report;
        match report {
            Report::Reachable(mac) | Report::Asked(mac) | Report::Usable(mac) | Report::Stale(mac) => {
                neighbour.mac = Some(mac);
                neighbour.failed = false;
            }
            Report::Failed => {
                neighbour.mac = None;
                neighbour.failed = true;
            }
            Report::Pending | Report::Absent => {}
        }
        before != (neighbour.mac, neighbour.failed)
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
            Report::Reachable(_) | Report::Asked(_) => Need::Keep(self.keep(hop)),
            Report::Stale(_) => Need::Refresh,
            Report::Pending | Report::Failed | Report::Absent => Need::Resolve,
        }
    }

    /// How long after an answer the neighbour is asked again. The kernel takes it for reachable for at least half of the
    /// mean time; three requests a second apart, by its defaults, fit into what is left. They do not all come together.
    fn keep(&self, hop: Hop) -> Duration {
        let family = if hop.address.is_ipv4() { Family::V4 } else { Family::V6 };
        let mean = self.reachable_times.get(&(family, hop.ifindex)).copied().unwrap_or(REACHABLE_TIME);
        let mut hasher = DefaultHasher::new();
        hop.hash(&mut hasher);
        let percent = 30 + (hasher.finish() % 11) as u32;
        (mean * percent / 100).max(SHORTEST_KEEP)
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
        let (ifindex, vlan) = match link.vlan {
            None => (ifindex, None),
            Some(vlan) => (self.below(link, vlan)?, Some(vlan.id)),
        };
        Ok(NextHop { ifindex, ifname: link.name.clone(), vlan, source_mac, mac, mtu: link.mtu, gateway })
    }

    /// The interface by which frames leave that have a VLAN's tag.
    fn below(&self, link: &Link, vlan: Vlan) -> Result<u32, String> {
        let name = &link.name;
        if !vlan.is_customer {
            return Err(format!("interface {name} is an 802.1ad VLAN; only tags of 802.1Q are made"));
        }
        let lower = self.links.get(&vlan.on);
        let lower = lower.ok_or_else(|| format!("the interface below {name} is in another network namespace"))?;
        match (lower.vlan, lower.kind, obstacle(lower)) {
            (Some(_), ..) => Err(format!("interface {name} is a VLAN within a VLAN; only one tag is made")),
            (None, LinkKind::Ethernet { .. }, None) => Ok(lower.index),
            (None, _, obstacle) => Err(obstacle.unwrap_or_default()),
        }
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
