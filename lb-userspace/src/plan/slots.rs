//! Slots of services, and room for them.

use std::{collections::BTreeMap, sync::Arc};

use lb_common::abi::{SlotRange, Word32};

use super::{
    actual::ActualService,
    desired::{BackendKey, DesiredService, ServiceKey},
    diff::Planner,
    error::PlanError,
    memo::{Memo, SlotMember},
    write::Write,
};

impl Planner<'_> {
    /// The slots of a service: where they are if they are right, else in a new range.
    pub(super) fn plan_slots(
        &mut self,
        key: &ServiceKey,
        desired: &DesiredService,
        ids: &BTreeMap<BackendKey, u32>,
        present: Option<&ActualService>,
        memo: &mut Memo,
    ) -> Result<SlotRange, PlanError> {
        let members: Vec<SlotMember> = desired
            .backends
            .iter()
            .filter(|(_, backend)| backend.weight > 0)
            .map(|(key, backend)| (*key, backend.weight, ids[key]))
            .collect();
        if members.is_empty() {
            return Ok(SlotRange::default());
        }
        let slots = memo.slots(key, members, desired.table_size).map_err(PlanError::Maglev)?;
        let range = present.map(|service| service.slots).unwrap_or_default();
        if self.holds(range, &slots) {
            return Ok(range);
        }
        let size = slots.len() as u32;
        let offset = self.find_slots(size).ok_or(PlanError::Full("slots"))?;
        self.slots.insert(offset, Arc::clone(&slots));
        self.push(Write::Slots { offset, ids: slots });
        Ok(SlotRange { offset, size })
    }

    /// Room for slots. Where there is none, the ranges that this plan replaced so far are waited for, so that a change of all
    /// services needs no more room than a change of the largest.
    fn find_slots(&mut self, size: u32) -> Option<u32> {
        let capacity = self.tables.slots.len() as u32;
        if let Some(offset) = self.actual.slots.find(size, capacity) {
            return Some(offset);
        }
        if self.actual.has_retired_slots() {
            self.push(Write::Quiesce);
        }
        self.actual.slots.find(size, capacity)
    }

    fn holds(&self, range: SlotRange, slots: &[u32]) -> bool {
        if let Some(planned) = self.slots.get(&range.offset) {
            return **planned == slots;
        }
        let end = range.offset as usize + range.size as usize;
        let held = self.tables.slots.get(range.offset as usize..end);
        range.size as usize == slots.len()
            && held.is_some_and(|held| held.iter().map(Word32::load).eq(slots.iter().copied()))
    }
}
