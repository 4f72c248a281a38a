//! The keyed hash of flows and services.
//!
//! NH, the inner hash of UMAC (Black et al., CRYPTO '99, section 4; RFC 4418): words are added to key words in pairs, the
//! pair is multiplied to 64 bits, products are summed. For two different inputs of one length chosen without
//! knowledge of the key, the probability that they collide is at most 2^-32 for one lane; we use two lanes with
//! independent keys. One multiplication a pair and no byte shuffling: two pairs for IPv4 and five for IPv6.
//!
//! NH alone has poor low bits, so what is used as an index is mixed once more: [`FlowHash::bucket`], [`finish`].

use crate::{
    environment::Environment,
    opaque::opaque,
    parse::{Family, Parsed},
};

/// Words of key material in a [`HashKey`]: two lanes of ten words.
pub const KEY_WORDS: usize = 20;

/// The secret that all nodes of a cluster share.
pub type HashKey = [u32; KEY_WORDS];

/// What the tables need of a flow: two lanes of NH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash {
    /// Identifies the flow within a bucket.
    pub tag: u64,
    /// Chooses the bucket and, after [`finish`], the slot of the scheduler's table.
    pub index: u64,
}

/// A flow as it is hashed: words as they lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Address family.
    pub family: Family,
    /// Source address; IPv4 in the first word.
    pub source: [u32; 4],
    /// Destination address likewise.
    pub destination: [u32; 4],
    /// Both ports.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u32,
}

impl FlowHash {
    /// Hashes the 5-tuple of a packet.
    #[inline(always)]
    #[must_use]
    pub fn of<E: Environment>(env: &E, packet: &Parsed) -> Self {
        Self::of_key(
            env,
            &FlowKey {
                family: packet.family,
                source: packet.source,
                destination: packet.destination,
                ports: packet.ports,
                protocol: packet.protocol as u32,
            },
        )
    }

    /// The same of the words alone.
    #[inline(always)]
    #[must_use]
    pub fn of_key<E: Environment>(env: &E, key: &FlowKey) -> Self {
        let words = env.hash_key();
        let (tag, index) = match key.family {
            Family::V4 => (v4_lane(words, 0, key), v4_lane(words, KEY_WORDS / 2, key)),
            Family::V6 => (v6_lane(words, 0, key), v6_lane(words, KEY_WORDS / 2, key)),
        };
        // Computed here and not where it is first compared: until then every word of the key would have to be kept.
        Self { tag: opaque(tag), index }
    }

    /// A number of 32 bits for the first bucket. NH's bits are good in the middle of its products; the fold brings the
    /// upper half down and the multiplication brings all of it up again (multiply-shift; Dietzfelbinger et al., 1997).
    #[inline(always)]
    #[must_use]
    pub const fn bucket(self) -> u32 {
        ((self.index ^ self.index >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    /// The entry of a bucket that the flow takes if it can: the two highest bits of [`Self::bucket`], which no table is large
    /// enough to use for the bucket.
    #[inline(always)]
    #[must_use]
    pub const fn entry(self) -> usize {
        (self.bucket() >> 30) as usize
    }

    /// A slot of a table of `size` slots, without a division (Lemire, 2019, "Fast random integer generation in an interval").
    #[inline(always)]
    #[must_use]
    pub const fn slot(self, size: u32) -> u32 {
        (((finish(self.index) >> 32) * size as u64) >> 32) as u32
    }
}

#[inline(always)]
fn v4_lane(words: &HashKey, at: usize, key: &FlowKey) -> u64 {
    pair(key.source[0], words[at], key.ports, words[at + 1]).wrapping_add(pair(
        key.destination[0],
        words[at + 2],
        key.protocol,
        words[at + 3],
    ))
}

#[inline(always)]
fn v6_lane(words: &HashKey, at: usize, key: &FlowKey) -> u64 {
    let (s, d) = (&key.source, &key.destination);
    pair(s[0], words[at], s[1], words[at + 1])
        .wrapping_add(pair(s[2], words[at + 2], s[3], words[at + 3]))
        .wrapping_add(pair(d[0], words[at + 4], d[1], words[at + 5]))
        .wrapping_add(pair(d[2], words[at + 6], d[3], words[at + 7]))
        .wrapping_add(pair(key.ports, words[at + 8], key.protocol, words[at + 9]))
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
