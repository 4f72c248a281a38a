//! The short way: a packet of a known flow in its steady state, in plain headers.
//!
//! Nearly every packet is one: no VLAN tag, no IP options or extension headers, TCP without SYN, FIN or RST (or UDP), its flow
//! established and known. For these the flow table comes first. An entry proves that a service took the flow, so the
//! service need not be looked up again; its destination's steady words ([`crate::abi::Steady`]) hold everything else in
//! one cache line. A packet that is for no VIP by the filter ([`crate::service::filter`]) ends here too. (Where a more
//! specific service takes a part of a prefix or of a port range, the service has to be looked up, and the steady words
//! of the wider one's destinations are void.)
//!
//! A frame in several buffers takes the long way as well.
//!
//! Whatever does not fit is left alone and takes the long way ([`crate::packet`]), which comes to the same result for
//! every packet: this way only saves look-ups. User space writes the steady words with [`publish`] after a change; until then they
//! are void and packets take the long way.

#[cfg(feature = "std")]
use std::collections::HashMap;

use crate::{
    abi::{Destination, DestinationCounters, Tunnel},
    account::Outcome,
    environment::Environment,
    features::Features,
    flow::{self, FlowState, FlowWord},
    forward::{
        choice,
        tunnel::{self, Inner},
    },
    frame::{Frame, Window},
    hash::{FlowHash, FlowKey},
    nat,
    parse::Family,
    service::filter,
    verdict::{DropReason, PassReason, Verdict},
    wire::{
        ethernet,
        ip::Protocol,
        ipv4, ipv6,
        tcp::{self, FIN, RST, SYN},
        udp,
    },
};
#[cfg(feature = "std")]
use crate::{
    abi::{GENERATION_BITS, Mode, ServiceIdentity, ServiceLimits, Steady, tunnel_index},
    memory::Slices,
    service::key::word_mask,
};

/// Decides over the packet if it is that simple, and hands the verdict to `finish`; else leaves it unchanged, and everything else as
/// well.
///
/// `finish` is called at each place where the way ends, so that the verdict is a constant for the compiler there.
#[inline(always)]
pub fn forward<'a, E: Environment, F: Frame, R>(
    env: &'a E,
    frame: &mut F,
    finish: impl Fn(Outcome<'a>) -> R + Copy,
) -> Option<R> {
    // Enough for IPv4 and TCP; no frame on Ethernet is shorter.
    let start = frame.window::<V4_BYTES>(0)?;
    // Type, version, and for IPv4 the header's length in one word.
    let kind = start.word(12);
    if kind & 0xffff_ff00_u32.to_be() == 0x0800_4500_u32.to_be() {
        if !env.features().has(Features::IPV4) {
            return Some(finish(Verdict::Pass(PassReason::NotServed).into()));
        }
        forward_v4(env, frame, finish)
    } else if kind & 0xffff_f000_u32.to_be() == 0x86dd_6000_u32.to_be() {
        if !env.features().has(Features::IPV6) {
            return Some(finish(Verdict::Pass(PassReason::NotServed).into()));
        }
        forward_v6(env, frame, finish)
    } else {
        None
    }
}

const V4_BYTES: usize = ethernet::HEADER + ipv4::HEADER + tcp::HEADER;
const V6_BYTES: usize = ethernet::HEADER + ipv6::HEADER + tcp::HEADER;
const TCP: u32 = Protocol::Tcp as u32;
const UDP: u32 = Protocol::Udp as u32;

#[inline(always)]
fn forward_v4<'a, E: Environment, F: Frame, R>(
    env: &'a E,
    frame: &mut F,
    finish: impl Fn(Outcome<'a>) -> R + Copy,
) -> Option<R> {
    let start = frame.window::<V4_BYTES>(0)?;
    const TRANSPORT: usize = ethernet::HEADER + ipv4::HEADER;
    // Flags and fragment offset, TTL, protocol.
    let word = start.be32(20);
    if word & 0x3fff_0000 != 0 {
        return None;
    }
    let total = start.be16(16) as usize;
    if ethernet::HEADER + total > frame.linear_len() {
        return None;
    }
    let protocol = word & 0xff;
    match protocol {
        TCP => {
            let length = plain_tcp(start, TRANSPORT)?;
            if ipv4::HEADER + length > total {
                return None;
            }
        }
        UDP => {
            let length = start.be16(TRANSPORT + 4) as usize;
            if length < udp::HEADER || ipv4::HEADER + length > total {
                return None;
            }
        }
        _ => return None,
    }
    if !env.may_be_vip(filter::place(Family::V4, &[start.word(30), 0, 0, 0])) {
        if may_be_reply(env, Family::V4, &[start.word(26), 0, 0, 0]) {
            return None;
        }
        return Some(finish(Verdict::Pass(PassReason::NotServed).into()));
    }
    if word & 0xff00 == 0 {
        return None;
    }
    let packet = V4 { start, protocol };
    let known = known(env, start, packet)?;
    if known.is_tunnelled(env) {
        let tunnel = known.tunnel(env)?;
        let inner = packet.inner(env.features().has(Features::GUE) && tunnel.is_summed());
        return Some(known.send_through(tunnel, env, frame, inner, finish));
    }
    if is_nat(env, known.destination) && !nat::steady::translate_v4(start, protocol == TCP, known.destination) {
        return None;
    }
    Some(known.send(env, start, finish))
}

#[inline(always)]
fn forward_v6<'a, E: Environment, F: Frame, R>(
    env: &'a E,
    frame: &mut F,
    finish: impl Fn(Outcome<'a>) -> R + Copy,
) -> Option<R> {
    let start = frame.window::<V6_BYTES>(0)?;
    const TRANSPORT: usize = ethernet::HEADER + ipv6::HEADER;
    // Payload length, next header, hop limit.
    let word = start.be32(18);
    let payload = (word >> 16) as usize;
    if TRANSPORT + payload > frame.linear_len() {
        return None;
    }
    let protocol = word >> 8 & 0xff;
    match protocol {
        TCP => {
            if plain_tcp(start, TRANSPORT)? > payload {
                return None;
            }
        }
        UDP => {
            let length = start.be16(TRANSPORT + 4) as usize;
            if length < udp::HEADER || length > payload {
                return None;
            }
        }
        _ => return None,
    }
    let destination = [start.word(38), start.word(42), start.word(46), start.word(50)];
    if !env.may_be_vip(filter::place(Family::V6, &destination)) {
        if may_be_reply(env, Family::V6, &[start.word(22), start.word(26), start.word(30), start.word(34)]) {
            return None;
        }
        return Some(finish(Verdict::Pass(PassReason::NotServed).into()));
    }
    if word & 0xff == 0 {
        return None;
    }
    let packet = V6 { start, protocol };
    let known = known(env, start, packet)?;
    if known.is_tunnelled(env) {
        let tunnel = known.tunnel(env)?;
        let inner = packet.inner(env.features().has(Features::GUE) && tunnel.is_summed());
        return Some(known.send_through(tunnel, env, frame, inner, finish));
    }
    if is_nat(env, known.destination) && !nat::steady::translate_v6(start, protocol == TCP, known.destination) {
        return None;
    }
    Some(known.send(env, start, finish))
}

/// Whether a packet for no VIP may be a backend's reply that is translated back.
#[inline(always)]
fn may_be_reply<E: Environment>(env: &E, family: Family, source: &[u32; 4]) -> bool {
    env.features().has(Features::NAT) && env.may_be_backend(filter::place(family, source))
}

/// The 5-tuple of an IPv4 packet without options, read from the packet word by word: the program has no registers to keep it.
#[derive(Clone, Copy)]
struct V4<W> {
    start: W,
    protocol: u32,
}

/// The same for an IPv6 packet without extension headers.
#[derive(Clone, Copy)]
struct V6<W> {
    start: W,
    protocol: u32,
}

/// What else of a packet is of interest.
trait SteadyPacket: FlowKey {
    /// Bytes of the IP packet.
    fn length(self) -> u32;
    /// What an outer header takes from it, with the sum over it if it is needed.
    fn inner(self, is_summed: bool) -> Inner;
}

impl<W: Window> SteadyPacket for V4<W> {
    #[inline(always)]
    fn length(self) -> u32 {
        self.start.be16(16) as u32
    }

    #[inline(always)]
    fn inner(self, is_summed: bool) -> Inner {
        let length = self.start.be16(16);
        let segment = length - ipv4::HEADER as u16;
        let is_summed = is_summed && (self.protocol == TCP || self.start.be16(40) != 0);
        let sum =
            is_summed.then(|| tunnel::sum_v4(self.start.word(26), self.start.word(30), self.protocol as u8, segment));
        Inner { family: Family::V4, class: self.start.u8(15), length, sum }
    }
}

impl<W: Window> SteadyPacket for V6<W> {
    #[inline(always)]
    fn length(self) -> u32 {
        self.start.be16(18) as u32 + ipv6::HEADER as u32
    }

    #[inline(always)]
    fn inner(self, is_summed: bool) -> Inner {
        let first = self.start.word(14);
        Inner {
            family: Family::V6,
            class: (u32::from_be(first) >> 20) as u8,
            length: self.start.be16(18).wrapping_add(ipv6::HEADER as u16),
            sum: is_summed.then(|| tunnel::sum_v6(first, self.protocol as u8, self.start.u8(21))),
        }
    }
}

macro_rules! key_of_window {
    ($name:ident, source $source:literal, destination $destination:literal, ports $ports:literal) => {
        impl<W: Window> FlowKey for $name<W> {
            const FAMILY: Family = Family::$name;

            #[inline(always)]
            fn source(self, index: usize) -> u32 {
                self.start.word($source + 4 * index)
            }

            #[inline(always)]
            fn destination(self, index: usize) -> u32 {
                self.start.word($destination + 4 * index)
            }

            #[inline(always)]
            fn ports(self) -> u32 {
                self.start.word($ports)
            }

            #[inline(always)]
            fn protocol(self) -> u32 {
                self.protocol
            }
        }
    };
}

key_of_window!(V4, source 26, destination 30, ports 34);
key_of_window!(V6, source 22, destination 38, ports 54);

/// The length of a TCP header with neither SYN nor FIN nor RST.
#[inline(always)]
fn plain_tcp(packet: impl Window, at: usize) -> Option<usize> {
    let word = packet.be16(at + 12);
    if word & (SYN | FIN | RST) as u16 != 0 {
        return None;
    }
    let length = (word >> 12) as usize * 4;
    if length < tcp::HEADER { None } else { Some(length) }
}

/// Where a packet goes: its flow is known and in its steady state.
///
/// The words of the destination are read where they are used; the program has no registers to keep them.
struct Known<'a> {
    id: u32,
    destination: &'a Destination,
    counters: &'a DestinationCounters,
    hash: FlowHash,
}

/// Finds a packet's flow and refreshes it; `None` where the way is not that simple. Nothing is changed before the last
/// condition is met.
#[inline(always)]
fn known<'a, E: Environment>(env: &'a E, start: impl Window, packet: impl SteadyPacket) -> Option<Known<'a>> {
    // Frames to a group of stations are for the long way.
    if start.u8(0) & 1 != 0 {
        return None;
    }
    let hash = FlowHash::of_key(env, packet);
    let (entry, word) = flow::find_tag(env, hash)?;
    let id = word.destination();
    let destination = env.destination(id)?;
    if !destination.is_steady(word) {
        return None;
    }
    // Too large for what leads there: told the sender, or dropped.
    if env.features().checks_mtu() && packet.length() > destination.steady_mtu() {
        return None;
    }
    let counters = env.destination_counters(id)?;
    let state = if packet.protocol() == TCP { FlowState::Established } else { FlowState::Udp };
    let now = env.now();
    // At most one store for each tick keeps the line clean in other CPUs' caches.
    if word.progress() != FlowWord::progress_of(state, now) {
        // The client's neighbour and the slot of its replies are seen to once in a tick.
        if is_nat(env, destination)
            || word.state_index() != state.index()
            || word.age(now) >= destination.steady_timeout() as i32
        {
            return None;
        }
        entry.refresh(word.refreshed(state, now));
    }
    Some(Known { id, destination, counters, hash })
}

/// Whether packets to a destination are translated.
#[inline(always)]
fn is_nat<E: Environment>(env: &E, destination: &Destination) -> bool {
    env.features().has(Features::NAT) && destination.steady_way() & Destination::NAT != 0
}

impl<'a> Known<'a> {
    #[inline(always)]
    fn is_tunnelled<E: Environment>(&self, env: &E) -> bool {
        env.features().has(Features::TUNNEL) && self.destination.steady_way() & Destination::TUNNEL != 0
    }

    /// Addresses the frame and ends its way: in two places, so that the verdict is a constant in each.
    #[inline(always)]
    fn send<E: Environment, R>(&self, env: &E, start: impl Window, finish: impl Fn(Outcome<'a>) -> R) -> R {
        let (addresses, source_tail) = self.destination.steady_addresses();
        start.set_word64(0, addresses);
        start.set_word(8, source_tail);
        let destination = Some(self.counters);
        let ifindex = self.destination.steady_way() & Destination::IFINDEX;
        if !env.features().has(Features::REDIRECT) || ifindex == env.ingress() {
            finish(Outcome { verdict: Verdict::Transmit, destination })
        } else {
            finish(Outcome { verdict: Verdict::Redirect(self.destination.next_hop().egress), destination })
        }
    }

    #[inline(always)]
    fn tunnel<E: Environment>(&self, env: &'a E) -> Option<&'a Tunnel> {
        let second = self.destination.steady_way() >> Destination::SECOND_TUNNEL_SHIFT & 1;
        env.tunnel(2 * self.id + second)
    }

    #[inline(always)]
    fn send_through<E: Environment, F: Frame, R>(
        &self,
        tunnel: &Tunnel,
        env: &'a E,
        frame: &mut F,
        inner: Inner,
        finish: impl Fn(Outcome<'a>) -> R,
    ) -> R {
        let pushed = tunnel::push(env.features(), frame, tunnel, ethernet::HEADER, inner, choice(self.hash));
        if let Err(reason) = pushed {
            return finish(Verdict::Drop(reason).into());
        }
        match frame.window::<{ ethernet::HEADER }>(0) {
            Some(start) => self.send(env, start, finish),
            None => finish(Verdict::Drop(DropReason::Tables).into()),
        }
    }
}

/// Gathers the steady words of a destination and publishes them; to be called after a change of its state or next hop, of
/// the interface that leads to it, of its service's time-outs, or of the services that overlap with its own. They stay
/// void where packets need the long way.
#[cfg(feature = "std")]
pub fn publish(tables: &Slices<'_>, id: u32) {
    publish_one(tables, id, &mut HashMap::new());
}

/// The same for all destinations.
#[cfg(feature = "std")]
pub fn publish_all(tables: &Slices<'_>) {
    publish_where(tables, |_| true);
}

/// The same for those that meet a condition.
#[cfg(feature = "std")]
pub fn publish_where(tables: &Slices<'_>, concerns: impl Fn(&Destination) -> bool) {
    let mut alone = HashMap::new();
    for (id, destination) in (0..).zip(tables.destinations).skip(1) {
        if concerns(destination) {
            publish_one(tables, id, &mut alone);
        }
    }
}

/// Makes void what is no longer right, and publishes nothing: for before a table comes into force.
#[cfg(feature = "std")]
pub(crate) fn void_where_due(tables: &Slices<'_>) {
    let mut alone = HashMap::new();
    for (id, destination) in (0..).zip(tables.destinations).skip(1) {
        if destination.steady().is_some() && gather(tables, id, destination, &mut alone).is_none() {
            destination.void_steady();
        }
    }
}

#[cfg(feature = "std")]
fn publish_one(tables: &Slices<'_>, id: u32, alone: &mut HashMap<u32, bool>) {
    let Some(destination) = tables.destinations.get(id as usize) else { return };
    let generation = destination.state().generation;
    match gather(tables, id, destination, alone) {
        Some(steady) => destination.set_steady(id, generation, &steady),
        None => destination.void_steady(),
    }
}

#[cfg(feature = "std")]
fn gather(tables: &Slices<'_>, id: u32, destination: &Destination, alone: &mut HashMap<u32, bool>) -> Option<Steady> {
    let state = destination.state();
    let next_hop = destination.next_hop();
    // An entry has no room for a larger generation, so none would be known.
    let generation = 1..1 << GENERATION_BITS;
    // A port of the pool takes a look at another table.
    if matches!(state.mode, Mode::FullNat)
        || !state.keeps_flows
        || !generation.contains(&state.generation)
        || next_hop.egress == 0
    {
        return None;
    }
    // A tag is pushed on the long way only.
    let egress = tables.egress.get(next_hop.egress as usize).filter(|egress| egress.vlan() == 0)?;
    let service = tables.services.get(state.service as usize)?;
    let (_, identity) = service.identity()?;
    // Only a connection id says where such a packet goes.
    if identity.quic != 0 {
        return None;
    }
    if !*alone.entry(state.service).or_insert_with(|| is_alone(tables, state.service)) {
        return None;
    }
    // Where both protocols are served, flows that are idle for longer than the shorter time-out take the long way, which knows.
    let timeout = identity.protocol.each().iter().map(|protocol| {
        service.timeout(match protocol {
            Protocol::Tcp => FlowState::Established,
            Protocol::Udp => FlowState::Udp,
        })
    });
    let timeout = timeout.min().unwrap_or(0);
    // With a prefix list the first packet of a tick takes the long way, which asks whether its client is (still) served.
    let has_list = tables.limits.get(state.service as usize).is_some_and(ServiceLimits::has_list);
    let timeout = if has_list { timeout.min(1) } else { timeout };
    let overhead =
        tables.tunnels.get(tunnel_index(id, state)).map_or(0, |tunnel| state.mode.overhead(tunnel.family())) as u32;
    // Without a time-out a flow ends in the tick of its last packet, when the short way does not ask.
    (egress.ifindex() != 0 && timeout > 0).then(|| Steady {
        tunnel: state.mode.is_tunnel().then_some(state.second_tunnel),
        is_nat: matches!(state.mode, Mode::Nat),
        mtu: u16::try_from(egress.mtu().saturating_sub(overhead)).unwrap_or(u16::MAX),
        destination_mac: next_hop.mac,
        source_mac: egress.source_mac(),
        ifindex: egress.ifindex(),
        timeout,
    })
}

/// Whether every packet that a service answers to is its own: it is listed, and of a single address and port, or no other
/// listed service takes a part of its prefix and ports. A flow's entry does not tell that the table has changed since.
#[cfg(feature = "std")]
fn is_alone(tables: &Slices<'_>, index: u32) -> bool {
    let service = &tables.services[index as usize];
    let Some((prefix, identity)) = service.identity().filter(|_| service.is_listed()) else { return false };
    let overlaps = |(other_prefix, other): ([u32; 4], ServiceIdentity)| {
        other.family == identity.family
            && other.protocol.meet(identity.protocol)
            && other.prefix_length >= identity.prefix_length
            && (0..4).all(|word| (prefix[word] ^ other_prefix[word]) & word_mask(identity.prefix_length, word) == 0)
            && other.first_port <= identity.last_port
            && identity.first_port <= other.last_port
    };
    identity.is_single()
        || !(0..)
            .zip(tables.services)
            .filter(|(other, service)| *other != index && service.is_listed())
            .filter_map(|(_, service)| service.identity())
            .any(overlaps)
}
