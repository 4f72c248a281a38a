//! The ICMP probe: an echo request (RFC 792, RFC 4443).
//!
//! A ping socket needs no rights, but the group that `net.ipv4.ping_group_range` allows, which nobody is in by default. A raw
//! socket needs `CAP_NET_RAW`, which the daemon has. What the kernel grants first is used.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use lb_common::wire::checksum::Sum;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

use super::{Target, socket, trouble::Trouble};
use crate::health::Advice;

const HEADER: usize = 8;
/// Octets after the header, which tell one's own echo from others'.
const PAYLOAD: usize = 16;

/// Sends an echo request and waits for its reply.
pub(super) async fn check(target: &Target) -> Result<Advice, Trouble> {
    let (socket, raw) = open(target)?;
    // It reads and writes whole packets, as those of UDP do.
    let socket = UdpSocket::from_std(socket.into())?;
    let payload: [u8; PAYLOAD] = rand::random();
    socket.send(&request(target.address, payload)).await?;
    loop {
        let packet = socket::receive(&socket).await?;
        if is_reply(target.address, raw, &packet, &payload) {
            return Ok(Advice::default());
        }
    }
}

/// A connected socket, and whether it is a raw one.
fn open(target: &Target) -> io::Result<(Socket, bool)> {
    let (domain, protocol) = match target.address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Ok(socket) => (socket, false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            (Socket::new(domain, Type::RAW, Some(protocol))?, true)
        }
        Err(error) => return Err(error),
    };
    socket.set_nonblocking(true)?;
    socket::tell_unreachable(&socket, target.address)?;
    if let Some(source) = target.source {
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    socket.connect(&SockAddr::from(SocketAddr::new(target.address, 0)))?;
    Ok((socket, raw))
}

/// The kernel fills in the checksum for ICMPv6, and for ping sockets the identifier, too.
fn request(address: IpAddr, payload: [u8; PAYLOAD]) -> [u8; HEADER + PAYLOAD] {
    let mut packet = [0; HEADER + PAYLOAD];
    packet[0] = if address.is_ipv4() { 8 } else { 128 };
    packet[4..6].copy_from_slice(&[payload[0], payload[1]]);
    packet[7] = 1;
    packet[HEADER..].copy_from_slice(&payload);
    if address.is_ipv4() {
        let (words, _) = packet.as_chunks::<2>();
        let sum = words.iter().fold(Sum::of(0), |sum, word| sum.add(u16::from_be_bytes(*word)));
        packet[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    }
    packet
}

/// Whether a packet is the reply; a raw socket shows the IPv4 header, too, and everybody's replies.
fn is_reply(address: IpAddr, raw: bool, packet: &[u8], payload: &[u8; PAYLOAD]) -> bool {
    let skipped = match packet.first() {
        Some(first) if raw && address.is_ipv4() => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let Some(message) = packet.get(skipped..) else { return false };
    let reply = if address.is_ipv4() { 0 } else { 129 };
    message.first() == Some(&reply) && message.get(HEADER..) == Some(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    /// A request with the type of a reply, after a header of so many octets.
    fn reply(address: IpAddr, header: u8) -> Vec<u8> {
        let mut packet = request(address, [7; PAYLOAD]).to_vec();
        packet[0] = if address.is_ipv4() { 0 } else { 129 };
        let mut header = vec![0x40 | (header / 4); usize::from(header)];
        header.append(&mut packet);
        header
    }

    #[test]
    fn the_reply_is_found_behind_the_header_that_raw_sockets_show() {
        let payload = [7; PAYLOAD];
        assert!(is_reply(V4, false, &reply(V4, 0), &payload));
        assert!(is_reply(V4, true, &reply(V4, 20), &payload));
        assert!(is_reply(V4, true, &reply(V4, 60), &payload));
        assert!(is_reply(V6, true, &reply(V6, 0), &payload));
        assert!(!is_reply(V4, true, &reply(V4, 20), &[8; PAYLOAD]), "another's");
        assert!(!is_reply(V4, false, &request(V4, payload), &payload), "one's own request, on loopback");
        assert!(!is_reply(V4, true, &reply(V4, 20)[..43], &payload), "cut short");
    }

    #[test]
    fn the_request_has_a_checksum_where_the_kernel_makes_none() {
        let packet = request(V4, [9; PAYLOAD]);
        let sum: u32 = packet.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
        // One's complement: with its checksum a packet sums up to all ones.
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    proptest! {
        #[test]
        fn no_packet_panics(packet: Vec<u8>, raw: bool, v4: bool) {
            is_reply(if v4 { V4 } else { V6 }, raw, &packet, &[0; PAYLOAD]);
        }
    }
}
