//! The outer header of what may be tunnelled.

use super::verdict::{DropReason, PassReason, Stop};
use crate::{
    frame::{Frame, Window},
    parse::Family,
    wire::{
        ethernet::{self, Ethernet},
        ip::Fragment,
        ipv4, ipv6,
    },
};

/// What an outer header says.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// Its address family.
    pub family: Family,
    /// As in memory; IPv4 in the first word, the others 0.
    pub source: [u32; 4],
    /// Likewise.
    pub destination: [u32; 4],
    /// IP protocol number of what follows, behind IPv6 extension headers.
    pub protocol: u8,
    /// The congestion bits of its traffic class (RFC 3168).
    pub ecn: u8,
    /// Whether it is a fragment.
    pub fragment: Fragment,
    /// Where what it carries begins.
    pub payload: usize,
    /// Where the packet ends.
    pub end: usize,
    /// Version, lengths and the frame agree.
    pub valid: bool,
    /// The extension headers could not be followed, and protocol and payload are not known.
    pub fault: Option<DropReason>,
}

impl Outer {
    /// Nothing found yet: a value that is whole from the start, as [`crate::parse::Parsed`].
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            family: Family::V4,
            source: [0; 4],
            destination: [0; 4],
            protocol: 0,
            ecn: 0,
            fragment: Fragment::Whole,
            payload: 0,
            end: 0,
            valid: false,
            fault: None,
        }
    }
}

impl Default for Outer {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads the header behind the link header.
///
/// # Errors
///
/// If this is no IP packet, or too short for its addresses.
#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F, link: &Ethernet, outer: &mut Outer) -> Result<(), Stop> {
    let found = match link.ethertype {
        ethernet::IPV4 => parse_v4(frame, link.payload, outer),
        ethernet::IPV6 => parse_v6(frame, link.payload, outer),
        _ => return Err(PassReason::NotIp.into()),
    };
    found.ok_or_else(|| PassReason::NotParsed.into())
}

#[inline(always)]
fn parse_v4<F: Frame>(frame: &F, at: usize, outer: &mut Outer) -> Option<()> {
    let ip = ipv4::parse(frame, at)?;
    outer.family = Family::V4;
    outer.source[0] = ip.source;
    outer.destination[0] = ip.destination;
    outer.protocol = ip.protocol;
    outer.ecn = frame.window::<2>(at)?.u8(1) & 3;
    outer.fragment = ip.fragment;
    outer.payload = ip.payload;
    outer.end = ip.end;
    outer.valid = ip.valid;
    Some(())
}

#[inline(always)]
fn parse_v6<F: Frame>(frame: &F, at: usize, outer: &mut Outer) -> Option<()> {
    let ip = ipv6::parse(frame, at)?;
    outer.family = Family::V6;
    outer.source = ip.source;
    outer.destination = ip.destination;
    outer.ecn = frame.window::<2>(at)?.u8(1) >> 4 & 3;
    outer.end = ip.end;
    outer.valid = ip.valid;
    match ipv6::follow(frame, ip.next, at + ipv6::HEADER, ip.end) {
        Ok(chain) => {
            outer.protocol = chain.protocol;
            outer.fragment = chain.fragment;
            outer.payload = chain.payload;
        }
        Err(ipv6::ChainError::Malformed) => outer.fault = Some(DropReason::Malformed),
        Err(ipv6::ChainError::TooMany) => outer.fault = Some(DropReason::ExtensionHeaders),
    }
    Some(())
}
