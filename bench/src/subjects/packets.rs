//! The packets that the driver makes.

use std::net::{Ipv4Addr, Ipv6Addr};

use bench_ebpf::{Plan, TEMPLATE_BYTES};
use lb_common::wire::ip::Protocol;

/// The service that is asked for.
pub(crate) const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The same for IPv6.
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// Its port.
pub(crate) const PORT: u16 = 80;

/// TCP flags of a packet in the middle of a connection.
pub(crate) const ACK: u8 = 0x10;
/// TCP flags of a connection's first packet.
pub(crate) const SYN: u8 = 0x02;
/// TCP flags of a packet that makes no state.
pub(crate) const RST: u8 = 0x04;

/// A kind of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) v6: bool,
    pub(crate) protocol: Protocol,
    pub(crate) tcp_flags: u8,
    /// Where to, if not to [`VIP4`]; IPv6 packets always go to [`VIP6`].
    pub(crate) to: Ipv4Addr,
    /// TTL or hop limit.
    pub(crate) hop_limit: u8,
    /// Whole frame, bytes.
    pub(crate) length: u32,
}

impl Shape {
    /// A packet in the middle of a TCP connection over IPv4, as short as Ethernet allows.
    pub(crate) const TCP4: Self =
        Self { v6: false, protocol: Protocol::Tcp, tcp_flags: ACK, to: VIP4, hop_limit: 64, length: 64 };
    /// The same over IPv6, where headers alone are 74 bytes.
    pub(crate) const TCP6: Self = Self { v6: true, length: 80, ..Self::TCP4 };
    /// A UDP packet over IPv4.
    pub(crate) const UDP4: Self = Self { protocol: Protocol::Udp, ..Self::TCP4 };
    /// A UDP packet over IPv6.
    pub(crate) const UDP6: Self = Self { protocol: Protocol::Udp, ..Self::TCP6 };

    /// The whole packet, of the first flow of a `generation` (each has its own source addresses).
    pub(crate) fn bytes(&self, generation: u8) -> Vec<u8> {
        let mut bytes = vec![0x02, 0, 0, 0, 0, 0xee, 0x02, 0, 0, 0, 0, 0x01];
        let payload = self.length as usize - 14;
        let protocol = self.protocol as u8;
        if self.v6 {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(((payload - 40) as u16).to_be_bytes());
            bytes.extend([protocol, self.hop_limit]);
            bytes.extend(Ipv6Addr::new(0x2001, 0xdb8, 1, u16::from(generation), 0, 0, 0, 0).octets());
            bytes.extend(VIP6.octets());
        } else {
            bytes.extend([0x08, 0x00, 0x45, 0]);
            bytes.extend((payload as u16).to_be_bytes());
            bytes.extend([0, 0, 0x40, 0, self.hop_limit, protocol, 0, 0]);
            bytes.extend(Ipv4Addr::new(10, generation, 0, 0).octets());
            bytes.extend(self.to.octets());
        }
        let transport = bytes.len();
        bytes.extend([0, 0]);
        bytes.extend(PORT.to_be_bytes());
        match self.protocol {
            Protocol::Tcp => {
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50]);
                bytes.extend([self.tcp_flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Protocol::Udp => {
                bytes.extend(((self.length as usize - transport) as u16).to_be_bytes());
                bytes.extend([0, 0]);
            }
        }
        bytes.resize(self.length as usize, 0);
        bytes
    }

    /// What the driver needs to make `flows` different flows of it: a power of two.
    pub(crate) fn plan(&self, flows: u64, generation: u8) -> Plan {
        let bytes = self.bytes(generation);
        let mut template = [0; TEMPLATE_BYTES / 8];
        for (word, chunk) in template.iter_mut().zip(bytes.chunks(8)) {
            let mut octets = [0; 8];
            octets[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_ne_bytes(octets);
        }
        Plan {
            template,
            length: u64::from(self.length),
            version: if self.v6 { 6 } else { 4 },
            flow_mask: (flows - 1) as u32,
            restore_tail: 0,
            service_mask: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_packets_of_their_length_for_the_service() {
        for shape in [Shape::TCP4, Shape::TCP6, Shape::UDP4, Shape::UDP6] {
            let bytes = shape.bytes(3);
            assert_eq!(bytes.len(), shape.length as usize);
            let packet = lb_common::memory::Packet::new(bytes);
            let mut parsed = lb_common::parse::Parsed::new();
            lb_common::parse::parse(lb_common::features::Features::ALL, &packet, &mut parsed).expect("a whole packet");
            assert_eq!((parsed.protocol, parsed.destination_port), (shape.protocol, PORT));
        }
    }
}
