//! Next hops as they come and go.

use std::{net::IpAddr, time::SystemTime};

use imbl::ordmap::DiffItem;

use super::reconciler::Reconciler;
use crate::{
    neighbour::{NextHop, NextHops, Resolution},
    plan::write::EgressRecord,
};

/// An address without a next hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    /// Since when.
    pub(super) since: SystemTime,
    /// It was there, and that it no longer is was said.
    told: bool,
}

/// Backends that an event names; where there are more it says how many.
const NAMED: usize = 8;

impl Reconciler {
    /// Takes note of next hops. What was resolved once stays in use while it is not: known flows go on, and no packet is dropped
    /// for a neighbour that is silent for a moment.
    pub fn set_next_hops(&mut self, next_hops: NextHops, now: SystemTime) {
        let before = std::mem::replace(&mut self.next_hops, next_hops.clone());
        for change in before.diff(&next_hops) {
            match change {
                DiffItem::Remove(address, _) => drop(self.missing.remove(address)),
                DiffItem::Add(address, resolution) | DiffItem::Update { new: (address, resolution), .. } => {
                    // A next hop that has only just been asked for is not lost.
                    let is_new = !before.contains_key(address);
                    match &**resolution {
                        Resolution::Resolved(hop) => self.note_resolved(*address, hop, now),
                        Resolution::Unresolved(_) if is_new => {
                            self.missing.insert(*address, Missing { since: now, told: false });
                        }
                        Resolution::Unresolved(reason) => self.note_missing(*address, reason, now),
                    }
                }
            }
        }
    }

    fn note_resolved(&mut self, address: IpAddr, hop: &NextHop, now: SystemTime) {
        let vlan = hop.vlan.unwrap_or(0);
        let egress = EgressRecord { ifindex: hop.ifindex, source_mac: hop.source_mac, vlan, mtu: hop.mtu };
        if self.last_known.insert(address, (egress, hop.mac)) != Some((egress, hop.mac)) {
            self.users.at(address).for_each(|service| self.concerned.add(service));
        }
        if let Some(Missing { since, told: true }) = self.missing.remove(&address) {
            let after = now.duration_since(since).unwrap_or_default();
            tracing::info!(%address, backends = self.backends_at(address), interface = hop.ifname, ?after, "next hop is back");
        }
    }

    fn note_missing(&mut self, address: IpAddr, reason: &str, now: SystemTime) {
        let was_there = self.last_known.contains_key(&address);
        // That it is missing for another reason does not make it a shorter time.
        let missing = self.missing.entry(address).or_insert(Missing { since: now, told: false });
        if was_there && !std::mem::replace(&mut missing.told, true) {
            let backends = self.backends_at(address);
            tracing::warn!(%address, backends, reason, "next hop lost; the last known one stays in use");
        }
    }

    /// The backends of an address, each as `SERVICE/BACKEND`.
    fn backends_at(&self, address: IpAddr) -> String {
        let services = self.users.at(address).map(|index| &self.effective.services[index as usize]);
        let mut names: Vec<String> = services
            .flat_map(|service| {
                let here = service.backends.iter().filter(move |backend| backend.address == address);
                here.map(|backend| format!("{}/{}", service.name, backend.name))
            })
            .collect();
        let further = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        if further > 0 {
            names.push(format!("{further} more"));
        }
        names.join(", ")
    }
}
