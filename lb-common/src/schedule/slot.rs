//! Table pick: a number chooses a slot of the service's table.

use crate::{
    abi::{Service, SlotRange},
    environment::Environment,
    hash::FlowHash,
    verdict::DropReason,
};

/// The destination id for a flow by its hash; `None` if the table is empty.
///
/// # Errors
///
/// [`DropReason::Tables`] if the service points outside of the slot array.
#[inline(always)]
pub fn pick<E: Environment>(env: &E, service: &Service, hash: FlowHash) -> Result<Option<u32>, DropReason> {
    let slots = service.slots();
    if slots.size == 0 {
        return Ok(None);
    }
    env.slot(index(slots, hash)).map(Some).ok_or(DropReason::Tables)
}

/// The slot of a hash, counted over the whole array.
#[inline(always)]
pub(crate) const fn index(slots: SlotRange, hash: FlowHash) -> u32 {
    slots.offset.wrapping_add(hash.slot(slots.size))
}

/// The slot of a number that is spread evenly over 32 bits.
#[inline(always)]
pub(super) const fn scaled(slots: SlotRange, number: u32) -> u32 {
    slots.offset.wrapping_add(((number as u64 * slots.size as u64) >> 32) as u32)
}
