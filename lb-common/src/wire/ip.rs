//! What IPv4 and IPv6 have in common.

/// Transport protocols that services have; values are IP protocol numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// RFC 9293.
    Tcp = 6,
    /// RFC 768.
    Udp = 17,
}

/// Whether a datagram is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fragment {
    /// It is, or it is an atomic fragment (RFC 6946).
    Whole,
    /// The first part, with the transport header.
    First,
    /// Another part, without.
    Later,
}

/// Loopback and group sources; a service is never configured on such an address.
#[inline(always)]
#[must_use]
pub fn is_martian_v4(address: u32) -> bool {
    let first = u32::from_be(address) >> 24;
    // 0/8 "this network" and 127/8 loopback (RFC 1122, section 3.2.1.3); 224/4 groups, 240/4 reserved with broadcast.
    first == 0 || first == 127 || first >= 224
}

/// As [`is_martian_v4`]: `::`, `::1`, `ff00::/8`, and IPv4-mapped addresses, which do not belong on the wire (RFC 4942, section 2.2).
#[inline(always)]
#[must_use]
pub fn is_martian_v6(address: &[u32; 4]) -> bool {
    let first = u32::from_be(address[0]);
    first >> 24 == 0xff
        || address[0] | address[1] == 0
            && (u32::from_be(address[2]) == 0xffff || address[2] == 0 && u32::from_be(address[3]) <= 1)
}
