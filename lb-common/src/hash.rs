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

/// What is hashed of a flow: words as they lie in memory.
pub trait FlowKey: Copy {
    /// Address family.
    const FAMILY: Family;
    /// A word of the source address, below 1 for IPv4 and 4 for IPv6.
    fn source(self, index: usize) -> u32;
    /// A word of the destination address.
    fn destination(self, index: usize) -> u32;
    /// Both ports.
    fn ports(self) -> u32;
    /// IP protocol number.
    fn protocol(self) -> u32;
}

/// The 5-tuple of an IPv4 packet.
#[derive(Clone, Copy)]
struct V4<'a>(&'a Parsed);

/// The 5-tuple of an IPv6 packet.
#[derive(Clone, Copy)]
struct V6<'a>(&'a Parsed);

macro_rules! key_of_parsed {
    ($name:ident, $family:ident) => {
        impl FlowKey for $name<'_> {
            const FAMILY: Family = Family::$family;

            #[inline(always)]
            fn source(self, index: usize) -> u32 {
                self.0.source[index]
            }

            #[inline(always)]
            fn destination(self, index: usize) -> u32 {
                self.0.destination[index]
            }

            #[inline(always)]
            fn ports(self) -> u32 {
                self.0.ports
            }

            #[inline(always)]
            fn protocol(self) -> u32 {
                self.0.protocol as u32
            }
        }
    };
}

key_of_parsed!(V4, V4);
key_of_parsed!(V6, V6);

impl FlowHash {
    /// Hashes the 5-tuple of a packet.
    #[inline(always)]
    #[must_use]
    pub fn of<E: Environment>(env: &E, packet: &Parsed) -> Self {
        match packet.family {
            Family::V4 => Self::of_key(env, V4(packet)),
            Family::V6 => Self::of_key(env, V6(packet)),
        }
    }

    /// The same of a 5-tuple wherever it is.
    #[inline(always)]
    #[must_use]
    pub fn of_key<E: Environment>(env: &E, key: impl FlowKey) -> Self {
        Self::with_key(env.hash_key(), key)
    }

    /// The same with a key that is given.
    #[inline(always)]
    #[must_use]
    pub fn with_key(words: &HashKey, key: impl FlowKey) -> Self {
        let tag = lane(words, 0, key);
        // Computed here and not where it is first compared: until then every word of the key would have to be kept.
        Self { tag: opaque(tag), index: lane(words, KEY_WORDS / 2, key) }
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
fn lane<K: FlowKey>(words: &HashKey, at: usize, key: K) -> u64 {
    match K::FAMILY {
        Family::V4 => pair(key.source(0), words[at], key.ports(), words[at + 1]).wrapping_add(pair(
            key.destination(0),
            words[at + 2],
            key.protocol(),
            words[at + 3],
        )),
        Family::V6 => pair(key.source(0), words[at], key.source(1), words[at + 1])
            .wrapping_add(pair(key.source(2), words[at + 2], key.source(3), words[at + 3]))
            .wrapping_add(pair(key.destination(0), words[at + 4], key.destination(1), words[at + 5]))
            .wrapping_add(pair(key.destination(2), words[at + 6], key.destination(3), words[at + 7]))
            .wrapping_add(pair(key.ports(), words[at + 8], key.protocol(), words[at + 9])),
    }
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
