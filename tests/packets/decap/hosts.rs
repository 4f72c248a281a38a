//! Who may send, and where tunnels end: what is for no end is the host's, what is from a stranger is dropped.

use lb_common::decap::{DropReason, Kind, PassReason};

use super::{
    END, END6, GUE, NODE, NODE6, Row, STRANGER, STRANGER6, drops, every_kind, gue, header, inner, ipip, passes, unpacks,
};
use crate::wire::{ACK, ethernet, raw, tcp, udp};

pub(super) fn rows() -> Vec<Row> {
    [ends(), strangers(), no_tunnel()].concat()
}

/// Tunnelled to another address of this host: its VIP, or any.
fn ends() -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, outer, _) in every_kind() {
        let others = if outer.source.is_ipv4() {
            ["198.51.100.8", "203.0.113.200", "255.255.255.255"]
        } else {
            ["2001:db8:100::8", "2001:db8:ff::10", "2001:db8:100:1::7"]
        };
        for other in others {
            let elsewhere = outer.clone().with(|wire| wire.destination = other.parse().expect("an address"));
            let stranger = if outer.source.is_ipv4() { STRANGER } else { STRANGER6 };
            rows.push(passes(format!("{} to {other}", kind.help()), elsewhere.frame(), PassReason::OtherEnd));
            let elsewhere = elsewhere.with(|wire| wire.source = stranger.parse().expect("an address"));
            rows.push(passes(format!("the same from {stranger}"), elsewhere.frame(), PassReason::OtherEnd));
        }
    }
    rows
}

fn strangers() -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, outer, inner) in every_kind() {
        let (strangers, members) = if outer.source.is_ipv4() {
            (["192.0.2.128", "192.0.1.255", STRANGER], ["192.0.2.0", "192.0.2.127", "192.0.2.200"])
        } else {
            (
                ["2001:db8:9:ffff:ffff:ffff:ffff:ffff", "2001:db8:b::", STRANGER6],
                ["2001:db8:a::", "2001:db8:a:ffff:ffff:ffff:ffff:ffff", "2001:db8:a:1::1"],
            )
        };
        let from = |source: &str| outer.clone().with(|wire| wire.source = source.parse().expect("an address"));
        for stranger in strangers {
            rows.push(drops(format!("{} from {stranger}", kind.help()), from(stranger).frame(), DropReason::Source));
        }
        for member in members {
            rows.push(unpacks(format!("{} from {member}", kind.help()), kind, &from(member), &inner));
        }
    }
    rows
}

/// What is not tunnelled is the host's, from whomever.
fn no_tunnel() -> Vec<Row> {
    let mut rows = vec![
        passes("ARP", ethernet([0xff; 6], 0x0806, &[0; 46]), PassReason::NotIp),
        passes("MPLS", ethernet([2, 0, 0, 0, 0, 9], 0x8847, &[0; 46]), PassReason::NotIp),
        passes(
            "three tags",
            ipip(NODE, END, &inner(true)).tagged(&[(0x88a8, 1), (0x8100, 2), (0x8100, 3)]).frame(),
            PassReason::NotIp,
        ),
    ];
    for (from, to) in [(NODE, END), (NODE6, END6), (STRANGER, END), (STRANGER6, END6)] {
        let four = inner(true);
        for (what, frame) in [
            ("TCP", tcp((from, 1), (to, 80), ACK).frame()),
            ("TCP to the port of GUE", tcp((from, 1), (to, GUE), ACK).frame()),
            ("UDP", udp((from, 1), (to, 53)).frame()),
            ("UDP from the port of GUE", udp((from, GUE), (to, 50_123)).frame()),
            ("GUE to the port above", gue(from, to, &header(&four), &four).patched_port(GUE + 1)),
            ("GRE", raw(from, to, 47, &four.packet()).frame()),
            ("ESP", raw(from, to, 50, &four.packet()).frame()),
            ("ICMP", raw(from, to, 1, &[8, 0, 0, 0, 0, 0, 0, 0]).frame()),
        ] {
            rows.push(passes(format!("{what} from {from}"), frame, PassReason::NotTunnel));
        }
    }
    let four = inner(true);
    let known = gue(NODE, END, &header(&four), &four);
    rows.push(unpacks("and the port of GUE itself", Kind::Gue4In4, &known, &four));
    rows
}

/// A change of the outer UDP port.
trait Port {
    fn patched_port(&self, port: u16) -> Vec<u8>;
}

impl Port for crate::wire::Wire {
    fn patched_port(&self, port: u16) -> Vec<u8> {
        self.patched(self.transport_at() + 2, &port.to_be_bytes())
    }
}
