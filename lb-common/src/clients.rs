//! The table of client prefixes: what is known of each, for a service and a purpose. Of fixed size, four entries to a cache line.
//!
//! What is not in the table gets the place of the one in its bucket that nothing was written of for the longest. A tag is a keyed hash of
//! 64 bits, so nobody is taken for another but by a chance of 2^-64, and nobody who does not know the key can choose whom to push
//! out. Of every word the lowest bits are the tick at which it was written; the rest is the purpose's own.

use crate::{
    abi::{CLIENT_BUCKET, ClientEntry},
    environment::Environment,
    flow::TICK_MASK,
    hash::{finish, pair},
    limits::bucket,
    opaque::opaque,
    schedule::source,
    service::key::word_mask,
};

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// What it has taken of its rate ([`crate::limits::client`]).
    Rate = 0,
    /// Where its last flow went ([`crate::schedule::affinity`]).
    Affinity = 1,
}

/// Whose place it is.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    /// The service.
    pub service: u32,
    /// An address of the prefix, as [`crate::schedule::pick::Chooser::source`] has it.
    pub source: [u64; 2],
    /// How many of its bits count.
    pub length: u8,
}

/// A place in the table.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
pub struct Place<'a> {
    /// Its own entry, or the stalest of its bucket.
    pub entry: &'a ClientEntry,
    /// What its own entry has.
    pub tag: u64,
    /// Whether it is its own.
    pub is_own: bool,
}

/// Finds the place of a prefix; `None` only if there is no table.
#[inline(always)]
pub fn place<E: Environment>(env: &E, prefix: Prefix, purpose: Purpose) -> Option<Place<'_>> {
    let (index, tag) = hash(env, prefix, purpose);
    let bucket = env.client_bucket(index & env.client_mask())?;
    let now = env.now();
    let (mut own, mut stalest) = (CLIENT_BUCKET as u64, 0);
    for (at, entry) in (0..).zip(&bucket.entries) {
        let present = entry.tag.load();
        if present == tag {
            own = at;
        }
        let idle = if present == 0 { TICK_MASK } else { bucket::idle(entry.word.load(), now) };
        // Age above, place below: the largest is the stalest.
        let this = (idle as u64) << 2 | at;
        if this > stalest {
            stalest = this;
        }
    }
    let is_own = own < CLIENT_BUCKET as u64;
    let at = if is_own { own } else { stalest };
    Some(Place { entry: &bucket.entries[opaque(at) as usize & (CLIENT_BUCKET - 1)], tag, is_own })
}

/// Bucket and tag of a prefix: two lanes of the keyed hash.
#[inline(always)]
fn hash<E: Environment>(env: &E, Prefix { service, source, length }: Prefix, purpose: Purpose) -> (u32, u64) {
    let key = env.hash_key();
    let word = |at: usize| (source[at / 2] >> (32 * (at & 1))) as u32 & word_mask(length, at);
    let of_service = pair(service, key[18], length as u32 | (purpose as u32) << 8, key[19]);
    let tag = pair(word(0), key[14], word(1), key[15])
        .wrapping_add(pair(word(2), key[16], word(3), key[17]))
        .wrapping_add(of_service);
    let index = finish(source::index(env, source, length).wrapping_add(of_service.rotate_left(32)));
    ((index >> 32) as u32, finish(tag) | 1)
}
