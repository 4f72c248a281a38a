//! Slots of services, and room for them.

use std::{collections::BTreeMap, sync::Arc};

use lb_common::abi::{SlotRange, Word32};

use super::{
    actual::ActualService,
    desired::{BackendKey, DesiredService, ServiceKey},
    diff::Planner,
    error::PlanError,
    memo::{Made, Memo, members},
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
        let members = members(desired);
        if members.is_empty() {
            return Ok(SlotRange::default());
        }
        let ids: Vec<u32> = members.iter().map(|(key, _)| ids[key]).collect();
        let recipe = memo.recipe(&members, desired.table_size);
        let destinations = memo.destinations(&ids);
        let range = present.map(|service| service.slots).unwrap_or_default();
        let same = |made: &Made| (made.recipe, made.destinations) == (recipe, destinations);
        if let Some(made) = memo.made(key).filter(same)
            && range.size == desired.table_size
            && self.digest(range) == Some(made.slots)
        {
            return Ok(range);
        }
        let picks = memo.picks(recipe, &members, desired.table_size).map_err(PlanError::Maglev)?;
        let slots: Arc<Vec<u32>> = Arc::new(picks.iter().map(|pick| ids[*pick as usize]).collect());
        memo.note(key, Made { recipe, destinations, slots: digest(slots.iter().copied()) });
        if range.size as usize == slots.len()
            && let Some(changes) = self.changes(range, &slots)
        {
            if !changes.is_empty() {
                self.slots.insert(range.offset, slots);
                self.push(Write::SlotChanges { changes });
            }
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

    /// Slots that differ from what is there, or is planned; `None`: the range is not in the table.
    fn changes(&self, range: SlotRange, slots: &[u32]) -> Option<Vec<(u32, u32)>> {
        let wanted = (range.offset..).zip(slots);
        let differing = |held: u32, (slot, id): (u32, &u32)| (held != *id).then_some((slot, *id));
        Some(match self.slots.get(&range.offset) {
            Some(planned) => planned.iter().zip(wanted).filter_map(|(held, to)| differing(*held, to)).collect(),
            None => self.held(range)?.iter().zip(wanted).filter_map(|(held, to)| differing(held.load(), to)).collect(),
        })
    }

    /// The digest of what is in a range, or is planned for it.
    fn digest(&self, range: SlotRange) -> Option<u64> {
        match self.slots.get(&range.offset) {
            Some(planned) => Some(digest(planned.iter().copied())),
            None => Some(digest(self.held(range)?.iter().map(Word32::load))),
        }
    }

    fn held(&self, range: SlotRange) -> Option<&[Word32]> {
        self.tables.slots.get(range.offset as usize..range.offset as usize + range.size as usize)
    }
}

/// A digest of slots, on four lanes that do not wait for each other: it is taken of all slots in each full plan.
fn digest(slots: impl Iterator<Item = u32>) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [1_u64, 2, 3, 4];
    for (i, slot) in slots.enumerate() {
        let lane = &mut lanes[i & 3];
        *lane = (lane.rotate_left(29) ^ u64::from(slot)).wrapping_mul(FACTOR);
    }
    lanes.into_iter().fold(0, |all, lane| (all ^ lane ^ lane >> 32).wrapping_mul(FACTOR))
}
