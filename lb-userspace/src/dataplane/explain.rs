//! What would happen to a packet: the packet function itself, over the real tables, without a trace.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::scan;
use anyhow::{Result, ensure};
use lb_common::{
    abi::{
        ClientBucket, Control, Destination, DestinationCounters, Egress, LimitCounters, ListBound, NatBucket, NatSlots,
        NodeCounters, PassiveCounters, PoolAddress, QuicBucket, ReplyBudget, Score, Service, ServiceBucket,
        ServiceLimits, Tunnel, Word32, Word64,
    },
    environment::Environment,
    features::Features,
    flow::{self, FlowBucket, FlowWord, table},
    hash::{FlowHash, HashKey},
    memory::{Constants, Own, Packet, Slices, View},
    nat::scratch::Scratch,
    packet,
    parse::{Parsed, parse},
    quic::QuicLb,
    schedule::pick,
    service,
    verdict::{DropReason, Verdict},
    wire::{ethernet, ip::Protocol, ipv4, ipv6, tcp},
};

/// A packet to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// TCP flags; ignored for UDP.
    pub tcp_flags: u8,
}

/// What would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// The packet is answered with a reset or port unreachable.
    pub refused: bool,
    /// With a reset because the backend of its flow lets its flows go.
    pub reset: bool,
    /// The service's index, if one takes the packet.
    pub service: Option<u32>,
    /// The entry of the flow, if it has a live one.
    pub flow: Option<FlowWord>,
    /// The slot of the service's table that the flow's hash (or the client's) chooses, and the destination in it.
    pub slot: Option<(u32, u32)>,
    /// The scheduler goes by no hash: another flow, or this one another time, may get another destination.
    pub chosen_anew: bool,
    /// The limit that refuses the packet.
    pub limit: Option<DropReason>,
    /// It begins a flow in a flood, and the flow is not remembered.
    pub forgotten: bool,
    /// The destination that the packet goes to.
    pub destination: Option<u32>,
}

/// Asks about a packet that comes from interface `ingress`.
///
/// # Errors
///
/// If source and destination are of different families.
pub fn explain(
    tables: Slices<'_>,
    constants: Constants,
    now: u32,
    ingress: u32,
    question: &Question,
) -> Result<Answer> {
    ensure!(
        question.source.is_ipv4() == question.destination.is_ipv4(),
        "source {} and destination {} are of different address families",
        question.source.ip(),
        question.destination.ip()
    );
    let mut frame = Packet::new(bytes(question));
    let mut parsed = Parsed::new();
    let is_parsed = parse(constants.features, &frame, &mut parsed).is_ok();
    let own = Own { random: Word64::new(rand::random()), ..Own::default() };
    // Tokens enough for an answer.
    own.reply_budget.set(1, u64::from(now));
    let view = View { ingress, ..View::outside(tables, constants, now, &own) };
    let found = is_parsed.then(|| service::find(&view, &parsed)).flatten();
    let dry = Dry::over(view, FlowHash::of(&view, &parsed), found.map(|(index, _)| index));
    let flow = flow::find(&view, FlowHash::of(&view, &parsed)).map(|(_, word)| word);
    let flow = flow.filter(|word| scan::judge(&tables, *word, now).is_some());
    let slot = found.and_then(|(_, service)| {
        let slots = service.slots();
        let slot = pick::slot_of_hash(&view, service, &parsed)?;
        Some((slot - slots.offset, view.slot(slot)?))
    });
    let verdict = packet::process(&dry, &mut frame).verdict;
    let refused = own.node_counters.replies.get() > 0;
    let at = flow.and_then(|word| tables.destinations.get(word.destination() as usize));
    let is_segment = question.protocol == Protocol::Tcp && question.tcp_flags & tcp::SYN == 0;
    let reset = refused && is_segment && at.is_some_and(|destination| !destination.state().keeps_flows);
    let destination = (!refused && matches!(verdict, Verdict::Transmit | Verdict::Redirect(_) | Verdict::Return(_)))
        .then(|| dry.destination_of_flow().or(slot.map(|(_, id)| id)))
        .flatten();
    let chosen_anew = found.is_some_and(|(_, service)| !service.scheduling().is_stateless());
    Ok(Answer {
        verdict,
        refused,
        reset,
        service: found.map(|(index, _)| index),
        flow,
        slot,
        chosen_anew,
        limit: dry.limit(),
        forgotten: dry.limit_counters.forgotten.get() > 0,
        destination,
    })
}

/// The environment with copies of the flow's two buckets and with counters that nobody reads.
struct Dry<'a> {
    view: View<'a>,
    hash: FlowHash,
    buckets: [(u32, FlowBucket); 2],
    counters: DestinationCounters,
    /// One bucket of translated flows, free: what it is asked about is no reply.
    nat: (NatBucket, NatSlots),
    /// Copies of the scores of the service's destinations.
    scores: BTreeMap<u32, Score>,
    /// A copy of the service's limits.
    limits: ServiceLimits,
    /// Copies of the buckets of client prefixes that are asked for: one for each purpose.
    clients: [OnceCell<(u32, ClientBucket)>; 2],
    limit_counters: LimitCounters,
    turn: Word32,
}

impl<'a> Dry<'a> {
    fn over(view: View<'a>, hash: FlowHash, service: Option<u32>) -> Self {
        let mask = view.flow_mask();
        let first = table::first_bucket(hash, mask);
        let second = table::other_bucket(first, hash.tag, mask);
        let buckets = [first, second].map(|index| (index, copy(&view.tables.flows[index as usize])));
        let own = |(_, destination): &(u32, &Destination)| Some(destination.state().service) == service;
        let ids = (0..).zip(view.tables.destinations).skip(1).filter(own).map(|(id, _)| id);
        let scores = ids.filter_map(|id| Some((id, view.score(id)?.copy())));
        let limits = service.and_then(|service| view.tables.limits.get(service as usize));
        Self {
            view,
            hash,
            buckets,
            counters: DestinationCounters::default(),
            nat: Default::default(),
            scores: scores.collect(),
            limits: limits.map(ServiceLimits::copy).unwrap_or_default(),
            clients: Default::default(),
            limit_counters: LimitCounters::default(),
            turn: Word32::default(),
        }
    }

    /// The destination in the flow's entry, which a packet that passed leaves behind.
    fn destination_of_flow(&self) -> Option<u32> {
        flow::find(self, self.hash).map(|(_, word)| word.destination())
    }

    /// The limit that refused the packet.
    fn limit(&self) -> Option<DropReason> {
        let counters = &self.limit_counters;
        let reasons = [
            (&counters.denied, DropReason::Denied),
            (&counters.client, DropReason::LimitClient),
            (&counters.service, DropReason::LimitService),
            (&counters.connections, DropReason::LimitConnections),
            (&counters.flood, DropReason::LimitFlood),
        ];
        reasons.into_iter().find(|(counter, _)| counter.get() > 0).map(|(_, reason)| reason)
    }
}

fn copy(bucket: &FlowBucket) -> FlowBucket {
    let copy = FlowBucket::default();
    for (to, from) in copy.entries.iter().zip(&bucket.entries) {
        let (tag, word) = from.load();
        to.store(tag, word);
    }
    copy
}

impl Environment for Dry<'_> {
    fn features(&self) -> Features {
        self.view.features()
    }

    fn control(&self) -> Option<&Control> {
        self.view.control()
    }

    fn may_be_vip(&self, place: u32) -> bool {
        self.view.may_be_vip(place)
    }

    fn may_be_backend(&self, place: u32) -> bool {
        self.view.may_be_backend(place)
    }

    fn nat_bucket(&self, _: u32) -> Option<&NatBucket> {
        Some(&self.nat.0)
    }

    fn nat_slots(&self, _: u32) -> Option<&NatSlots> {
        Some(&self.nat.1)
    }

    fn nat_mask(&self) -> u32 {
        0
    }

    fn backend_set(&self, index: u32) -> Option<&Word64> {
        self.view.backend_set(index)
    }

    fn scratch(&self) -> Option<&Scratch> {
        self.view.scratch()
    }

    fn pool_address(&self, index: u32) -> Option<&PoolAddress> {
        self.view.pool_address(index)
    }

    fn quic_configuration(&self, index: u32) -> Option<impl std::ops::Deref<Target = QuicLb> + '_> {
        self.view.quic_configuration(index)
    }

    fn quic_bucket(&self, index: u32) -> Option<&QuicBucket> {
        self.view.quic_bucket(index)
    }

    fn quic_mask(&self) -> u32 {
        self.view.quic_mask()
    }

    fn service_bucket(&self, index: u32) -> Option<&ServiceBucket> {
        self.view.service_bucket(index)
    }

    fn service(&self, index: u32) -> Option<&Service> {
        self.view.service(index)
    }

    fn slot(&self, index: u32) -> Option<u32> {
        self.view.slot(index)
    }

    fn destination(&self, id: u32) -> Option<&Destination> {
        self.view.destination(id)
    }

    fn tunnel(&self, index: u32) -> Option<&Tunnel> {
        self.view.tunnel(index)
    }

    fn egress(&self, index: u32) -> Option<&Egress> {
        self.view.egress(index)
    }

    /// Buckets that were not copied are not there: nothing would move to them.
    fn flow_bucket(&self, index: u32) -> Option<&FlowBucket> {
        self.buckets.iter().find(|(copied, _)| *copied == index).map(|(_, bucket)| bucket)
    }

    fn fragment_bucket(&self, _: u32) -> Option<&FlowBucket> {
        None
    }

    fn fragment_mask(&self) -> u32 {
        self.view.fragment_mask()
    }

    fn fragment_timeout(&self) -> u32 {
        self.view.fragment_timeout()
    }

    fn flow_mask(&self) -> u32 {
        self.view.flow_mask()
    }

    fn hash_key(&self) -> &HashKey {
        self.view.hash_key()
    }

    fn now(&self) -> u32 {
        self.view.now()
    }

    fn ticks_per_second(&self) -> u32 {
        self.view.ticks_per_second()
    }

    fn interface_mtu(&self, ifindex: u32) -> Option<u32> {
        self.view.interface_mtu(ifindex)
    }

    fn ingress(&self) -> u32 {
        self.view.ingress()
    }

    fn score(&self, id: u32) -> Option<&Score> {
        self.scores.get(&id)
    }

    fn limits(&self, _: u32) -> Option<&ServiceLimits> {
        Some(&self.limits)
    }

    fn list_bound(&self, index: u32) -> Option<&ListBound> {
        self.view.list_bound(index)
    }

    fn client_bucket(&self, index: u32) -> Option<&ClientBucket> {
        let original = self.view.client_bucket(index)?;
        let own = |cell: &&OnceCell<(u32, ClientBucket)>| cell.get().is_none_or(|(known, _)| *known == index);
        let cell = self.clients.iter().find(own)?;
        Some(&cell.get_or_init(|| (index, original.copy())).1)
    }

    fn client_mask(&self) -> u32 {
        self.view.client_mask()
    }

    fn passive_counters(&self, id: u32) -> Option<&PassiveCounters> {
        self.view.passive_counters(id)
    }

    fn limit_counters(&self, _: u32) -> Option<&LimitCounters> {
        Some(&self.limit_counters)
    }

    fn turn(&self, _: u32) -> Option<&Word32> {
        Some(&self.turn)
    }

    fn random(&self) -> u32 {
        self.view.random()
    }

    fn node_counters(&self) -> Option<&NodeCounters> {
        self.view.node_counters()
    }

    fn destination_counters(&self, _: u32) -> Option<&DestinationCounters> {
        Some(&self.counters)
    }

    fn reply_budget(&self) -> Option<&ReplyBudget> {
        self.view.reply_budget()
    }
}

/// The smallest packet that asks the question.
fn bytes(question: &Question) -> Vec<u8> {
    let transport = transport(question);
    let mut bytes = vec![0x02; 12];
    match (question.source.ip(), question.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (ipv4::HEADER + transport.len()) as u16;
            bytes.extend(ethernet::IPV4.to_be_bytes());
            bytes.extend([0x45, 0]);
            bytes.extend(total.to_be_bytes());
            bytes.extend([0, 0, 0x40, 0, 64, question.protocol as u8, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
        }
        (source, destination) => {
            bytes.extend(ethernet::IPV6.to_be_bytes());
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend((transport.len() as u16).to_be_bytes());
            bytes.extend([question.protocol as u8, 64]);
            bytes.extend(mapped(source));
            bytes.extend(mapped(destination));
            debug_assert_eq!(bytes.len(), ethernet::HEADER + ipv6::HEADER);
        }
    }
    bytes.extend(transport);
    bytes
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn transport(question: &Question) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(question.source.port().to_be_bytes());
    bytes.extend(question.destination.port().to_be_bytes());
    match question.protocol {
        Protocol::Udp => bytes.extend([0, 8, 0, 0]),
        Protocol::Tcp => {
            bytes.extend([0; 8]);
            bytes.extend([0x50, question.tcp_flags, 0xff, 0xff, 0, 0, 0, 0]);
            debug_assert_eq!(bytes.len(), tcp::HEADER);
        }
    }
    bytes
}
