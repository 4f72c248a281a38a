//! ICMP (RFC 792) and ICMPv6 (RFC 4443).
//!
//! ```text
//!  0 type   1 code   2 checksum   4 unused or MTU   8 quoted packet      errors
//!                                 4 id   6 sequence number   8 data      echo
//! ```

/// Length of a message in front of the quoted packet or the data.
pub const HEADER: usize = 8;
/// IP protocol number of ICMP.
pub const PROTOCOL_V4: u8 = 1;
/// IP protocol number of ICMPv6.
pub const PROTOCOL_V6: u8 = 58;
/// Type 3, code 3 (RFC 792).
pub const PORT_UNREACHABLE_V4: u16 = 0x0303;
/// Type 3, code 4 (RFC 1191).
pub const FRAGMENTATION_NEEDED_V4: u16 = 0x0304;
/// Type 11, code 0 (RFC 792).
pub const TIME_EXCEEDED_V4: u16 = 0x0b00;
/// Type 3, code 0 (RFC 4443, section 3.3).
pub const TIME_EXCEEDED_V6: u16 = 0x0300;
/// Type 2, code 0 (RFC 4443, section 3.2).
pub const PACKET_TOO_BIG_V6: u16 = 0x0200;
/// Type 1, code 4 (RFC 4443, section 3.1).
pub const PORT_UNREACHABLE_V6: u16 = 0x0104;
/// Types of error messages that concern a flow: destination unreachable, time exceeded, parameter problem (RFC 792). The others,
/// source quench (RFC 6633) and redirect, are for nobody or for the host.
pub const ERRORS_V4: [u8; 3] = [3, 11, 12];
/// Types of error messages: destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443).
pub const ERRORS_V6: [u8; 4] = [1, 2, 3, 4];
/// Bytes of the quoted transport header that there must be: the ports are in them (RFC 792).
pub const QUOTED_TRANSPORT: usize = 8;
/// Type of an echo request and of its reply (RFC 792).
pub const ECHO_V4: (u8, u8) = (8, 0);
/// Type of an echo request and of its reply (RFC 4443, section 4).
pub const ECHO_V6: (u8, u8) = (128, 129);
