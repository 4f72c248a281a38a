//! The keyed hash of flows and services.
//!
//! NH, the inner hash of UMAC (Black et al., CRYPTO '99, section 4; RFC 4418): words are added to key words in pairs, the
//! pair is multiplied to 64 bits, products are summed. For two different inputs of one length chosen without
//! knowledge of the key, the probability that they collide is at most 2^-32 for one lane; we use two lanes with
//! independent keys. One multiplication a pair and no byte shuffling: two pairs for IPv4 and five for IPv6.
//!
//! NH alone has poor low bits, so what is used as an index goes through [`finish`].

use crate::{
    environment::Environment,
    parse::{Family, Parsed},
};

/// Words of key material in a [`HashKey`]: two lanes of ten words.
pub const KEY_WORDS: usize = 20;

/// The secret that all nodes of a cluster share.
pub type HashKey = [u32; KEY_WORDS];

/// What the tables need of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash {
    /// Identifies the flow within a bucket.
    pub tag: u64,
    /// Chooses buckets (low half) and the slot of the scheduler's table (high half).
    pub index: u64,
}

impl FlowHash {
    /// Hashes the 5-tuple of a packet.
    #[inline(always)]
    #[must_use]
    pub fn of<E: Environment>(env: &E, packet: &Parsed) -> Self {
        let (tag, index) = match packet.family {
            Family::V4 => (v4_lane(env, 0, packet), v4_lane(env, KEY_WORDS / 2, packet)),
            Family::V6 => (v6_lane(env, 0, packet), v6_lane(env, KEY_WORDS / 2, packet)),
        };
        Self { tag, index: finish(index) }
    }

    /// A slot of a table of `size` slots, without a division (Lemire, 2019, "Fast random integer generation in an interval").
    #[inline(always)]
    #[must_use]
    pub const fn slot(self, size: u32) -> u32 {
        (((self.index >> 32) * size as u64) >> 32) as u32
    }
}

#[inline(always)]
fn v4_lane<E: Environment>(env: &E, at: usize, packet: &Parsed) -> u64 {
    pair(packet.source[0], env.hash_word(at), packet.ports, env.hash_word(at + 1)).wrapping_add(pair(
        packet.destination[0],
        env.hash_word(at + 2),
        packet.protocol as u32,
        env.hash_word(at + 3),
    ))
}

#[inline(always)]
fn v6_lane<E: Environment>(env: &E, at: usize, packet: &Parsed) -> u64 {
    let (s, d) = (&packet.source, &packet.destination);
    pair(s[0], env.hash_word(at), s[1], env.hash_word(at + 1))
        .wrapping_add(pair(s[2], env.hash_word(at + 2), s[3], env.hash_word(at + 3)))
        .wrapping_add(pair(d[0], env.hash_word(at + 4), d[1], env.hash_word(at + 5)))
        .wrapping_add(pair(d[2], env.hash_word(at + 6), d[3], env.hash_word(at + 7)))
        .wrapping_add(pair(packet.ports, env.hash_word(at + 8), packet.protocol as u32, env.hash_word(at + 9)))
}

/// One NH step.
#[inline(always)]
pub(crate) const fn pair(a: u32, key_a: u32, b: u32, key_b: u32) -> u64 {
    (a.wrapping_add(key_a) as u64).wrapping_mul(b.wrapping_add(key_b) as u64)
}

/// Spreads every input bit over all output bits: the 64-bit finalizer of MurmurHash3, a bijection.
#[inline(always)]
#[must_use]
pub const fn finish(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
