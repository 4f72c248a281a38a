//! Headers and lengths that do not hold together are dropped; so is GUE that says more than is understood.

use lb_common::decap::{DropReason, PassReason};

use super::{END, END6, NODE, NODE6, Row, drops, every_kind, gue, header, inner, ipip, passes};
use crate::wire::{Wire, options_header, raw, udp};

pub(super) fn rows() -> Vec<Row> {
    [outer(), inner_headers(), datagrams(), gue_headers()].concat()
}

fn malformed(what: impl Into<String>, frame: Vec<u8>) -> Row {
    drops(what, frame, DropReason::Malformed)
}

fn outer() -> Vec<Row> {
    let mut rows = Vec::new();
    for v4 in [true, false] {
        let inner = inner(v4);
        let direct = ipip(NODE, END, &inner);
        for (what, at, bytes) in [
            ("IHL 4", 0, &[0x44][..]),
            ("IHL 0", 0, &[0x40]),
            ("version 6 under the ethertype of IPv4", 0, &[0x65]),
            ("total length larger than the frame", 2, &[0x05, 0xdc]),
            ("total length 0", 2, &[0, 0]),
            ("total length that of the header", 2, &[0, 20]),
            ("total length of half an inner header", 2, &[0, 30]),
            ("total length one byte short of the inner packet", 2, &[0, (20 + inner.packet().len() - 1) as u8]),
        ] {
            rows.push(malformed(format!("{what}, outer"), direct.network_patched(at, bytes)));
        }
        let direct = ipip(NODE6, END6, &inner);
        for (what, at, bytes) in [
            ("version 4 under the ethertype of IPv6", 0, &[0x40][..]),
            ("payload length larger than the frame", 4, &[0x05, 0xdc]),
            ("payload length 0", 4, &[0, 0]),
            ("payload length one byte short of the inner packet", 4, &[0, (inner.packet().len() - 1) as u8]),
        ] {
            rows.push(malformed(format!("{what}, outer"), direct.network_patched(at, bytes)));
        }
        let extended = ipip(NODE6, END6, &inner).extended(&[options_header(0, 0)]);
        rows.push(malformed("an extension header longer than the packet", extended.network_patched(41, &[200])));
        rows.push(malformed("an extension header that swallows the inner one", extended.network_patched(41, &[4])));
    }
    let elsewhere = ipip(NODE6, "2001:db8:100::8", &inner(true)).extended(&[options_header(0, 0)]);
    rows.push(passes("a broken chain to someone else", elsewhere.network_patched(41, &[200]), PassReason::NotParsed));
    rows
}

/// The same fault of an inner packet in every tunnel.
fn inner_headers() -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, outer, inner) in every_kind() {
        let at = outer.frame().len() - inner.packet().len();
        let len = inner.packet().len();
        let v4: [(&str, usize, Vec<u8>); 8] = [
            ("version 6", 0, vec![0x65]),
            ("version 0", 0, vec![0x05]),
            ("IHL 4", 0, vec![0x44]),
            ("IHL beyond the packet", 0, vec![0x4f]),
            ("total length one byte larger", 2, vec![0, len as u8 + 1]),
            ("total length 65535", 2, vec![0xff, 0xff]),
            ("total length 0", 2, vec![0, 0]),
            ("total length 19", 2, vec![0, 19]),
        ];
        let v6: [(&str, usize, Vec<u8>); 4] = [
            ("version 4", 0, vec![0x45]),
            ("version 0", 0, vec![0x00]),
            ("payload length one byte larger", 4, vec![0, (len - 40) as u8 + 1]),
            ("payload length 65535", 4, vec![0xff, 0xff]),
        ];
        let mut faults = if inner.source.is_ipv4() { v4.to_vec() } else { v6.to_vec() };
        // A datagram's tail is shorter than the largest header here.
        faults.retain(|(what, ..)| *what != "IHL beyond the packet" || len < 60);
        for (what, offset, bytes) in faults {
            let frame = outer.patched(at + offset, &bytes);
            rows.push(malformed(format!("{what} inside {}", kind.help()), frame));
            // Padding of the frame does not make room for it.
            let padded = outer.clone().with(|wire| wire.padding = 40).patched(at + offset, &bytes);
            rows.push(malformed(format!("{what} inside {}, padded", kind.help()), padded));
        }
    }
    rows.push(malformed("nothing inside", raw(NODE, END, 4, &[]).frame()));
    rows.push(malformed("nothing inside, padded", raw(NODE, END, 4, &[]).with(|wire| wire.padding = 60).frame()));
    rows.push(malformed("nothing inside over IPv6", raw(NODE6, END6, 41, &[]).frame()));
    rows
}

fn datagrams() -> Vec<Row> {
    let mut rows = Vec::new();
    for (from, to) in [(NODE, END), (NODE6, END6)] {
        for v4 in [true, false] {
            let inner = inner(v4);
            let outer = gue(from, to, &header(&inner), &inner);
            let whole = 12 + inner.packet().len() as u16;
            let length = |value: u16| outer.patched(outer.transport_at() + 4, &value.to_be_bytes());
            for value in [0, 7, 8, 9, 11, 12, 31, whole - 1, whole + 1, u16::MAX] {
                rows.push(malformed(format!("UDP length {value} of {whole} to {to}"), length(value)));
            }
        }
        rows.push(malformed("an empty datagram", udp((from, 1), (to, super::GUE)).payload(&[]).frame()));
        rows.push(malformed("half a GUE header", udp((from, 1), (to, super::GUE)).payload(&[0, 4]).frame()));
    }
    rows
}

fn gue_headers() -> Vec<Row> {
    let four = inner(true);
    let with = |header: &[u8]| -> Wire { gue(NODE, END, header, &four) };
    let unknown = |what: &str, header: &[u8]| drops(what, with(header).frame(), DropReason::Gue);
    let mut rows = vec![
        unknown("version 2", &[0x80, 4, 0, 0]),
        unknown("version 3", &[0xc0, 4, 0, 0]),
        unknown("variant 1 with IP version 5", &[0x50, 4, 0, 0]),
        unknown("variant 1 with IP version 7", &[0x70, 4, 0, 0]),
        unknown("a control message", &[0x20, 4, 0, 0]),
        unknown("a control message with a word", &[0x21, 1, 0, 0, 1, 2, 3, 4]),
        unknown("protocol 0", &[0, 0, 0, 0]),
        unknown("UDP in GUE", &[0, 17, 0, 0]),
        unknown("no next header", &[0, 59, 0, 0]),
        malformed("IPv6 said, IPv4 inside", with(&[0, 41, 0, 0]).frame()),
        malformed("words that swallow half of the inner header", with(&[3, 4, 0, 0]).frame()),
        malformed("words beyond the datagram", with(&[31, 4, 0, 0]).frame()),
    ];
    for bit in 0..16 {
        let flags = (1_u16 << bit).to_be_bytes();
        rows.push(unknown(&format!("flag {bit}"), &[1, 4, flags[0], flags[1], 0, 0, 0, 0]));
    }
    rows
}
