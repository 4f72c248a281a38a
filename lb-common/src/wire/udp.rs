//! UDP (RFC 768).
//!
//! ```text
//!  0 source port   2 destination port   4 length   6 checksum
//! ```

use crate::frame::{Frame, Window};

/// Length of the header.
pub const HEADER: usize = 8;

/// Where the checksum is.
pub const CHECKSUM: usize = 6;

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub struct Udp {
    /// Source and destination port as they lie in memory.
    pub ports: u32,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// Where the datagram ends.
    pub end: usize,
}

/// Reads the header at `at`; `None` where header or stated length do not fit between `at` and `end`.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, at: usize, end: usize) -> Option<Udp> {
    let header = frame.window::<HEADER>(at)?;
    let length = header.be16(4) as usize;
    if length < HEADER || at + length > end {
        return None;
    }
    Some(Udp { ports: header.word(0), destination_port: header.be16(2), end: at + length })
}

/// The same of the first part of a datagram, which ends at `end`: the length that it states goes beyond.
#[inline(always)]
pub fn parse_first<F: Frame>(frame: &F, at: usize, end: usize) -> Option<Udp> {
    let header = frame.window::<HEADER>(at)?;
    if (header.be16(4) as usize) < HEADER || at + HEADER > end {
        return None;
    }
    Some(Udp { ports: header.word(0), destination_port: header.be16(2), end })
}
