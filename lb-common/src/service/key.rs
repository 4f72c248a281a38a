//! What an entry of the service table is found by.

use crate::{
    abi::{AddressKind, Shape},
    environment::Environment,
    hash::{finish, pair},
    parse::Family,
};

/// A key of the service table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Address family.
    pub family: Family,
    /// Address as in memory.
    pub address: [u32; 4],
    /// IP protocol number; 0 in an entry for an address of whatever protocol.
    pub protocol: u8,
    /// Port, host byte order; 0 in an entry for an address.
    pub port: u16,
    /// Which bits of address and port count.
    pub shape: Shape,
}

/// The shape of a single address with a single port, or of a single address alone.
#[inline(always)]
#[must_use]
pub const fn single(family: Family, kind: AddressKind) -> Shape {
    let address_bits = match family {
        Family::V4 => 32,
        Family::V6 => 128,
    };
    let port_bits = match kind {
        AddressKind::Service => 16,
        AddressKind::Address => 0,
    };
    Shape { address_bits, port_bits, kind }
}

impl Key {
    /// As three words, for a function that takes nothing but numbers.
    #[inline(always)]
    #[must_use]
    pub const fn pack(&self) -> [u64; 3] {
        let [a, b, c, d] = self.address;
        [
            a as u64 | (b as u64) << 32,
            c as u64 | (d as u64) << 32,
            self.port as u64
                | (self.protocol as u64) << 16
                | (self.family as u64) << 24
                | (self.shape.pack() as u64) << 32,
        ]
    }

    /// The family of a packed key, by its last word.
    #[inline(always)]
    #[must_use]
    pub const fn family_of(rest: u64) -> Family {
        if rest >> 24 & 1 == 0 { Family::V4 } else { Family::V6 }
    }

    /// From [`Self::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(words: [u64; 3]) -> Self {
        let [ab, cd, rest] = words;
        Self {
            family: Self::family_of(rest),
            address: [ab as u32, (ab >> 32) as u32, cd as u32, (cd >> 32) as u32],
            protocol: (rest >> 16) as u8,
            port: rest as u16,
            shape: Shape::unpack((rest >> 32) as u32),
        }
    }

    /// The key with the bits that do not count cleared.
    #[inline(always)]
    #[must_use]
    pub fn masked(mut self) -> Self {
        for i in 0..4 {
            self.address[i] &= word_mask(self.shape.address_bits, i);
        }
        self.port &= (0xffff_0000_u32 >> (self.shape.port_bits & 31)) as u16;
        self
    }

    /// The hash that is the entry's tag and, in its low bits, the bucket.
    #[inline(always)]
    pub fn hash<E: Environment>(&self, env: &E, salt: u64) -> u64 {
        let words = env.hash_key();
        self.hash_with(|i| words[i], salt)
    }

    /// The same with the words of the hash key from anywhere.
    #[inline(always)]
    pub fn hash_with(&self, word: impl Fn(usize) -> u32, salt: u64) -> u64 {
        let transport = self.port as u32 | (self.protocol as u32) << 16 | (self.family as u32) << 24;
        let mut sum = pair(self.address[0], word(0), transport, word(1));
        if matches!(self.family, Family::V6) {
            sum = sum.wrapping_add(pair(self.address[1], word(2), self.address[2], word(3)));
        }
        sum = sum.wrapping_add(pair(self.address[3], word(4), self.shape.pack(), word(5)));
        finish(sum ^ salt)
    }
}

/// The mask of one word of an address, as in memory.
#[inline(always)]
pub(crate) const fn word_mask(address_bits: u8, word: usize) -> u32 {
    let before = 32 * word as u32;
    let bits = (address_bits as u32).saturating_sub(before);
    if bits >= 32 {
        u32::MAX
    } else {
        // A shift in 64 bits, because one by 32 is not defined in 32.
        ((0xffff_ffff_0000_0000_u64 >> bits) as u32).to_be()
    }
}
