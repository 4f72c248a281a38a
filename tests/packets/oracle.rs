//! A second opinion on checksums, from etherparse.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// Whether a frame parses and every checksum in it is right.
///
/// # Errors
///
/// Which one is not.
pub(crate) fn checksums_are_right(frame: &[u8]) -> Result<(), String> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(|error| format!("etherparse: {error}"))?;
    let net = packet.net.as_ref().ok_or("etherparse: no IP")?;
    if let NetSlice::Ipv4(ip) = net {
        let header = ip.header().to_header();
        expect("IPv4 header checksum", header.header_checksum, header.calc_header_checksum())?;
    }
    match packet.transport.as_ref().ok_or("etherparse: no transport")? {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            let right = match net {
                NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()),
                NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()),
                NetSlice::Arp(_) => return Err("TCP in ARP".to_owned()),
            };
            expect("TCP checksum", header.checksum, right.map_err(|error| error.to_string())?)
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let right = match net {
                NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()),
                NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()),
                NetSlice::Arp(_) => return Err("UDP in ARP".to_owned()),
            };
            expect("UDP checksum", header.checksum, right.map_err(|error| error.to_string())?)
        }
        TransportSlice::Icmpv4(icmp) => {
            let right = icmp.icmp_type().calc_checksum(icmp.payload());
            expect("ICMP checksum", icmp.header().checksum, right)
        }
        TransportSlice::Icmpv6(icmp) => {
            let NetSlice::Ipv6(ip) = net else { return Err("ICMPv6 outside of IPv6".to_owned()) };
            let header = ip.header();
            let right = icmp.icmp_type().calc_checksum(header.source(), header.destination(), icmp.payload());
            expect("ICMPv6 checksum", icmp.header().checksum, right.map_err(|error| error.to_string())?)
        }
        TransportSlice::Igmp(_) => Err("nothing here speaks IGMP".to_owned()),
    }
}

fn expect(what: &str, seen: u16, right: u16) -> Result<(), String> {
    if seen == right { Ok(()) } else { Err(format!("{what}: {seen:#06x}, etherparse computes {right:#06x}")) }
}
