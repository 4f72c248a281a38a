//! Rare work as global functions: the verifier checks each once, for any argument, instead of once for every state that
//! a caller can be in. They take and return nothing but numbers and the context.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    flow::{FlowWord, room},
    reply,
    service::{self, Key},
    verdict::DropReason,
};

use crate::context::{Context, Maps};

/// Which interface a packet came from does not matter here.
const MAPS: Maps = Maps { ingress: 0 };

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn make_room(tag: u64, first: u32, second: u32, word: u64) -> u32 {
    room::make(&MAPS, tag, first, second, FlowWord::from_bits(word)) as u32
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_by_shape(ab: u64, cd: u64, rest: u64) -> u32 {
    service::by_shape(&MAPS, &Key::unpack([ab, cd, rest]))
}

/// Returns 0, or the number of the drop reason plus one.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn reject(context: *mut xdp_md) -> u32 {
    match reply::reject(&MAPS, &mut Context::new(context)) {
        Ok(()) => 0,
        Err(reason) => reason as u32 + 1,
    }
}

/// What [`reject`] returned.
#[inline(always)]
pub(crate) fn rejected(code: u32) -> Result<(), DropReason> {
    match code.checked_sub(1) {
        None => Ok(()),
        Some(number) => Err(DropReason::from_number(number)),
    }
}
