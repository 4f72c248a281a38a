//! Slots of services, and room for them.

use std::collections::BTreeMap;

use lb_common::{
    abi::{SlotRange, Word32},
    schedule::maglev::TABLE_SIZES,
};

use super::{
    actual::ActualService,
    desired::{BackendKey, DesiredService, ServiceKey},
    diff::Planner,
    error::PlanError,
    memo::Memo,
    slot_table::SlotTable,
    write::Write,
};

impl Planner<'_> {
    /// The slots of a service. A table of the same size stays where it is: of its slots those are written that change, each
    /// by one aligned store. A packet reads one slot, so it sees the old destination or the new one, both of which are whole.
    /// A table of another size goes to a new range.
    pub(super) fn plan_slots(
        &mut self,
        key: &ServiceKey,
        desired: &DesiredService,
        ids: &BTreeMap<BackendKey, u32>,
        present: Option<&ActualService>,
        memo: &mut Memo,
    ) -> Result<SlotRange, PlanError> {
        let table = SlotTable::of(desired, |key| ids[key]).map_err(PlanError::Maglev)?;
        let Some(table) = table else { return Ok(SlotRange::default()) };
        let range = present.map(|service| service.slots).unwrap_or_default();
        let size = table.size();
        if range.size == size && self.plan_slot_changes(key, range, &table, memo) {
            return Ok(range);
        }
        let offset = self.find_slots(size).ok_or(PlanError::Full("slots"))?;
        self.slots.insert(offset, table.clone());
        self.push(Write::Slots { offset, table });
        Ok(SlotRange { offset, size })
    }

    /// Changes slots where they are; `false`: the range is not in the array.
    fn plan_slot_changes(&mut self, key: &ServiceKey, range: SlotRange, table: &SlotTable, memo: &mut Memo) -> bool {
        let Some(held) = self.held(range) else { return false };
        if memo.made(key, table).is_some_and(|made| made == digest(&held)) {
            return true;
        }
        let slots = memo.slots(table);
        memo.note(key, table, digest(&slots));
        let differing = (range.offset..).zip(held.iter().zip(&slots)).filter(|(_, (held, slot))| held != slot);
        let changes: Vec<(u32, u32)> = differing.map(|(index, (_, slot))| (index, *slot)).collect();
        if !changes.is_empty() {
            self.slots.insert(range.offset, table.clone());
            self.push(Write::SlotChanges { changes });
        }
        true
    }

    /// Room for slots. Where there is none, the ranges that this plan replaced so far are waited for, so that a change of all
    /// services needs no more room than a change of the largest.
    fn find_slots(&mut self, size: u32) -> Option<u32> {
        let capacity = self.tables.slots.len() as u32;
        if let Some(offset) = self.actual.slots.find_apart(size, TABLE_SIZES[0], capacity) {
            return Some(offset);
        }
        if self.actual.has_retired_slots() {
            self.push(Write::Quiesce);
        }
        self.actual.slots.find_apart(size, TABLE_SIZES[0], capacity)
    }

    /// What is in a range, or is planned for it.
    fn held(&self, range: SlotRange) -> Option<Vec<u32>> {
        if let Some(planned) = self.slots.get(&range.offset) {
            return Some(planned.slots());
        }
        let held = self.tables.slots.get(range.offset as usize..range.offset as usize + range.size as usize)?;
        Some(held.iter().map(Word32::load).collect())
    }
}

/// A digest of slots, on four lanes that do not wait for each other: it is taken of all slots in each full plan.
fn digest(slots: &[u32]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [1_u64, 2, 3, 4];
    for four in slots.chunks(lanes.len()) {
        for (lane, slot) in lanes.iter_mut().zip(four) {
            *lane = (lane.rotate_left(29) ^ u64::from(*slot)).wrapping_mul(FACTOR);
        }
    }
    lanes.into_iter().fold(0, |all, lane| (all ^ lane ^ lane >> 32).wrapping_mul(FACTOR))
}
