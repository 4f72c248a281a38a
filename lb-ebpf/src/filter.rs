//! The filter of VIPs: a global, which costs one load where a map would cost a look-up.
//!
//! Each loaded program has its own. User space fills it before the program is attached, and replaces it as a whole.

use lb_common::{abi::Word8, service::filter::FILTER_BYTES};

/// Alone in its section, so that the section is this array.
#[unsafe(no_mangle)]
static VIP_FILTER: [Word8; FILTER_BYTES] = [const { Word8::new(0) }; FILTER_BYTES];

/// The byte at a [`place`](lb_common::service::filter::place).
#[inline(always)]
pub(crate) fn byte(place: u32) -> u8 {
    VIP_FILTER[place as usize & (FILTER_BYTES - 1)].load()
}
