//! Line 9: a wrong transport checksum is the endpoint's business; UDP checksum 0 stays 0.

use super::{CLIENT, CLIENT6, DNS, DNS6, WEB, WEB6, services};
use crate::{
    case::{Case, To, case, send_bytes},
    wire::{ACK, SYN, Wire, tcp, udp},
    world::A,
};

pub(super) fn cases() -> Vec<Case> {
    let segments = [tcp(CLIENT, WEB, SYN), tcp(CLIENT, WEB, ACK), tcp(CLIENT6, WEB6, SYN), tcp(CLIENT6, WEB6, ACK)];
    let datagrams = [udp(CLIENT, DNS), udp(CLIENT6, DNS6)];
    let set = |wire: &Wire, at: usize, sum: [u8; 2]| wire.patched(wire.transport_at() + at, &sum);
    let row = |what: &str, frames: Vec<Vec<u8>>| {
        case(what, &services(&[A]), frames.into_iter().map(|frame| send_bytes(frame, To(A))))
    };
    vec![
        row("TCP, wrong", segments.iter().map(|wire| set(wire, 16, [0xba, 0xad])).collect()),
        row("TCP, 0: not filled in", segments.iter().map(|wire| set(wire, 16, [0, 0])).collect()),
        row("UDP, wrong", datagrams.iter().map(|wire| set(wire, 6, [0xba, 0xad])).collect()),
        row("UDP, 0: none (RFC 768; over IPv6 RFC 6936)", datagrams.iter().map(|wire| set(wire, 6, [0, 0])).collect()),
        row("UDP, 0xffff", datagrams.iter().map(|wire| set(wire, 6, [0xff, 0xff])).collect()),
    ]
}
