//! Sixteen octets as two numbers, the first octet highest. Registers hold them, where BPF would put an array on its stack.

/// Sixteen octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Octets {
    /// The first eight.
    pub high: u64,
    /// The last eight.
    pub low: u64,
}

impl Octets {
    /// Those of `bits` leading ones, 0 to 128, and zeros after them.
    #[must_use]
    pub const fn leading_ones(bits: u32) -> Self {
        let ones = match bits {
            0 => 0,
            _ => u128::MAX << (128 - bits),
        };
        Self::from_u128(ones)
    }

    /// From a number, whose highest octet is the first.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self { high: (number >> 64) as u64, low: number as u64 }
    }

    /// As a number.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// Bits of both.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { high: self.high & other.high, low: self.low & other.low }
    }

    /// Bits of either.
    #[inline(always)]
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self { high: self.high | other.high, low: self.low | other.low }
    }

    /// Bits in which they differ.
    #[inline(always)]
    #[must_use]
    pub const fn xor(self, other: Self) -> Self {
        Self { high: self.high ^ other.high, low: self.low ^ other.low }
    }

    /// Without the first `bits`, 1 to 127; what moves in at the end comes from the beginning of `tail`.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, bits: u32, tail: u64) -> Self {
        // A shift by 64 is one by 0 for the machine, hence the two shifts of what moves from one number to the other.
        let (by, rest) = (bits & 63, !bits & 63);
        if bits < 64 {
            Self { high: self.high << by | self.low >> 1 >> rest, low: self.low << by | tail >> 1 >> rest }
        } else {
            Self { high: self.low << by | tail >> 1 >> rest, low: tail << by }
        }
    }

    /// With `bits` zeros, 1 to 127, in front; the last octets are lost.
    #[inline(always)]
    #[must_use]
    pub const fn behind(self, bits: u32) -> Self {
        let (by, rest) = (bits & 63, !bits & 63);
        if bits < 64 {
            Self { high: self.high >> by, low: self.low >> by | self.high << 1 << rest }
        } else {
            Self { high: 0, low: self.high >> by }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shifts_are_those_of_wide_numbers(number: u128, tail: u64, bits in 1_u32..=127) {
            let octets = Octets::from_u128(number);
            prop_assert_eq!(octets.to_u128(), number);
            prop_assert_eq!(octets.behind(bits).to_u128(), number >> bits);
            let moved_in = (u128::from(tail) << 64) >> (128 - bits);
            prop_assert_eq!(octets.after(bits, tail).to_u128(), number << bits | moved_in);
            prop_assert_eq!(Octets::leading_ones(bits).to_u128().leading_ones(), bits);
            prop_assert_eq!(Octets::leading_ones(bits).to_u128().count_ones(), bits);
        }
    }
}
