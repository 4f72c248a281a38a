//! Line 32 of the catalogue: tunnels into a backend. (At a balancer: `lines/tunnels.rs`.)
//!
//! The decapsulator is a program of its own, so its rows have their own table: a frame, and what becomes of it to the byte.
//! Like the balancer's they run in memory and in the kernel, and cut at every length in both.

use lb_common::decap::{DropReason, Kind, PassReason};

use crate::wire::Wire;

mod fragments;
mod hosts;
mod kinds;
mod lengths;
mod machine;
mod outer;
mod random;
mod rules;
mod table;

/// A backend's addresses: tunnels end here.
const END: &str = "198.51.100.7";
const END6: &str = "2001:db8:100::7";
/// Balancers, in [`machine::rules`].
const NODE: &str = "192.0.2.5";
const NODE6: &str = "2001:db8:a::5";
/// Someone else.
const STRANGER: &str = "192.0.2.130";
const STRANGER6: &str = "2001:db8:b::5";
const GUE: u16 = 6080;
const IPIP: u8 = 4;
const SIT: u8 = 41;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expect {
    /// The host gets this frame.
    Unpacked(Kind, Vec<u8>),
    /// The host gets it as it was.
    Pass(PassReason),
    Drop(DropReason),
}

/// A packet and what becomes of it.
#[derive(Clone, Debug)]
struct Row {
    what: String,
    frame: Vec<u8>,
    expect: Expect,
}

fn row(what: impl Into<String>, frame: Vec<u8>, expect: Expect) -> Row {
    Row { what: what.into(), frame, expect }
}

/// A row that is dropped.
fn drops(what: impl Into<String>, frame: Vec<u8>, reason: DropReason) -> Row {
    row(what, frame, Expect::Drop(reason))
}

/// A row that is left to the host.
fn passes(what: impl Into<String>, frame: Vec<u8>, reason: PassReason) -> Row {
    row(what, frame, Expect::Pass(reason))
}

/// A row that is unpacked: `outer` carries `inner`.
fn unpacks(what: impl Into<String>, kind: Kind, outer: &Wire, inner: &Wire) -> Row {
    row(what, outer.frame(), Expect::Unpacked(kind, unpacked(outer, inner, &vec![0; outer.padding])))
}

/// The frame that the host gets: the outer link header, the inner packet, and what lies behind it.
fn unpacked(outer: &Wire, inner: &Wire, behind: &[u8]) -> Vec<u8> {
    let linked = inner.clone().with(|wire| {
        (wire.to, wire.from, wire.tags) = (outer.to, outer.from, outer.tags.clone());
    });
    [&linked.frame()[..], behind].concat()
}

/// A client's packet of either family for a VIP.
fn inner(v4: bool) -> Wire {
    use crate::wire::{ACK, udp};
    if v4 {
        udp(("203.0.113.9", 40_001), ("203.0.113.200", 53)).ttl(7)
    } else {
        crate::wire::tcp(("2001:db8:c::9", 40_001), ("2001:db8:ff::10", 80), ACK).ttl(7)
    }
}

/// Directly in an IP packet.
fn ipip(from: &str, to: &str, inner: &Wire) -> Wire {
    let protocol = if inner.source.is_ipv4() { IPIP } else { SIT };
    crate::wire::raw(from, to, protocol, &inner.packet())
}

/// In a UDP datagram, behind the bytes of a GUE header.
fn gue(from: &str, to: &str, header: &[u8], inner: &Wire) -> Wire {
    crate::wire::udp((from, 50_123), (to, GUE)).payload(&[header, &inner.packet()].concat())
}

/// A GUE header of variant 0 without optional fields.
fn header(inner: &Wire) -> [u8; 4] {
    [0, if inner.source.is_ipv4() { IPIP } else { SIT }, 0, 0]
}

/// Outer source and destination of a family.
fn ends(v4: bool) -> (&'static str, &'static str) {
    if v4 { (NODE, END) } else { (NODE6, END6) }
}

/// All eight: kind, outer packet, inner packet.
fn every_kind() -> Vec<(Kind, Wire, Wire)> {
    let mut all = Vec::new();
    for (outer_v4, inner_v4, direct, in_gue) in [
        (true, true, Kind::Ipip4In4, Kind::Gue4In4),
        (true, false, Kind::Ipip6In4, Kind::Gue6In4),
        (false, true, Kind::Ipip4In6, Kind::Gue4In6),
        (false, false, Kind::Ipip6In6, Kind::Gue6In6),
    ] {
        let ((from, to), inner) = (ends(outer_v4), inner(inner_v4));
        all.push((direct, ipip(from, to, &inner), inner.clone()));
        all.push((in_gue, gue(from, to, &header(&inner), &inner), inner));
    }
    all
}
