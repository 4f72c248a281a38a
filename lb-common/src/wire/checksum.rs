//! The Internet checksum (RFC 1071).

/// A sum under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// From [`Self::value`].
    #[inline(always)]
    #[must_use]
    pub const fn of(value: u64) -> Self {
        Self(value)
    }

    /// The sum, to go on from later.
    #[inline(always)]
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Adds 32 bits in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn add_host_word(self, value: u32) -> Self {
        Self(self.0 + (value >> 16) as u64 + (value & 0xffff) as u64)
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub const fn add_sum(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// What adds up to zero with it.
    #[inline(always)]
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(self.finish() as u64)
    }

    /// Adds 16 bits, host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, value: u16) -> Self {
        Self(self.0 + value as u64)
    }

    /// Adds 32 bits as they lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn add_word(self, word: u32) -> Self {
        let value = u32::from_be(word);
        Self(self.0 + (value >> 16) as u64 + (value & 0xffff) as u64)
    }

    /// Adds an IPv6 address as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn add_address(self, address: &[u32; 4]) -> Self {
        self.add_word(address[0]).add_word(address[1]).add_word(address[2]).add_word(address[3])
    }

    /// A checksum after one of the words that it covers has changed (RFC 1624, section 3, equation 3). What was wrong stays
    /// wrong.
    #[inline(always)]
    #[must_use]
    pub const fn updated(checksum: u16, old: u16, new: u16) -> u16 {
        Self(0).add(!checksum).add(!old).add(new).finish()
    }

    /// The checksum.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u16 {
        // Three folds take any sum of a packet's words below 2^16.
        let mut sum = self.0;
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }
}
