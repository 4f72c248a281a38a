//! TCP (RFC 9293).
//!
//! ```text
//!  0 source port   2 destination port   4 sequence number   8 acknowledgment number
//! 12 data offset   13 flags   14 window   16 checksum   18 urgent pointer   20 options
//! ```

use crate::frame::{Frame, Window};

/// Length without options.
pub const HEADER: usize = 20;
/// No more data from the sender.
pub const FIN: u8 = 1;
/// Synchronize sequence numbers.
pub const SYN: u8 = 2;
/// Reset the connection.
pub const RST: u8 = 4;
/// The acknowledgment number counts.
pub const ACK: u8 = 16;

/// Length with all options that there may be.
pub const MOST: usize = 60;
/// The option behind which no other follows.
pub const END_OF_OPTIONS: u8 = 0;
/// The option of a single byte that says nothing.
pub const NO_OPERATION: u8 = 1;

/// Where the word is whose upper four bits are the header's length in words of 32 bits.
pub const OFFSET: usize = 12;
/// Where the checksum is.
pub const CHECKSUM: usize = 16;

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// Source and destination port as they lie in memory.
    pub ports: u32,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// Flags.
    pub flags: u8,
}

/// Reads the header at `at`; `None` where it does not fit between `at` and `end`, or says that it does not.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, at: usize, end: usize) -> Option<Tcp> {
    let header = frame.window::<HEADER>(at)?;
    let length = length(header);
    if length < HEADER || at + length > end {
        return None;
    }
    Some(Tcp { ports: header.word(0), destination_port: header.be16(2), flags: header.u8(13) })
}

/// Length of a header with its options, as it says.
#[inline(always)]
pub fn length(header: impl Window) -> usize {
    (header.u8(OFFSET) >> 4) as usize * 4
}
