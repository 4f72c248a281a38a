//! Line 1: ARP, LLDP, any other ethertype → PASS.

use super::{WEB, services};
use crate::{
    case::{Case, NotIp, Pass, case, send_bytes},
    wire::{NODE_MAC, ethernet},
    world::A,
};

pub(super) fn cases() -> Vec<Case> {
    let vip: std::net::Ipv4Addr = WEB.0.parse().expect("an address");
    // RFC 826: who has the VIP? The host's stack answers, not the balancer.
    let arp =
        [&[0, 1, 8, 0, 6, 4, 0, 1, 0x02, 0, 0, 0, 0, 1, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0][..], &vip.octets(), &[0; 18]]
            .concat();
    let broadcast = [0xff; 6];
    let lldp = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
    let frames = [
        ("ARP for a VIP", ethernet(broadcast, 0x0806, &arp)),
        ("LLDP", ethernet(lldp, 0x88cc, &[2, 7, 4, 2, 0, 0, 0, 0, 1, 0, 0])),
        ("MPLS", ethernet(NODE_MAC, 0x8847, &[0; 50])),
        ("PPPoE", ethernet(NODE_MAC, 0x8864, &[0; 50])),
        ("MACsec", ethernet(NODE_MAC, 0x88e5, &[0; 50])),
        ("802.3 length and LLC: spanning tree", ethernet(lldp, 38, &[0x42; 46])),
        ("an ethertype of experiments", ethernet(NODE_MAC, 0x88b5, &[0x45; 60])),
        ("ARP in a VLAN", ethernet(broadcast, 0x8100, &[&[0, 7, 8, 6], &arp[..]].concat())),
        ("a bare header", ethernet(NODE_MAC, 0x0806, &[])),
    ];
    frames.into_iter().map(|(what, frame)| case(what, &services(&[A]), [send_bytes(frame, Pass(NotIp))])).collect()
}
