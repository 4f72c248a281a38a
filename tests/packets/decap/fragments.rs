//! Fragments of tunnelled packets are dropped; those of other packets are the host's.

use lb_common::decap::{DropReason, PassReason};

use super::{END, END6, NODE, NODE6, Row, STRANGER, drops, gue, header, inner, ipip, passes};
use crate::wire::{fragment_header, options_header, udp};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for v4 in [true, false] {
        let inner = inner(v4);
        for (what, fragment) in [("first", 0x2000), ("middle", 0x2003), ("last", 0x0003), ("first with DF", 0x6000)] {
            let outer = ipip(NODE, END, &inner).with(|wire| wire.fragment = fragment);
            rows.push(drops(format!("{what} fragment over IPv4"), outer.frame(), DropReason::Fragment));
        }
        for (what, offset, more) in [("first", 0, true), ("middle", 3, true), ("last", 3, false)] {
            let outer = ipip(NODE6, END6, &inner).extended(&[fragment_header(offset, more)]);
            rows.push(drops(format!("{what} fragment over IPv6"), outer.frame(), DropReason::Fragment));
            let outer = ipip(NODE6, END6, &inner).extended(&[options_header(0, 0), fragment_header(offset, more)]);
            rows.push(drops(format!("{what} behind options"), outer.frame(), DropReason::Fragment));
        }
        let datagram = gue(NODE, END, &header(&inner), &inner).with(|wire| wire.fragment = 0x2000);
        rows.push(drops("first fragment of GUE", datagram.frame(), DropReason::Fragment));
        let datagram = gue(NODE6, END6, &header(&inner), &inner).extended(&[fragment_header(0, true)]);
        rows.push(drops("first fragment of GUE over IPv6", datagram.frame(), DropReason::Fragment));
    }
    let four = inner(true);
    let stranger = ipip(STRANGER, END, &four).with(|wire| wire.fragment = 0x2000);
    let elsewhere = ipip(NODE, "198.51.100.8", &four).with(|wire| wire.fragment = 0x2000);
    // It looks like GUE, but what is there is the middle of a datagram.
    let later = gue(NODE, END, &header(&four), &four).with(|wire| wire.fragment = 0x2003);
    let later6 = gue(NODE6, END6, &header(&four), &four).extended(&[fragment_header(3, true)]);
    let dns = udp((NODE, 53), (END, 50_123)).with(|wire| wire.fragment = 0x2000);
    rows.extend([
        drops("a fragment from a stranger", stranger.frame(), DropReason::Source),
        passes("a fragment to someone else", elsewhere.frame(), PassReason::OtherEnd),
        passes("a later fragment of UDP", later.frame(), PassReason::NotTunnel),
        passes("a later fragment of UDP over IPv6", later6.frame(), PassReason::NotTunnel),
        passes("the first fragment of another datagram", dns.frame(), PassReason::NotTunnel),
    ]);
    rows
}
