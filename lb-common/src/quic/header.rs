//! What the first octets of a QUIC packet say, as far as no key is needed.
//!
//! ```text
//! long   0 form 1, fixed, type (2 bits), ...   1 version (32 bits)   5 length of the connection id   6 connection id   ...
//! short  0 form 0, fixed, ...                  1 connection id
//! ```
//!
//! Form, version and the place of the destination's connection id are the same in all versions (RFC 8999); types are those of
//! version 1 (RFC 9000, section 17.2) and version 2 (RFC 9369, section 3.2). Only the first packet of a datagram is looked at: all of
//! a datagram have one connection id (RFC 9000, section 12.2).

use super::MAX_LENGTH;
use crate::frame::{Frame, Window};

/// Version 1 (RFC 9000).
pub const VERSION_1: u32 = 1;
/// Version 2 (RFC 9369).
pub const VERSION_2: u32 = 0x6b33_43cf;

/// Where the connection id begins in a short header.
const SHORT_ID: usize = 1;
/// Octets that are looked at first. Two, not one: the verifier takes a check for a single octet for no bound.
const LEAST: usize = 2;
/// Where it begins in a long header: after the first octet, the version and its length.
const LONG_ID: usize = 6;

const FORM: u8 = 0x80;
const FIXED: u8 = 0x40;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Short header: of a connection that is set up.
    Short,
    /// The first packets of a connection.
    Initial,
    /// Early data of a client.
    ZeroRtt,
    /// Of the handshake, once the server has answered.
    Handshake,
    /// The server asks for the same with a token. Clients send none.
    Retry,
    /// The server names its versions. Clients send none.
    VersionNegotiation,
    /// Long header of another version.
    OtherVersion,
}

/// What the first octets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Whether the second highest bit is set, as versions 1 and 2 have it unless both sides agreed otherwise (RFC 9287).
    pub fixed_bit: bool,
    /// The version; 0 for version negotiation and in a short header, which has none.
    pub version: u32,
    /// Where the destination's connection id begins, counted as the place that was given to [`Header::parse`].
    pub id_at: usize,
    /// Its length, 0 to 255 octets. A short header does not tell it: 20, as much as it can be.
    pub id_length: u32,
}

impl Header {
    /// Reads the payload of a UDP datagram, which lies from `at` up to `end`. `None` where it is no QUIC: it ends within the header,
    /// or a connection id is longer than its version has them.
    #[inline(always)]
    pub fn parse<F: Frame>(frame: &F, at: usize, end: usize) -> Option<Self> {
        if at + LEAST > end {
            return None;
        }
        let first = frame.window::<LEAST>(at)?.u8(0);
        let fixed_bit = first & FIXED != 0;
        if first & FORM == 0 {
            return Some(Self {
                kind: Kind::Short,
                fixed_bit,
                version: 0,
                id_at: at + SHORT_ID,
                id_length: MAX_LENGTH as u32,
            });
        }
        if at + LONG_ID > end {
            return None;
        }
        let window = frame.window::<LONG_ID>(at)?;
        let (version, id_length) = (window.be32(1), window.u8(5) as u32);
        let kind = Kind::of_long(first, version);
        let too_long = id_length as usize > MAX_LENGTH && (version == VERSION_1 || version == VERSION_2);
        if too_long || at + LONG_ID + id_length as usize > end {
            return None;
        }
        Some(Self { kind, fixed_bit, version, id_at: at + LONG_ID, id_length })
    }
}

impl Kind {
    /// Of a long header.
    #[inline(always)]
    const fn of_long(first: u8, version: u32) -> Self {
        let bits = first >> 4 & 3;
        // Version 2 counts from Retry on.
        let bits = match version {
            0 => return Self::VersionNegotiation,
            VERSION_1 => bits,
            VERSION_2 => bits.wrapping_sub(1) & 3,
            _ => return Self::OtherVersion,
        };
        match bits {
            0 => Self::Initial,
            1 => Self::ZeroRtt,
            2 => Self::Handshake,
            _ => Self::Retry,
        }
    }

    /// Whether the connection id may be one that the client made up: it names no server then, though it may look as if.
    #[inline(always)]
    #[must_use]
    pub const fn client_chooses_id(self) -> bool {
        matches!(self, Self::Initial | Self::ZeroRtt)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::Packet;

    proptest! {
        #[test]
        fn whatever_arrives_is_read_within_the_datagram(mut octets: Vec<u8>, known: Option<bool>) {
            if let (Some(second), Some(version)) = (known, octets.get_mut(1..5)) {
                version.copy_from_slice(&if second { VERSION_2 } else { VERSION_1 }.to_be_bytes());
            }
            let end = 2 + octets.len();
            match parse(&octets) {
                Some(header) if header.kind == Kind::Short => prop_assert!(header.id_at <= end && octets[0] < 0x80),
                Some(header) => prop_assert!(header.id_at + header.id_length as usize <= end && octets[0] >= 0x80),
                None => prop_assert!(octets.len() < 2 || octets[0] >= 0x80),
            }
        }
    }

    /// A datagram in a frame that goes on behind it, and what is read of it from place 2 on.
    fn parse(datagram: &[u8]) -> Option<Header> {
        let frame = Packet::new([&[0xee; 2], datagram, &[0; 32]].concat());
        Header::parse(&frame, 2, 2 + datagram.len())
    }

    fn long(first: u8, version: u32, id_length: u8) -> Vec<u8> {
        let mut octets = vec![first];
        octets.extend(version.to_be_bytes());
        octets.push(id_length);
        octets.extend((0..id_length).map(|octet| octet ^ 0xa5));
        octets
    }

    #[test]
    fn short_headers() {
        let expected =
            Header { kind: Kind::Short, fixed_bit: true, version: 0, id_at: 3, id_length: MAX_LENGTH as u32 };
        assert_eq!(parse(&[0x40, 1, 2, 3]), Some(expected));
        assert_eq!(parse(&[0x7f, 1]), Some(expected));
        assert_eq!(parse(&[0x3f, 1]), Some(Header { fixed_bit: false, ..expected }));
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0x40]), None, "without a connection id");
    }

    #[test]
    fn types_of_both_versions_and_of_others() {
        use Kind::*;
        let table = [
            (VERSION_1, [Initial, ZeroRtt, Handshake, Retry]),
            (VERSION_2, [Retry, Initial, ZeroRtt, Handshake]),
            (0, [VersionNegotiation; 4]),
            (0xff00_001d, [OtherVersion; 4]),
            (0x0a1a_2a3a, [OtherVersion; 4]),
        ];
        for (version, kinds) in table {
            for (bits, kind) in (0_u8..).zip(kinds) {
                for low in [0, 0x0f] {
                    let header = parse(&long(0xc0 | bits << 4 | low, version, 8)).expect("a header");
                    let expected = Header { kind, fixed_bit: true, version, id_at: 8, id_length: 8 };
                    assert_eq!(header, expected, "version {version:#x}, bits {bits}");
                }
            }
        }
    }

    #[test]
    fn clients_choose_ids_only_at_the_beginning() {
        use Kind::*;
        let chosen =
            [Short, Initial, ZeroRtt, Handshake, Retry, VersionNegotiation, OtherVersion].map(Kind::client_chooses_id);
        assert_eq!(chosen, [false, true, true, false, false, false, false]);
    }

    #[test]
    fn lengths_that_a_version_does_not_have() {
        for (version, length, fine) in [
            (VERSION_1, 20, true),
            (VERSION_1, 21, false),
            (VERSION_2, 20, true),
            (VERSION_2, 21, false),
            (7, 255, true),
        ] {
            assert_eq!(parse(&long(0xc0, version, length)).is_some(), fine, "{length} octets in version {version:#x}");
        }
        let header = parse(&long(0xc0, VERSION_1, 0)).expect("an empty connection id is one");
        assert_eq!(header.id_length, 0);
    }

    #[test]
    fn a_datagram_that_is_cut_is_no_header() {
        let whole = long(0xe0, VERSION_1, 8);
        for length in 1..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} octets");
        }
        // Where the frame itself ends, too.
        let frame = Packet::new(&whole[..5]);
        assert_eq!(Header::parse(&frame, 0, 14), None);
    }
}
