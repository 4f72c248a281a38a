//! What a packet must become when its end is cut off, from its own headers.

use crate::case::{
    Expect::{self, Drop, Pass},
    Malformed, NotParsed,
};

/// What is known of a cut packet beforehand.
#[derive(Clone, Debug)]
pub(crate) enum Predicted {
    /// Exactly this.
    Expect(Expect),
    /// Only that it must not leave the node.
    Stays,
}

/// What `frame[..len]` becomes if `frame` becomes `expect`.
pub(crate) fn predict(frame: &[u8], expect: &Expect, len: usize) -> Predicted {
    if len == frame.len() {
        return Predicted::Expect(expect.clone());
    }
    let leaves = matches!(expect, Expect::To(_) | Expect::Wrapped(..) | Expect::Translated(..) | Expect::Reply(_));
    match (leaves, extent(frame)) {
        (false, _) => Predicted::Stays,
        (true, None) => panic!("no IP packet, but it leaves: {frame:02x?}"),
        (true, Some(extent)) if len < extent.addresses_end => Predicted::Expect(Pass(NotParsed)),
        (true, Some(extent)) if len < extent.packet_end => Predicted::Expect(Drop(Malformed)),
        // Only padding is lost.
        (true, Some(_)) => Predicted::Expect(expect.clone()),
    }
}

/// Where parts of an IP packet end in its frame.
struct Extent {
    addresses_end: usize,
    packet_end: usize,
}

fn extent(frame: &[u8]) -> Option<Extent> {
    let be16 = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let mut at = 12;
    while matches!(be16(at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    let network = at + 2;
    match be16(at)? {
        0x0800 => Some(Extent { addresses_end: network + 20, packet_end: network + usize::from(be16(network + 2)?) }),
        0x86dd => {
            Some(Extent { addresses_end: network + 40, packet_end: network + 40 + usize::from(be16(network + 4)?) })
        }
        _ => None,
    }
}
