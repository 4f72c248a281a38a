//! The table of server ids: which destination a server id of a service names.
//!
//! Buckets of eight words, each with 40 bits of a keyed tag and the destination's id. A server id has two candidate buckets, and the
//! tables have at least twice as many words as there are backends, so there is room. The bucket and the tag together are some 50
//! bits or more that a client cannot compute; a connection id that it made up names some backend with a chance below one in 10^9,
//! and then goes to a backend of its own service.

use super::{ServerId, octets::Octets};
use crate::{
    abi::{QUIC_BUCKET, QuicServer},
    environment::Environment,
    hash::{FlowHash, FlowKey, HashKey, finish},
    parse::Family,
};

/// Where a server id is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Identifies it within a bucket: the upper 40 bits count, see [`QuicServer`].
    pub tag: u64,
    bucket: u32,
}

/// What is hashed: the server id, its length by the ones of a mask, and the service.
#[derive(Clone, Copy)]
struct Key {
    id: Octets,
    mask: Octets,
    service: u32,
}

#[inline(always)]
const fn word(octets: Octets, index: usize) -> u32 {
    let half = if index < 2 { octets.high } else { octets.low };
    if index & 1 == 0 { (half >> 32) as u32 } else { half as u32 }
}

impl FlowKey for Key {
    const FAMILY: Family = Family::V6;

    #[inline(always)]
    fn source(self, index: usize) -> u32 {
        word(self.id, index)
    }

    #[inline(always)]
    fn destination(self, index: usize) -> u32 {
        word(self.mask, index)
    }

    #[inline(always)]
    fn ports(self) -> u32 {
        self.service
    }

    #[inline(always)]
    fn protocol(self) -> u32 {
        0
    }
}

impl Wanted {
    /// Of a server id whose length the ones of `mask` tell, for the service with this index.
    #[inline(always)]
    #[must_use]
    pub fn of(key: &HashKey, service: u32, id: ServerId, mask: Octets) -> Self {
        let hash = FlowHash::with_key(key, Key { id: id.0, mask, service });
        Self { tag: finish(hash.tag), bucket: hash.bucket() }
    }

    /// Its first bucket, of a power of two of buckets less one.
    #[inline(always)]
    #[must_use]
    pub const fn first(self, mask: u32) -> u32 {
        self.bucket & mask
    }

    /// Its other bucket, never the same one if there are two.
    #[inline(always)]
    #[must_use]
    pub const fn second(self, mask: u32) -> u32 {
        (self.bucket ^ (self.tag as u32 | 1)) & mask
    }

    /// The destination that has the server id; 0: none.
    #[inline(always)]
    pub fn find<E: Environment>(self, env: &E) -> u32 {
        let mask = env.quic_mask();
        let first = self.find_in(env, self.first(mask));
        if first == 0 { self.find_in(env, self.second(mask)) } else { first }
    }

    #[inline(always)]
    fn find_in<E: Environment>(self, env: &E, bucket: u32) -> u32 {
        let Some(bucket) = env.quic_bucket(bucket) else { return 0 };
        let mut found = 0;
        let mut place = 0;
        while place < QUIC_BUCKET {
            let server = QuicServer::from_bits(bucket.words[place].load());
            if server.has(self.tag) {
                found = server.destination();
            }
            place += 1;
        }
        found
    }
}
