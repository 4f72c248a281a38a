//! IPv6 (RFC 8200) and its extension headers.
//!
//! ```text
//!  0 version, class, flow label   4 payload length   6 next header   7 hop limit
//!  8 source   24 destination   40 extension headers
//! ```

use super::ip::Fragment;
use crate::frame::{Frame, Window};

/// Length of the fixed header.
pub const HEADER: usize = 40;
/// IP protocol number of an IPv6 packet inside another IP packet (RFC 2473, RFC 4213).
pub const IN_IP: u8 = 41;
/// Extension headers that are followed. RFC 8200, section 4.1, names four in front of a transport header (hop-by-hop,
/// destination options twice, routing) besides the fragment header; one is for good measure.
pub const MAX_EXTENSIONS: usize = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// What the fixed header says.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6 {
    /// As in memory.
    pub source: [u32; 4],
    /// As in memory.
    pub destination: [u32; 4],
    /// What follows.
    pub next: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Where the packet ends; padding may follow.
    pub end: usize,
    /// Version, length and the frame agree. If not, only the addresses mean anything.
    pub valid: bool,
}

/// Where the chain of extension headers leads.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// Protocol number of what follows.
    pub protocol: u8,
    /// Where it begins.
    pub payload: usize,
    /// Whether a fragment header was among them.
    pub fragment: Fragment,
    /// What the fragment header says, 0 without one.
    pub identification: u32,
    /// Offset of the fragment, in units of eight bytes.
    pub offset: u16,
}

/// Why the chain could not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// A header does not fit into the packet.
    Malformed,
    /// More than [`MAX_EXTENSIONS`].
    TooMany,
}

/// Reads the fixed header at `at`; `None` where the frame ends before its addresses do.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, at: usize) -> Option<Ipv6> {
    let header = frame.window::<HEADER>(at)?;
    let end = at + HEADER + header.be16(4) as usize;
    Some(Ipv6 {
        source: [header.word(8), header.word(12), header.word(16), header.word(20)],
        destination: [header.word(24), header.word(28), header.word(32), header.word(36)],
        next: header.u8(6),
        hop_limit: header.u8(7),
        end,
        valid: header.u8(0) >> 4 == 6 && end <= frame.len(),
    })
}

/// Follows the extension headers from `at` to the transport header.
///
/// # Errors
///
/// See [`ChainError`].
#[inline(always)]
pub fn follow<F: Frame>(frame: &F, mut next: u8, mut at: usize, end: usize) -> Result<Chain, ChainError> {
    let mut fragment = Fragment::Whole;
    let (mut identification, mut place) = (0, 0);
    for _ in 0..MAX_EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            return Ok(Chain { protocol: next, payload: at, fragment, identification, offset: place });
        }
        let header = frame.window::<8>(at).ok_or(ChainError::Malformed)?;
        let length = if next == FRAGMENT { 8 } else { (header.u8(1) as usize + 1) * 8 };
        if at + length > end {
            return Err(ChainError::Malformed);
        }
        if next == FRAGMENT {
            let offset = header.be16(2);
            (identification, place) = (header.be32(4), offset >> 3);
            // The low bit says that more follow; the two above it are reserved.
            fragment = match (offset & !7, offset & 1) {
                (0, 0) => fragment,
                (0, _) => Fragment::First,
                _ => Fragment::Later,
            };
        }
        next = header.u8(0);
        at += length;
        if matches!(fragment, Fragment::Later) {
            return Ok(Chain { protocol: next, payload: at, fragment, identification, offset: place });
        }
    }
    match next {
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION => Err(ChainError::TooMany),
        protocol => Ok(Chain { protocol, payload: at, fragment, identification, offset: place }),
    }
}

/// Writes a fixed header: traffic class and flow label 0, hop limit 64. Addresses as in memory.
#[inline(always)]
pub fn emit(header: impl Window, payload: u16, next: u8, source: &[u32; 4], destination: &[u32; 4]) {
    header.set_be32(0, 0x6000_0000);
    header.set_be16(4, payload);
    header.set_u8(6, next);
    header.set_u8(7, 64);
    for i in 0..4 {
        header.set_word(8 + 4 * i, source[i]);
        header.set_word(24 + 4 * i, destination[i]);
    }
}
