//! `source-hash`: all flows of a client, or of a prefix of clients, go to one destination.

use crate::{environment::Environment, hash::pair, service::key::word_mask};

/// What the scheduler goes by in the place of [`crate::hash::FlowHash::index`]: the keyed hash of the address as far as `prefix`
/// bits of it count. Neither VIP nor port is in it: with the same backends a client has the same one in every service.
#[inline(always)]
pub fn index<E: Environment>(env: &E, source: [u64; 2], prefix: u8) -> u64 {
    let key = env.hash_key();
    let word = |at: usize| (source[at / 2] >> (32 * (at & 1))) as u32 & word_mask(prefix, at);
    pair(word(0), key[10], word(1), key[11]).wrapping_add(pair(word(2), key[12], word(3), key[13]))
}
