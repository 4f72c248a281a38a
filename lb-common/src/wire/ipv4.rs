//! IPv4 (RFC 791).
//!
//! ```text
//!  0 version, IHL   2 total length   4 id   6 flags, fragment offset
//!  8 TTL   9 protocol   10 checksum   12 source   16 destination   20 options
//! ```

use super::{checksum::Sum, ip::Fragment};
use crate::frame::{Frame, Window};

/// Length without options.
pub const HEADER: usize = 20;
/// IP protocol number of an IPv4 packet inside another IP packet (RFC 2003).
pub const IN_IP: u8 = 4;
const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;
const OFFSET: u16 = 0x1fff;

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4 {
    /// As in memory.
    pub source: u32,
    /// As in memory.
    pub destination: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Whether it is a fragment.
    pub fragment: Fragment,
    /// Where the transport header begins.
    pub payload: usize,
    /// Where the packet ends; padding may follow.
    pub end: usize,
    /// Version, lengths and the frame agree. If not, only the addresses mean anything.
    pub valid: bool,
}

/// Reads the header at `at`; `None` where the frame ends before its addresses do.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, at: usize) -> Option<Ipv4> {
    let header = frame.window::<HEADER>(at)?;
    let first = header.u8(0);
    let length = (first as usize & 0xf) * 4;
    let total = header.be16(2) as usize;
    let flags = header.be16(6);
    let fragment = match (flags & OFFSET, flags & MORE_FRAGMENTS) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    };
    Some(Ipv4 {
        source: header.word(12),
        destination: header.word(16),
        protocol: header.u8(9),
        ttl: header.u8(8),
        fragment,
        payload: at + length,
        end: at + total,
        valid: first >> 4 == 4 && length >= HEADER && total >= length && at + total <= frame.len(),
    })
}

/// Whether routers may cut the packet at `at` to pieces.
#[inline(always)]
#[must_use]
pub fn may_be_cut<F: Frame>(frame: &F, at: usize) -> bool {
    frame.window::<HEADER>(at).is_some_and(|header| header.be16(6) & DONT_FRAGMENT == 0)
}

/// Whether the packet at `at` is a fragment.
#[inline(always)]
#[must_use]
pub fn is_part<F: Frame>(frame: &F, at: usize) -> bool {
    frame.window::<HEADER>(at).is_some_and(|header| header.be16(6) & (MORE_FRAGMENTS | OFFSET) != 0)
}

/// Identification and offset (in units of eight bytes) of the packet at `at`.
#[inline(always)]
pub fn part<F: Frame>(frame: &F, at: usize) -> Option<(u32, u16)> {
    let header = frame.window::<HEADER>(at)?;
    Some((header.be16(4) as u32, header.be16(6) & OFFSET))
}

/// The sum over those words of a header without options that do not depend on class, length and what varies of the source.
#[must_use]
pub fn constant_sum(protocol: u8, source: u32, destination: u32) -> Sum {
    Sum::default().add(0x4500).add(DONT_FRAGMENT).add(64 << 8 | protocol as u16).add_word(source).add_word(destination)
}

/// Writes a header without options: TTL 64, DF set, ID 0 (RFC 6864, section 4.1), right checksum. Addresses as in memory.
#[inline(always)]
pub fn emit(header: impl Window, total: u16, protocol: u8, source: u32, destination: u32) {
    header.set_be16(0, 0x4500);
    header.set_be16(2, total);
    header.set_be16(4, 0);
    header.set_be16(6, DONT_FRAGMENT);
    header.set_be16(8, 64 << 8 | protocol as u16);
    header.set_be16(10, 0);
    header.set_word(12, source);
    header.set_word(16, destination);
    let sum = Sum::default()
        .add(0x4500)
        .add(total)
        .add(DONT_FRAGMENT)
        .add(64 << 8 | protocol as u16)
        .add_word(source)
        .add_word(destination);
    header.set_be16(10, sum.finish());
}
