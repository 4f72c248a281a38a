//! Outcomes in the reader's words.

use etherparse::{Icmpv4Type, Icmpv6Type, SlicedPacket, TransportSlice, icmpv4, icmpv6};

use crate::{
    machine::Action,
    oracle,
    runner::{Outcome, meets},
    way::Way,
    wire::ROUTER_MAC,
    world::Backend,
};

/// What became of a frame, where a new flow would get the backend `slot`.
pub(super) fn tell(frame: &[u8], outcome: &Outcome, way: Way, slot: Backend) -> String {
    if let Some(reason) = outcome.books.drop_reason() {
        return format!("drop: `{}`", reason.name());
    }
    if outcome.action == Action::Pass {
        return "host".to_owned();
    }
    if outcome.books.other[0] > 0 {
        oracle::checksums_are_right(&outcome.bytes).expect("checksums of an answer");
        return format!("answer: {}", answer(&outcome.bytes));
    }
    if outcome.bytes.starts_with(&ROUTER_MAC) {
        if oracle::checksums_are_right(frame).is_ok() {
            oracle::checksums_are_right(&outcome.bytes).expect("checksums of a reply");
        }
        return "client".to_owned();
    }
    let is_at = |backend: &Backend| outcome.bytes.starts_with(&backend.mac());
    let backend = Backend::ALL.into_iter().find(is_at).expect("it leaves for a backend");
    meets(frame, outcome, &way.to(backend)).expect("it is forwarded as the mode does it");
    if backend == slot { "backend" } else { "flow's backend" }.to_owned()
}

fn answer(frame: &[u8]) -> &'static str {
    let packet = SlicedPacket::from_ethernet(frame).expect("a packet");
    match packet.transport.expect("a transport header") {
        TransportSlice::Tcp(tcp) if tcp.rst() => "reset",
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::EchoReply(_) => "echo reply",
            Icmpv4Type::TimeExceeded(_) => "time exceeded",
            Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port) => "port unreachable",
            Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded { .. }) => {
                "too big (the MTU that fits)"
            }
            other => panic!("{other:?}"),
        },
        TransportSlice::Icmpv6(icmp) => match icmp.icmp_type() {
            Icmpv6Type::EchoReply(_) => "echo reply",
            Icmpv6Type::TimeExceeded(_) => "time exceeded",
            Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port) => "port unreachable",
            Icmpv6Type::PacketTooBig { .. } => "too big (the MTU that fits)",
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
