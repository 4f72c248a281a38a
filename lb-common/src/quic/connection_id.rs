//! A connection id as QUIC-LB makes it (draft -21, sections 3 and 5.2).
//!
//! ```text
//!  0      configuration (3 bits, highest), length of what follows or random (5 bits)
//!  1      server id, then nonce: 5 to 19 octets, in plain text or encrypted together
//!  ...    what the server adds for itself
//! ```

use super::{MAX_LENGTH, octets::Octets};
use crate::frame::{Frame, Window};

/// The configuration that means "unroutable": a server without a configuration uses it (section 3.2).
pub const RESERVED: u8 = 7;

/// Bits of the first octet that are not the configuration.
const LOW_BITS: u32 = 5;

/// The first [`MAX_LENGTH`] octets of a connection id, and whatever follows if it is shorter: a short header does not tell the
/// length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId {
    first: u8,
    /// The octets after the first.
    pub(super) block: Octets,
    /// The last three, highest first, and zeros.
    pub(super) tail: u64,
}

impl ConnectionId {
    /// Reads it at `at`; `None` where fewer than 20 octets lie between `at` and `end`.
    ///
    /// No packet is too short that an endpoint accepts: it has 20 octets or more after its connection id, for header protection
    /// (RFC 9001, section 5.4.2; RFC 9369 changes nothing there).
    #[inline(always)]
    pub fn parse<F: Frame>(frame: &F, at: usize, end: usize) -> Option<Self> {
        if at + MAX_LENGTH > end {
            return None;
        }
        let window = frame.window::<MAX_LENGTH>(at)?;
        let word = |at| window.be32(at) as u64;
        let (a, b, c, d, e) = (word(0), word(4), word(8), word(12), word(16));
        Some(Self {
            first: (a >> 24) as u8,
            block: Octets { high: a << 40 | b << 8 | c >> 24, low: c << 40 | d << 8 | e >> 24 },
            tail: e << 40,
        })
    }

    /// All of it but the first octet.
    #[inline(always)]
    pub(crate) const fn to_words(self) -> [u64; 3] {
        [self.block.high, self.block.low, self.tail]
    }

    /// From [`Self::to_words`]; the first octet is 0.
    #[inline(always)]
    pub(crate) const fn from_words([high, low, tail]: [u64; 3]) -> Self {
        Self { first: 0, block: Octets { high, low }, tail }
    }

    /// From its octets, zeros after them; `None` for none and for more than 20.
    #[must_use]
    pub fn from_slice(octets: &[u8]) -> Option<Self> {
        let (first, rest) = octets.split_first()?;
        let mut padded = [0; 24];
        padded.get_mut(..rest.len()).filter(|_| octets.len() <= MAX_LENGTH)?.copy_from_slice(rest);
        let number = |at: usize| padded[at..at + 8].iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        Some(Self { first: *first, block: Octets { high: number(0), low: number(8) }, tail: number(16) })
    }

    /// The configuration that it names: 0 to 6, or [`RESERVED`].
    #[inline(always)]
    #[must_use]
    pub const fn configuration(&self) -> u8 {
        self.first >> LOW_BITS
    }

    /// The first octet, for a configuration (below 8) and what its low five bits hold.
    #[must_use]
    pub const fn first_octet(configuration: u8, low_bits: u8) -> u8 {
        configuration << LOW_BITS | low_bits & ((1 << LOW_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Packet;

    const OCTETS: [u8; 20] = [0xc1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

    #[test]
    fn octets_are_where_they_belong() {
        let id = ConnectionId::from_slice(&OCTETS).expect("20 octets");
        assert_eq!(id.configuration(), 6);
        assert_eq!(id.block.to_u128().to_be_bytes(), OCTETS[1..17]);
        assert_eq!(id.tail, 0x1112_1300_0000_0000);
    }

    #[test]
    fn a_packet_gives_the_same_as_a_slice_and_nothing_where_it_ends_before() {
        let frame = Packet::new([&[0xff; 3][..], &OCTETS, &[0xff; 9]].concat());
        assert_eq!(ConnectionId::parse(&frame, 3, 32), ConnectionId::from_slice(&OCTETS));
        assert_eq!(ConnectionId::parse(&frame, 3, 23), ConnectionId::from_slice(&OCTETS));
        assert_eq!(ConnectionId::parse(&frame, 3, 22), None, "the datagram ends, the frame goes on");
        assert_eq!(ConnectionId::parse(&frame, 13, 40), None, "the frame ends");
    }

    #[test]
    fn slices_that_are_no_connection_id() {
        assert_eq!(ConnectionId::from_slice(&[]), None);
        assert_eq!(ConnectionId::from_slice(&[0; 21]), None);
        assert!(ConnectionId::from_slice(&[0]).is_some());
    }

    #[test]
    fn the_first_octet_holds_both() {
        assert_eq!(ConnectionId::first_octet(0, 7), 0x07);
        assert_eq!(ConnectionId::first_octet(6, 0xff), 0xdf);
        assert_eq!(ConnectionId::first_octet(RESERVED, 19), 0xf3);
    }
}
