//! Line 23: in UDP, its checksum 0 over IPv4 and right over IPv6.

use lb_common::abi::Mode;

use super::{CLIENT, DNS, ipip::wrapped, services};
use crate::{
    case::{Case, Wrapped, case, send_bytes},
    outer::Outer,
    wire::udp,
    world::A,
};

pub(super) fn cases() -> Vec<Case> {
    Outer::all(Mode::Gue).into_iter().flat_map(|outer| wrapped(outer).into_iter().chain([unsummed(outer)])).collect()
}

/// A datagram without a checksum leaves none for the outer header either (RFC 6935).
fn unsummed(outer: Outer) -> Case {
    let wire = udp(CLIENT, DNS);
    let frame = wire.patched(wire.transport_at() + 6, &[0, 0]);
    let steps = [&frame, &frame, &frame].map(|frame| send_bytes(frame.clone(), Wrapped(A, outer)));
    case(format!("{outer:?}: no checksum inside"), &services(&[A]).map(|service| service.through(outer)), steps)
}
