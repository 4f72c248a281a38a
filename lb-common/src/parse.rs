//! From a frame to what the balancer needs to know of it.

use crate::{
    features::Features,
    frame::Frame,
    verdict::{DropReason, PassReason},
    wire::{
        ethernet, icmp,
        ip::{Fragment, Protocol},
        ipv4, ipv6, tcp, udp,
    },
};

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4: addresses are in the first word.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

/// What was found in a packet. After a fault the fields up to it mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Address family.
    pub family: Family,
    /// Transport protocol.
    pub protocol: Protocol,
    /// TCP flags; 0 for UDP.
    pub tcp_flags: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Whether it is a fragment.
    pub fragment: Fragment,
    /// The frame was sent to a multicast or broadcast MAC address.
    pub to_group: bool,
    /// Source address as in memory; IPv4 in the first word, the others 0.
    pub source: [u32; 4],
    /// Destination address likewise.
    pub destination: [u32; 4],
    /// Both ports as in memory.
    pub ports: u32,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// Where the IP header begins.
    pub network: usize,
    /// Where the transport header begins.
    pub transport: usize,
    /// Where the IP packet ends.
    pub end: usize,
}

/// Where a packet's transport header begins and whether it is a fragment: for whoever parses the packet once more, and is
/// spared the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// Bits of a place.
    pub const BITS: u32 = 16;
    const OFFSET: u32 = 0x3fff;

    /// Of a packet that was parsed.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Parsed) -> Self {
        Self(packet.transport as u32 & Self::OFFSET | (packet.fragment as u32) << 14)
    }

    /// As a number of [`Self::BITS`] bits.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From [`Self::bits`].
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Whether it is a later part of a datagram.
    #[inline(always)]
    #[must_use]
    pub const fn is_part(self) -> bool {
        matches!(self.fragment(), Fragment::Later)
    }

    #[inline(always)]
    pub(crate) const fn transport(self) -> usize {
        (self.0 & Self::OFFSET) as usize
    }

    #[inline(always)]
    const fn fragment(self) -> Fragment {
        match self.0 >> 14 & 3 {
            0 => Fragment::Whole,
            1 => Fragment::First,
            _ => Fragment::Later,
        }
    }
}

/// A packet that cannot be balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is the host's, whatever its destination is.
    Pass(PassReason),
    /// It is dropped if its destination is a VIP, else the host's.
    ForVip(DropReason),
    /// It is a part of a TCP segment or UDP datagram, and not the first. Everything is known of it but what a transport header says.
    Part,
    /// It is ICMP over IPv4 or ICMPv6 over IPv6. Everything is known of it up to where the message begins.
    Icmp,
}

impl Parsed {
    /// Nothing found yet.
    ///
    /// The packet is parsed into a value that is whole from the start: with a `Result` that carries it, the compiler leaves
    /// fields of the other variant undefined and may spill them, which the verifier refuses.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            family: Family::V4,
            protocol: Protocol::Tcp,
            tcp_flags: 0,
            hop_limit: 0,
            fragment: Fragment::Whole,
            to_group: false,
            source: [0; 4],
            destination: [0; 4],
            ports: 0,
            destination_port: 0,
            network: 0,
            transport: 0,
            end: 0,
        }
    }
}

impl Default for Parsed {
    fn default() -> Self {
        Self::new()
    }
}

/// Walks the headers of the families that are served.
///
/// # Errors
///
/// [`Fault`] for what has no whole TCP or UDP header.
#[inline(always)]
pub fn parse<F: Frame>(features: Features, frame: &F, packet: &mut Parsed) -> Result<(), Fault> {
    let ethernet = ethernet::parse(frame).ok_or(Fault::Pass(PassReason::NotParsed))?;
    packet.to_group = ethernet.to_group;
    packet.network = ethernet.payload;
    let protocol = match ethernet.ethertype {
        ethernet::IPV4 if features.has(Features::IPV4) => parse_v4(frame, packet)?,
        ethernet::IPV6 if features.has(Features::IPV6) => parse_v6(frame, packet)?,
        ethernet::IPV4 | ethernet::IPV6 => return Err(Fault::Pass(PassReason::NotServed)),
        _ => return Err(Fault::Pass(PassReason::NotIp)),
    };
    parse_transport(frame, protocol, packet)
}

/// Reads a packet again whose way to the transport header is known: all fields but those of the transport header.
///
/// # Errors
///
/// If it is no IP packet after all.
#[inline(always)]
pub fn parse_again<F: Frame>(frame: &F, place: Place, packet: &mut Parsed) -> Result<(), Fault> {
    let ethernet = ethernet::parse(frame).ok_or(Fault::Pass(PassReason::NotParsed))?;
    packet.to_group = ethernet.to_group;
    packet.network = ethernet.payload;
    match ethernet.ethertype {
        ethernet::IPV4 => {
            parse_v4(frame, packet)?;
        }
        ethernet::IPV6 => {
            parse_v6_fixed(frame, packet)?;
        }
        _ => return Err(Fault::Pass(PassReason::NotIp)),
    }
    packet.transport = place.transport();
    packet.fragment = place.fragment();
    Ok(())
}

/// Returns the protocol number of what follows.
#[inline(always)]
fn parse_v4<F: Frame>(frame: &F, packet: &mut Parsed) -> Result<u8, Fault> {
    let ip = ipv4::parse(frame, packet.network).ok_or(Fault::Pass(PassReason::NotParsed))?;
    packet.family = Family::V4;
    packet.source[0] = ip.source;
    packet.destination[0] = ip.destination;
    packet.hop_limit = ip.ttl;
    packet.fragment = ip.fragment;
    packet.transport = ip.payload;
    packet.end = ip.end;
    if ip.valid { Ok(ip.protocol) } else { Err(Fault::ForVip(DropReason::Malformed)) }
}

/// Returns the protocol number of what follows the fixed header.
#[inline(always)]
fn parse_v6_fixed<F: Frame>(frame: &F, packet: &mut Parsed) -> Result<u8, Fault> {
    let ip = ipv6::parse(frame, packet.network).ok_or(Fault::Pass(PassReason::NotParsed))?;
    packet.family = Family::V6;
    packet.source = ip.source;
    packet.destination = ip.destination;
    packet.hop_limit = ip.hop_limit;
    packet.transport = packet.network + ipv6::HEADER;
    packet.end = ip.end;
    if ip.valid { Ok(ip.next) } else { Err(Fault::ForVip(DropReason::Malformed)) }
}

/// Returns the protocol number of what follows the extension headers.
#[inline(always)]
fn parse_v6<F: Frame>(frame: &F, packet: &mut Parsed) -> Result<u8, Fault> {
    let next = parse_v6_fixed(frame, packet)?;
    // Most packets have no extension header; the loop stays off their path.
    if next == Protocol::Tcp as u8 || next == Protocol::Udp as u8 {
        return Ok(next);
    }
    let chain = ipv6::follow(frame, next, packet.transport, packet.end).map_err(|error| {
        Fault::ForVip(match error {
            ipv6::ChainError::Malformed => DropReason::Malformed,
            ipv6::ChainError::TooMany => DropReason::ExtensionHeaders,
        })
    })?;
    packet.transport = chain.payload;
    packet.fragment = chain.fragment;
    Ok(chain.protocol)
}

#[inline(always)]
fn parse_transport<F: Frame>(frame: &F, protocol: u8, packet: &mut Parsed) -> Result<(), Fault> {
    packet.protocol = match protocol {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        icmp::PROTOCOL_V4 if matches!(packet.family, Family::V4) => return Err(Fault::Icmp),
        icmp::PROTOCOL_V6 if matches!(packet.family, Family::V6) => return Err(Fault::Icmp),
        _ => return Err(Fault::Pass(PassReason::OtherProtocol)),
    };
    if matches!(packet.fragment, Fragment::Later) {
        return Err(Fault::Part);
    }
    let malformed = Fault::ForVip(DropReason::Malformed);
    match packet.protocol {
        Protocol::Tcp => {
            let tcp = tcp::parse(frame, packet.transport, packet.end).ok_or(malformed)?;
            packet.ports = tcp.ports;
            packet.destination_port = tcp.destination_port;
            packet.tcp_flags = tcp.flags;
        }
        Protocol::Udp => {
            let udp = match packet.fragment {
                Fragment::First => udp::parse_first(frame, packet.transport, packet.end),
                _ => udp::parse(frame, packet.transport, packet.end),
            };
            let udp = udp.ok_or(malformed)?;
            packet.ports = udp.ports;
            packet.destination_port = udp.destination_port;
        }
    }
    Ok(())
}
