//! Which probe a packet is of: by where it comes from.

use std::net::{IpAddr, SocketAddr};

use lb_common::wire::{ipv4, ipv6};

/// Transport protocol and source of a probe's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) protocol: u8,
    pub(super) source: SocketAddr,
}

impl Flow {
    /// Of an IP packet; `None` if it is not whole, or of neither TCP nor UDP.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let (protocol, address, transport): (u8, IpAddr, usize) = match packet.first()? >> 4 {
            4 => {
                let address: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
                (*packet.get(9)?, address.into(), usize::from(packet[0] & 15) * 4)
            }
            6 => {
                let address: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
                (*packet.get(6)?, address.into(), ipv6::HEADER)
            }
            _ => return None,
        };
        let is_ours = matches!(i32::from(protocol), libc::IPPROTO_TCP | libc::IPPROTO_UDP);
        if !is_ours || transport < ipv4::HEADER {
            return None;
        }
        let port = packet.get(transport..transport + 2)?;
        Some(Self { protocol, source: SocketAddr::new(address, u16::from_be_bytes([port[0], port[1]])) })
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn flow(protocol: i32, source: &str) -> Option<Flow> {
        Some(Flow { protocol: protocol as u8, source: source.parse().expect("an address") })
    }

    #[test]
    fn packets_are_told_by_protocol_and_source() {
        let mut tcp = Vec::new();
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [192, 0, 2, 1], 64).tcp(4000, 80, 1, 1000);
        builder.write(&mut tcp, &[]).expect("it fits");
        assert_eq!(Flow::of(&tcp), flow(libc::IPPROTO_TCP, "10.0.0.1:4000"));
        let mut udp = Vec::new();
        let source = "2001:db8::7".parse::<std::net::Ipv6Addr>().expect("an address").octets();
        PacketBuilder::ipv6(source, [1; 16], 64).udp(5000, 53).write(&mut udp, b"?").expect("it fits");
        assert_eq!(Flow::of(&udp), flow(libc::IPPROTO_UDP, "[2001:db8::7]:5000"));
        for packet in [tcp, udp] {
            let whole = Flow::of(&packet);
            let cut: Vec<_> = (0..packet.len()).map(|length| Flow::of(&packet[..length])).collect();
            assert!(cut.iter().all(|found| found.is_none() || *found == whole), "{cut:?}");
        }
    }

    #[test]
    fn what_the_kernel_says_by_itself_is_of_no_probe() {
        let mut solicitation = Vec::new();
        let builder = PacketBuilder::ipv6([2; 16], [3; 16], 255).icmpv6_raw(133, 0, [0; 4]);
        builder.write(&mut solicitation, &[]).expect("it fits");
        assert_eq!(Flow::of(&solicitation), None);
        assert_eq!((Flow::of(&[]), Flow::of(&[0x12; 60])), (None, None));
    }
}
