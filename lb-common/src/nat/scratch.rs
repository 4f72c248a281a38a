//! What is known of a packet that is translated, in memory of its CPU: the stack has no room for it.

use super::{first_port, ports, rewrite::Ends, second_port};
use crate::{
    abi::{Hop, NatRecord, Word32, Word64},
    hash::{FlowHash, FlowKey, HashKey, KEY_WORDS, pair},
    parse::{Family, Parsed},
    quic::ConnectionId,
    schedule::pick::Chooser,
    wire::ip::{Fragment, Protocol},
};

/// The record. A program fills it for one packet; programs of one CPU do not interrupt each other.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Scratch {
    source: [Word32; 4],
    destination: [Word32; 4],
    backend: [Word32; 4],
    ports: Word32,
    backend_port: Word32,
    /// Family in bit 0, protocol number above it.
    kind: Word32,
    tcp_flags: Word32,
    /// Destination and generation, as [`FlowWord::identity_of`](crate::flow::FlowWord::identity_of) packs them.
    pub(super) identity: Word64,
    /// What finds the flow's slot.
    pub(super) tag: Word64,
    /// Likewise.
    pub(super) index: Word64,
    hop_addresses: Word64,
    hop_tail: Word32,
    ifindex: Word32,
    /// The destination's id.
    pub(super) id: Word32,
    is_full: Word32,
    is_known: Word32,
    is_first_part: Word32,
    hop_limit: Word32,
    /// Of a reply: its slot, if it is to an address of the pool.
    pub(super) port_slot: Word32,
    /// Of an ICMP error: where the quoted transport header begins.
    pub(super) quoted: Word32,
    /// Whom an ICMP error is from: one to translate, or one that a reply is answered with.
    sender: [Word32; 4],
    /// What the place of the pool follows from that the client's flows try first.
    pub(super) client: Word32,
    /// Of a service with `quic`: the destination that the packet's connection id names.
    named: Word32,
    /// The kind of the option that tells the backend its client ([`super::toa`]); 0: none.
    toa: Word32,
    pad: Word32,
    /// The connection id itself, as its `to_words` packs it.
    connection_id: [Word64; 3],
    /// Of a new flow, what its scheduler goes by ([`crate::schedule::pick::Chooser`]).
    newcomer: [Word64; 3],
    newcomer_kind: Word32,
    newcomer_pad: Word32,
}

impl Scratch {
    /// Notes what a new flow's scheduler goes by.
    #[inline(always)]
    pub(crate) fn set_newcomer(&self, chooser: Chooser) {
        let Chooser { index, source: [ab, cd], kind } = chooser;
        self.newcomer[0].store(index);
        self.newcomer[1].store(ab);
        self.newcomer[2].store(cd);
        self.newcomer_kind.store(kind);
    }

    /// What was noted.
    #[inline(always)]
    pub(crate) fn newcomer(&self) -> Chooser {
        let [index, ab, cd] = &self.newcomer;
        Chooser { index: index.load(), source: [ab.load(), cd.load()], kind: self.newcomer_kind.load() }
    }

    /// Notes a packet.
    #[inline(always)]
    pub(super) fn set_packet(&self, packet: &Parsed) {
        for i in 0..4 {
            self.source[i].store(packet.source[i]);
            self.destination[i].store(packet.destination[i]);
        }
        self.ports.store(packet.ports);
        self.kind.store(packet.family as u32 | (packet.protocol as u32) << 1);
        self.tcp_flags.store(packet.tcp_flags as u32);
        self.hop_limit.store(packet.hop_limit as u32);
        self.is_first_part.store(matches!(packet.fragment, Fragment::First) as u32);
    }

    /// Puts the client's own packet in the place of a reply.
    #[inline(always)]
    pub(super) fn set_client(&self, record: &NatRecord) {
        for i in 0..4 {
            self.source[i].store(record.client(i));
            self.destination[i].store(record.vip(i));
        }
        self.ports.store(record.ports());
        self.identity.store(record.destination().identity_bits());
    }

    /// Notes whom an ICMP error is from.
    #[inline(always)]
    pub(super) fn set_sender(&self, address: &[u32; 4]) {
        for (word, value) in self.sender.iter().zip(address) {
            word.store(*value);
        }
    }

    #[inline(always)]
    pub(super) fn destination_words(&self) -> [u32; 4] {
        [self.destination(0), self.destination(1), self.destination(2), self.destination(3)]
    }

    #[inline(always)]
    pub(crate) fn sender(&self) -> [u32; 4] {
        [self.sender[0].load(), self.sender[1].load(), self.sender[2].load(), self.sender[3].load()]
    }

    /// Notes what a packet that an ICMP error quotes is to have.
    #[inline(always)]
    pub(super) fn set_quoted_ends(&self, ends: &Ends) {
        for i in 0..4 {
            self.backend[i].store(ends.source[i]);
            self.destination[i].store(ends.destination[i]);
        }
        self.ports.store(ends.ports);
    }

    /// See [`Self::set_quoted_ends`].
    #[inline(always)]
    pub(super) fn quoted_ends(&self) -> Ends {
        Ends {
            source: [self.backend(0), self.backend(1), self.backend(2), self.backend(3)],
            destination: [self.destination(0), self.destination(1), self.destination(2), self.destination(3)],
            ports: self.ports(),
        }
    }

    /// Notes the destination that a connection id names.
    #[inline(always)]
    pub(crate) fn set_named(&self, id: u32) {
        self.named.store(id);
    }

    /// Notes a connection id whose configuration is known.
    #[inline(always)]
    pub(crate) fn set_connection_id(&self, id: &ConnectionId) {
        let [high, low, tail] = id.to_words();
        self.connection_id[0].store(high);
        self.connection_id[1].store(low);
        self.connection_id[2].store(tail);
    }

    /// All of the connection id but its first octet.
    #[inline(always)]
    pub(crate) fn connection_id(&self) -> ConnectionId {
        let [high, low, tail] = &self.connection_id;
        ConnectionId::from_words([high.load(), low.load(), tail.load()])
    }

    /// The destination that a connection id names.
    #[inline(always)]
    pub(crate) fn named(&self) -> u32 {
        self.named.load()
    }

    /// Notes the backend.
    #[inline(always)]
    pub(super) fn set_backend(&self, (address, port): ([u32; 4], u16), is_full: bool) {
        for (word, value) in self.backend.iter().zip(address) {
            word.store(value);
        }
        self.backend_port.store(port as u32);
        self.is_full.store(is_full as u32);
    }

    /// Notes where the packet comes from.
    #[inline(always)]
    pub(super) fn set_hop(&self, hop: Hop) {
        self.hop_addresses.store(hop.addresses);
        self.hop_tail.store(hop.tail);
        self.ifindex.store(hop.ifindex);
    }

    /// Notes whether the flow table knew the flow.
    #[inline(always)]
    pub(super) fn set_known(&self, is_known: bool) {
        self.is_known.store(is_known as u32);
    }

    #[inline(always)]
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load() != 0
    }

    /// Notes the kind of the option that tells the backend its client; 0: none.
    #[inline(always)]
    pub(super) fn set_toa(&self, kind: u8) {
        self.toa.store(kind as u32);
    }

    #[inline(always)]
    pub(super) fn toa(&self) -> u8 {
        self.toa.load() as u8
    }

    /// Whether the packet is the first part of a datagram.
    #[inline(always)]
    pub(super) fn is_first_part(&self) -> bool {
        self.is_first_part.load() != 0
    }

    #[inline(always)]
    pub(super) fn hop(&self) -> Hop {
        Hop { addresses: self.hop_addresses.load(), tail: self.hop_tail.load(), ifindex: self.ifindex.load() }
    }

    #[inline(always)]
    pub(super) fn source(&self, index: usize) -> u32 {
        self.source[index & 3].load()
    }

    #[inline(always)]
    pub(super) fn destination(&self, index: usize) -> u32 {
        self.destination[index & 3].load()
    }

    #[inline(always)]
    pub(super) fn backend(&self, index: usize) -> u32 {
        self.backend[index & 3].load()
    }

    #[inline(always)]
    pub(super) fn backend_port(&self) -> u16 {
        self.backend_port.load() as u16
    }

    #[inline(always)]
    pub(super) fn ports(&self) -> u32 {
        self.ports.load()
    }

    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load() != 0
    }

    #[inline(always)]
    pub(super) fn family(&self) -> Family {
        if self.kind.load() & 1 == 0 { Family::V4 } else { Family::V6 }
    }

    #[inline(always)]
    pub(super) fn protocol(&self) -> Protocol {
        if self.kind.load() >> 1 == Protocol::Udp as u32 { Protocol::Udp } else { Protocol::Tcp }
    }

    #[inline(always)]
    pub(super) fn tcp_flags(&self) -> u8 {
        self.tcp_flags.load() as u8
    }

    #[inline(always)]
    pub(super) fn hop_limit(&self) -> u32 {
        self.hop_limit.load()
    }

    /// The hash of the client's address alone: a later fragment does not tell more.
    #[inline(always)]
    pub(super) fn hash_of_client<E: crate::environment::Environment>(&self, env: &E) -> FlowHash {
        let address = [self.source(0), self.source(1), self.source(2), self.source(3)];
        hash_of_address(env.hash_key(), self.family(), &address)
    }

    /// The hash of a reply's ends without the port in the pool.
    #[inline(always)]
    pub(super) fn hash_of_port<E: crate::environment::Environment>(&self, env: &E) -> FlowHash {
        match self.family() {
            Family::V4 => FlowHash::of_key(env, PortV4(self)),
            Family::V6 => FlowHash::of_key(env, PortV6(self)),
        }
    }

    /// The packet's own hash.
    #[inline(always)]
    pub(super) fn hash<E: crate::environment::Environment>(&self, env: &E) -> FlowHash {
        match self.family() {
            Family::V4 => FlowHash::of_key(env, OwnV4(self)),
            Family::V6 => FlowHash::of_key(env, OwnV6(self)),
        }
    }

    /// The hash of the backend's replies to the client.
    #[inline(always)]
    pub(super) fn hash_of_reply<E: crate::environment::Environment>(&self, env: &E) -> FlowHash {
        match self.family() {
            Family::V4 => FlowHash::of_key(env, ReplyV4(self)),
            Family::V6 => FlowHash::of_key(env, ReplyV6(self)),
        }
    }

    /// The second port of the packet, host byte order.
    #[inline(always)]
    pub(super) fn second_port(&self) -> u16 {
        second_port(self.ports())
    }
}

#[derive(Clone, Copy)]
struct OwnV4<'a>(&'a Scratch);
#[derive(Clone, Copy)]
struct OwnV6<'a>(&'a Scratch);
#[derive(Clone, Copy)]
struct PortV4<'a>(&'a Scratch);
#[derive(Clone, Copy)]
struct PortV6<'a>(&'a Scratch);
#[derive(Clone, Copy)]
struct ReplyV4<'a>(&'a Scratch);
#[derive(Clone, Copy)]
struct ReplyV6<'a>(&'a Scratch);

macro_rules! key {
    ($name:ident, $family:ident, $source:ident, $destination:ident, $ports:expr) => {
        impl FlowKey for $name<'_> {
            const FAMILY: Family = Family::$family;

            #[inline(always)]
            fn source(self, index: usize) -> u32 {
                self.0.$source(index)
            }

            #[inline(always)]
            fn destination(self, index: usize) -> u32 {
                self.0.$destination(index)
            }

            #[inline(always)]
            fn ports(self) -> u32 {
                $ports(self.0)
            }

            #[inline(always)]
            fn protocol(self) -> u32 {
                self.0.protocol() as u32
            }
        }
    };
}

#[inline(always)]
fn reply_ports(flow: &Scratch) -> u32 {
    ports(flow.backend_port(), first_port(flow.ports()))
}

#[inline(always)]
fn port_ports(flow: &Scratch) -> u32 {
    ports(first_port(flow.ports()), 0)
}

key!(PortV4, V4, source, destination, port_ports);
key!(PortV6, V6, source, destination, port_ports);
key!(OwnV4, V4, source, destination, Scratch::ports);
key!(OwnV6, V6, source, destination, Scratch::ports);
key!(ReplyV4, V4, backend, source, reply_ports);
key!(ReplyV6, V6, backend, source, reply_ports);

/// The hash of an address: the words of a flow's key that are not there are 0.
#[inline(always)]
pub(super) fn hash_of_address(key: &HashKey, family: Family, address: &[u32; 4]) -> FlowHash {
    let lane = |at: usize| {
        let first = pair(address[0], key[at], address[1], key[at + 1]);
        match family {
            Family::V4 => first,
            Family::V6 => first.wrapping_add(pair(address[2], key[at + 2], address[3], key[at + 3])),
        }
    };
    FlowHash { tag: lane(0), index: lane(KEY_WORDS / 2) }
}
