//! What may lie around: options, extension headers, any TTL.

use lb_common::decap::{DropReason, Kind, PassReason};

use super::{END, END6, NODE, NODE6, Row, drops, gue, header, inner, ipip, passes, unpacks};
use crate::wire::{Extension, Wire, fragment_header, options_header, routing_header};

/// What is to be different about an outer header.
type Change = (&'static str, fn(&mut Wire));

pub(super) fn rows() -> Vec<Row> {
    let four = inner(true);
    let mut rows = Vec::new();
    let v4: [Change; 6] = [
        ("outer TTL 1", |wire| wire.ttl = 1),
        ("outer TTL 0", |wire| wire.ttl = 0),
        ("outer DF not set", |wire| wire.fragment = 0),
        ("one word of IPv4 options", |wire| wire.options = vec![1; 4]),
        ("ten words of IPv4 options", |wire| wire.options = vec![1; 40]),
        ("options in QinQ", |wire| {
            wire.options = vec![1; 8];
            wire.tags = vec![(0x88a8, 1), (0x8100, 2)];
        }),
    ];
    for (what, change) in v4 {
        rows.push(unpacks(what, Kind::Ipip4In4, &ipip(NODE, END, &four).with(change), &four));
        let outer = gue(NODE, END, &header(&four), &four).with(change);
        rows.push(unpacks(format!("{what}, GUE"), Kind::Gue4In4, &outer, &four));
    }
    for (what, extensions) in chains() {
        let outer = ipip(NODE6, END6, &four).extended(&extensions);
        rows.push(unpacks(what, Kind::Ipip4In6, &outer, &four));
        let outer = gue(NODE6, END6, &header(&four), &four).extended(&extensions);
        rows.push(unpacks(format!("{what}, GUE"), Kind::Gue4In6, &outer, &four));
    }
    rows.extend(too_many());
    rows
}

fn chains() -> Vec<(&'static str, Vec<Extension>)> {
    vec![
        ("hop-by-hop options", vec![options_header(0, 0)]),
        ("destination options of 40 bytes", vec![options_header(60, 4)]),
        ("a tunnel encapsulation limit (RFC 2473)", vec![(60, vec![0, 4, 1, 4, 1, 1, 0])]),
        ("a routing header that is used up", vec![routing_header()]),
        ("an atomic fragment", vec![fragment_header(0, false)]),
        ("six extension headers", vec![options_header(60, 0); 6]),
    ]
}

fn too_many() -> Vec<Row> {
    let seven = vec![options_header(60, 0); 7];
    let four = inner(true);
    let to = |from: &str, to: &str| ipip(from, to, &four).extended(&seven).frame();
    vec![
        drops("seven extension headers", to(NODE6, END6), DropReason::ExtensionHeaders),
        drops("seven from a stranger", to(super::STRANGER6, END6), DropReason::ExtensionHeaders),
        passes("seven, to someone else", to(NODE6, "2001:db8:100::8"), PassReason::NotParsed),
    ]
}
