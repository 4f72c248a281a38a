//! What is unpacked: every kind, whatever the inner packet is, with its bytes as they were.

use lb_common::decap::{DropReason, Kind};

use super::{END, END6, NODE, NODE6, Row, drops, every_kind, gue, header, inner, ipip, row, unpacked, unpacks};
use crate::wire::{Wire, fragment_header, options_header, routing_header};

const TAGS: [(&str, &[(u16, u16)]); 4] = [
    ("untagged", &[]),
    ("in a VLAN", &[(0x8100, 0xe064)]),
    ("in a service VLAN", &[(0x88a8, 7)]),
    ("in QinQ", &[(0x88a8, 0x6007), (0x8100, 0xa064)]),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, outer, inner) in every_kind() {
        for (what, tags) in TAGS {
            rows.push(unpacks(format!("{}, {what}", kind.help()), kind, &outer.clone().tagged(tags), &inner));
        }
        let padded = outer.clone().with(|wire| wire.padding = 9);
        rows.push(unpacks(format!("{}, padded", kind.help()), kind, &padded, &inner));
        rows.extend(congestion(kind, &outer, &inner));
    }
    rows.extend(gue_headers());
    rows.extend(inner_packets());
    rows.extend(slack());
    rows
}

/// RFC 6040: what the outer header collected is handed on, and nothing else changes.
fn congestion(kind: Kind, outer: &Wire, inner: &Wire) -> Vec<Row> {
    let class = |wire: &Wire, class: u8| wire.clone().with(|wire| wire.class = class);
    // The inner packet is in the outer one's bytes already, so both are made anew.
    let around = |inner: &Wire, ecn: u8| {
        let fresh = match outer.source.is_ipv4() {
            true => (NODE, END),
            false => (NODE6, END6),
        };
        let outer = match kind.name().starts_with("gue") {
            true => gue(fresh.0, fresh.1, &header(inner), inner),
            false => ipip(fresh.0, fresh.1, inner),
        };
        class(&outer, 0xb8 | ecn)
    };
    let mut rows = Vec::new();
    for (before, mark, after) in [
        (0, 0, 0),
        (0, 1, 0),
        (0, 2, 0),
        (1, 0, 1),
        (1, 3, 3),
        (2, 0, 2),
        (2, 1, 2),
        (2, 2, 2),
        (2, 3, 3),
        (3, 0, 3),
        (3, 3, 3),
    ] {
        // Each bit of the class beside the mark is one and zero somewhere.
        let (before, after) = (class(inner, 0x54 | before), class(inner, 0x54 | after));
        let what = format!("{}, mark {mark} on {}", kind.help(), before.class & 3);
        rows.push(unpacks(what, kind, &around(&before, mark), &after));
    }
    let what = format!("{}, congestion met a sender without marks", kind.help());
    rows.push(drops(what, around(&class(inner, 0x54), 3).frame(), DropReason::Congestion));
    rows
}

fn gue_headers() -> Vec<Row> {
    let (four, six) = (inner(true), inner(false));
    // One word and all 31 words of private data.
    let data = |words: u8, protocol: u8| {
        let mut header = vec![words, protocol, 0, 0];
        header.resize(4 + 4 * usize::from(words), 0xa5);
        header
    };
    let unsummed = |outer: &Wire, at: usize| outer.patched(outer.transport_at() + at, &[0, 0]);
    let over4 = gue(NODE, END, &header(&four), &four);
    let over6 = gue(NODE6, END6, &header(&four), &four);
    let wrong = over6.patched(over6.transport_at() + 6, &[0x12, 0x34]);
    vec![
        unpacks("variant 1, IPv4", Kind::Gue4In4, &gue(NODE, END, &[], &four), &four),
        unpacks("variant 1, IPv6", Kind::Gue6In4, &gue(NODE, END, &[], &six), &six),
        unpacks("variant 1, IPv4 over IPv6", Kind::Gue4In6, &gue(NODE6, END6, &[], &four), &four),
        unpacks("variant 1, IPv6 over IPv6", Kind::Gue6In6, &gue(NODE6, END6, &[], &six), &six),
        unpacks("one word of private data", Kind::Gue4In4, &gue(NODE, END, &data(1, 4), &four), &four),
        unpacks("31 words of private data", Kind::Gue6In6, &gue(NODE6, END6, &data(31, 41), &six), &six),
        row(
            "no UDP checksum",
            unsummed(&over4, 6),
            super::Expect::Unpacked(Kind::Gue4In4, unpacked(&over4, &four, &[])),
        ),
        row(
            "no UDP checksum over IPv6 (RFC 6935)",
            unsummed(&over6, 6),
            super::Expect::Unpacked(Kind::Gue4In6, unpacked(&over6, &four, &[])),
        ),
        row(
            "a wrong UDP checksum is nobody's business here",
            wrong,
            super::Expect::Unpacked(Kind::Gue4In6, unpacked(&over6, &four, &[])),
        ),
    ]
}

fn inner_packets() -> Vec<Row> {
    let four = |change: fn(&mut Wire)| inner(true).with(change);
    let six = |change: fn(&mut Wire)| inner(false).with(change);
    let mut rows = Vec::new();
    for (what, inner) in [
        ("TTL 1", four(|wire| wire.ttl = 1)),
        ("TTL 255", four(|wire| wire.ttl = 255)),
        ("hop limit 1", six(|wire| wire.ttl = 1)),
        ("IPv4 options", four(|wire| wire.options = vec![1; 40])),
        ("a first fragment", four(|wire| wire.fragment = 0x2000)),
        ("a later fragment", four(|wire| wire.fragment = 0x2005)),
        ("extension headers", six(|wire| wire.extensions = vec![options_header(0, 0), routing_header()])),
        ("an IPv6 fragment", six(|wire| wire.extensions = vec![fragment_header(8, true)])),
        ("another tunnel", ipip("192.0.2.9", END, &inner(true))),
        ("no payload", four(|wire| wire.transport = crate::wire::Transport::Raw(253, Vec::new()))),
        ("no payload, IPv6", six(|wire| wire.transport = crate::wire::Transport::Raw(59, Vec::new()))),
    ] {
        let v4 = inner.source.is_ipv4();
        let (kind, kind6) = if v4 { (Kind::Ipip4In4, Kind::Gue4In6) } else { (Kind::Ipip6In4, Kind::Gue6In6) };
        rows.push(unpacks(format!("{what} inside"), kind, &ipip(NODE, END, &inner), &inner));
        let outer = gue(NODE6, END6, &header(&inner), &inner);
        rows.push(unpacks(format!("{what} inside GUE"), kind6, &outer, &inner));
    }
    rows
}

/// Bytes behind the inner packet, but within the outer one, are padding.
fn slack() -> Vec<Row> {
    let mut rows = Vec::new();
    for v4 in [true, false] {
        let (inner, protocol) = (inner(v4), if v4 { 4 } else { 41 });
        let bytes = [&inner.packet()[..], &[0xee; 5]].concat();
        let outer = crate::wire::raw(NODE6, END6, protocol, &bytes);
        let kind = if v4 { Kind::Ipip4In6 } else { Kind::Ipip6In6 };
        let expect = super::Expect::Unpacked(kind, unpacked(&outer, &inner, &[0xee; 5]));
        rows.push(row("bytes behind the inner packet", outer.frame(), expect));
    }
    rows
}
