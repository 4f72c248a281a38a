//! Token buckets of client prefixes: a table of fixed size, four to a cache line.
//!
//! A prefix that is not in the table gets the place of the one in its bucket that took nothing for the longest, and begins with a full
//! allowance. So where there are more prefixes at a time than the table holds, some are let through that are above their rate, and
//! none is refused that is below: a tag is a keyed hash of 64 bits, so nobody takes another's tokens but by a chance of 2^-64, and
//! nobody who does not know the key can choose whom to push out.

use crate::{
    abi::{CLIENT_BUCKET, ServiceLimits},
    environment::Environment,
    flow::TICK_MASK,
    hash::{finish, pair},
    opaque::opaque,
    schedule::source,
    service::key::word_mask,
};

use super::bucket;

/// Takes a token of a client's prefix; `false`: there is none.
#[inline(always)]
pub fn take<E: Environment>(env: &E, service: u32, limits: &ServiceLimits, source: [u64; 2]) -> bool {
    let rate = limits.client();
    if rate.per_second == 0 {
        return true;
    }
    let (index, tag) = place(env, service, source, limits.client_prefix());
    let Some(found) = env.client_bucket(index & env.client_mask()) else { return true };
    let now = env.now();
    let (mut own, mut stalest) = (CLIENT_BUCKET as u64, 0);
    for (at, entry) in (0..).zip(&found.entries) {
        let present = entry.tag.load();
        if present == tag {
            own = at;
        }
        let idle = if present == 0 { TICK_MASK } else { bucket::idle(entry.taken.load(), now) };
        // Age above, place below: the largest is the stalest.
        let this = (idle as u64) << 2 | at;
        if this > stalest {
            stalest = this;
        }
    }
    if own < CLIENT_BUCKET as u64 {
        return bucket::take(env, &found.entries[opaque(own) as usize & (CLIENT_BUCKET - 1)].taken, rate);
    }
    let entry = &found.entries[opaque(stalest) as usize & (CLIENT_BUCKET - 1)];
    entry.tag.store(tag);
    entry.taken.store(bucket::begun(env));
    true
}

/// Bucket and tag of a prefix: two lanes of the keyed hash.
#[inline(always)]
fn place<E: Environment>(env: &E, service: u32, source: [u64; 2], prefix: u8) -> (u32, u64) {
    let key = env.hash_key();
    let word = |at: usize| (source[at / 2] >> (32 * (at & 1))) as u32 & word_mask(prefix, at);
    let of_service = pair(service, key[18], prefix as u32, key[19]);
    let tag = pair(word(0), key[14], word(1), key[15])
        .wrapping_add(pair(word(2), key[16], word(3), key[17]))
        .wrapping_add(of_service);
    let index = finish(source::index(env, source, prefix).wrapping_add(of_service.rotate_left(32)));
    ((index >> 32) as u32, finish(tag) | 1)
}
