//! Table pick: the flow's hash chooses a slot of the service's table.

use crate::{abi::Service, environment::Environment, hash::FlowHash, verdict::DropReason};

/// The destination id for a flow; `None` if the table is empty.
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
    let index = slots.offset.wrapping_add(hash.slot(slots.size));
    env.slot(index).map(Some).ok_or(DropReason::Tables)
}
