//! Token buckets of client prefixes, in the table of clients ([`crate::clients`]).
//!
//! A prefix that is not in the table gets a place and begins with a full allowance. So where there are more prefixes at a time than
//! the table holds, some are let through that are above their rate, and none is refused that is below.

use super::bucket;
use crate::{
    abi::ServiceLimits,
    clients::{self, Prefix, Purpose},
    environment::Environment,
};

/// Takes a token of a client's prefix; `false`: there is none.
#[inline(always)]
pub fn take<E: Environment>(env: &E, service: u32, limits: &ServiceLimits, source: [u64; 2]) -> bool {
    let rate = limits.client();
    if rate.per_second == 0 {
        return true;
    }
    let prefix = Prefix { service, source, length: limits.client_prefix() };
    let Some(place) = clients::place(env, prefix, Purpose::Rate) else { return true };
    if place.is_own {
        return bucket::take(env, &place.entry.word, rate);
    }
    place.entry.tag.store(place.tag);
    place.entry.word.store(bucket::begun(env));
    true
}
