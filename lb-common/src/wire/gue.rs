//! Generic UDP Encapsulation (draft-ietf-intarea-gue-09), the part of it that carries IP packets.
//!
//! ```text
//! variant 0:  0 version (2 bits), control (1), length of optional fields in words (5)
//!             1 protocol   2 flags   4 optional fields
//! variant 1:  the IP packet itself; the first two bits of both IP versions are 01
//! ```

use crate::{
    frame::{Frame, Window},
    parse::Family,
    wire::{ipv4, ipv6},
};

/// Length without optional fields.
pub const HEADER: usize = 4;
/// The port that IANA assigned to GUE.
pub const PORT: u16 = 6080;
const CONTROL: u8 = 0x20;
const WORDS: u8 = 0x1f;

/// What a datagram carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gue {
    /// What the packet inside says to be, or is said to be.
    pub family: Family,
    /// Where it begins.
    pub payload: usize,
}

/// Why a datagram cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GueError {
    /// The header does not fit into the datagram.
    Malformed,
    /// A later version, a control message, no IP packet, or a flag: each of the flags that are defined (remote checksum
    /// offload, fragments, security and so on) changes what has to be done with the payload.
    Unknown,
}

/// Reads what lies between `at` and `end`, which is where the UDP datagram ends. Optional fields without a flag are private
/// data of the sender and skipped.
///
/// # Errors
///
/// See [`GueError`].
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, at: usize, end: usize) -> Result<Gue, GueError> {
    let header = frame.window::<HEADER>(at).ok_or(GueError::Malformed)?;
    if at + HEADER > end {
        return Err(GueError::Malformed);
    }
    let first = header.u8(0);
    match first >> 4 {
        0..=3 => {}
        4 => return Ok(Gue { family: Family::V4, payload: at }),
        6 => return Ok(Gue { family: Family::V6, payload: at }),
        _ => return Err(GueError::Unknown),
    }
    if first & CONTROL != 0 || header.be16(2) != 0 {
        return Err(GueError::Unknown);
    }
    let payload = at + HEADER + (first & WORDS) as usize * 4;
    if payload > end {
        return Err(GueError::Malformed);
    }
    match header.u8(1) {
        ipv4::IN_IP => Ok(Gue { family: Family::V4, payload }),
        ipv6::IN_IP => Ok(Gue { family: Family::V6, payload }),
        _ => Err(GueError::Unknown),
    }
}
