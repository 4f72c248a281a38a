//! Next hops of destinations, and the interfaces that lead to them.

use std::collections::BTreeSet;

use lb_common::abi::{MAX_EGRESS, NextHop};

use super::{
    desired::DesiredBackend,
    diff::Planner,
    error::PlanError,
    write::{EgressRecord, Write},
};

impl Planner<'_> {
    /// A next hop that is no longer resolved stays: the last one known is the best there is.
    pub(super) fn plan_next_hop(&mut self, id: u32, backend: &DesiredBackend) -> Result<(), PlanError> {
        let Some((egress, mac)) = backend.next_hop else { return Ok(()) };
        let next_hop = self.next_hop(egress, mac)?;
        if self.actual.destinations.get(&id).is_some_and(|found| found.next_hop != next_hop) {
            self.push(Write::NextHop { id, next_hop });
        }
        Ok(())
    }

    pub(super) fn next_hop(&mut self, egress: EgressRecord, mac: [u8; 6]) -> Result<NextHop, PlanError> {
        Ok(NextHop { mac: NextHop::mac_word(mac), egress: self.egress_index(egress)? })
    }

    /// The index of an interface, or of a VLAN on it: its own, else a free one, else one that no destination refers to.
    fn egress_index(&mut self, record: EgressRecord) -> Result<u32, PlanError> {
        let own =
            self.actual.egress.iter().find(|(_, found)| (found.ifindex, found.vlan) == (record.ifindex, record.vlan));
        if let Some((index, found)) = own {
            let (index, same) = (*index, *found == record);
            if !same {
                self.push(Write::Egress { index, record });
            }
            return Ok(index);
        }
        let used: BTreeSet<u32> = self.actual.destinations.iter().map(|(_, found)| found.next_hop.egress).collect();
        let index = (1..MAX_EGRESS)
            .find(|index| !self.actual.egress.contains_key(index))
            .or_else(|| (1..MAX_EGRESS).find(|index| !used.contains(index)))
            .ok_or(PlanError::Egress)?;
        if self.actual.egress.contains_key(&index) {
            // A destination may have led there until a moment ago.
            self.push(Write::Quiesce);
        }
        self.push(Write::Egress { index, record });
        Ok(index)
    }
}
