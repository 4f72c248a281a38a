//! Packets of clients, to the backend.

use super::{
    NatPlace,
    candidate::{backend, pool_index},
    first_port, ports, read,
    rewrite::{Ends, rewrite},
    second_port,
    table::{self, Round, prepare},
    toa,
};
use crate::{
    abi::{Hop, MAX_POOL, Mode},
    account::Outcome,
    environment::Environment,
    features::Features,
    flow::{self, FlowState, FlowWord},
    forward::{dsr_l2::Way, fits},
    frame::{Frame, Window},
    parse::Parsed,
    service::filter,
    verdict::{DropReason, Stop},
    wire::{ethernet, ip::Protocol, tcp::RST},
};

/// What packets of a flow have as their source: nothing new, or an address of the pool and a port. Whether the flow is over. And what [`toa`]
/// does with the packet. As a number of 29 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened(u32);

impl Opened {
    const FULL: u32 = 1 << 22;

    #[inline(always)]
    pub(super) const fn of(source: Option<(u32, u16)>) -> Self {
        match source {
            Some((place, port)) => Self(Self::FULL | place << 16 | port as u32),
            None => Self(0),
        }
    }

    const CLOSING: u32 = 1 << 23;

    #[inline(always)]
    const fn closing(self) -> Self {
        Self(self.0 | Self::CLOSING)
    }

    /// The flow's entry is due to say that it is over: [`follow`].
    #[inline(always)]
    #[must_use]
    pub const fn is_closing(self) -> bool {
        self.0 & Self::CLOSING != 0
    }

    const TOA: u32 = 1 << 24;
    const TELLS: u32 = 1 << 25;
    const GROWN: u32 = 26;

    /// [`toa::tell`] is due, with an option of ours for the packet or without.
    #[inline(always)]
    pub(super) const fn with_toa(self, tells: bool) -> Self {
        Self(self.0 | Self::TOA | if tells { Self::TELLS } else { 0 })
    }

    /// Whether [`toa::tell`] is due.
    #[inline(always)]
    #[must_use]
    pub const fn has_toa(self) -> bool {
        self.0 & Self::TOA != 0
    }

    #[inline(always)]
    pub(super) const fn tells(self) -> bool {
        self.0 & Self::TELLS != 0
    }

    /// The packet has become so many bytes longer, whole words.
    #[inline(always)]
    pub(super) const fn grown(self, bytes: usize) -> Self {
        Self(self.0 | (bytes as u32 / 4) << Self::GROWN)
    }

    /// Bytes by which the packet is longer than it arrived.
    #[inline(always)]
    #[must_use]
    pub const fn growth(self) -> u32 {
        (self.0 >> Self::GROWN & 7) * 4
    }

    /// As a number.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From [`Self::bits`].
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(super) const fn source(self) -> Option<(u32, u16)> {
        if self.0 & Self::FULL == 0 { None } else { Some((self.0 >> 16 & (MAX_POOL - 1), self.0 as u16)) }
    }
}

/// The first step: notes the packet.
///
/// # Errors
///
/// Why it cannot go there.
#[inline(always)]
pub fn begin<E: Environment, F: Frame>(env: &E, frame: &F, place: NatPlace, id: u32) -> Result<(), Stop> {
    let mut packet = Parsed::new();
    read(frame, place, &mut packet)?;
    // A router forwards no packet with one hop left (RFC 1812, section 5.3.1).
    if packet.hop_limit <= 1 {
        return Err(Stop::Expired);
    }
    let destination = env.destination(id).ok_or(DropReason::Tables)?;
    let state = destination.state();
    let is_full = matches!(state.mode, Mode::FullNat);
    let backend = backend(packet.family, destination, second_port(packet.ports));
    let flow = env.scratch().ok_or(DropReason::Tables)?;
    // A reset closes the slot as if the client had sent it.
    packet.tcp_flags |= if place.is_reset() { RST } else { 0 };
    flow.set_packet(&packet);
    // The filter spares the others the look at the set.
    let may_be = || env.may_be_backend(filter::place(packet.family, &packet.source));
    if !is_full && may_be() && env.is_backend(state.service) {
        return Err(DropReason::Hairpin.into());
    }
    flow.set_backend(backend, is_full);
    flow.set_known(place.is_known());
    if env.features().has(Features::TOA) {
        flow.set_toa(if matches!(packet.protocol, Protocol::Tcp) { state.toa() } else { 0 });
    }
    flow.set_hop(hop(env, frame).ok_or(DropReason::Tables)?);
    flow.id.store(id);
    flow.identity.store(FlowWord::identity_of(id, state.generation));
    prepare(env, flow);
    Ok(())
}

/// The second step, round by round: sees to it that the flow of the packet that was noted has its slot. `None`: the next round may.
///
/// # Errors
///
/// Why there is none.
#[inline(always)]
pub fn open<E: Environment>(env: &E, round: Round) -> Result<Option<Opened>, Stop> {
    let flow = env.scratch().ok_or(DropReason::Tables)?;
    let Some(open) = table::open(env, flow, round)? else { return Ok(None) };
    let opened = toa::mark(env, Opened::of(open.source), flow.tcp_flags(), open.is_answered);
    Ok(Some(if matches!(open.state, FlowState::Closing) { opened.closing() } else { opened }))
}

/// The last step: sends the packet to a destination whose mode is `nat` or `full-nat`.
///
/// # Errors
///
/// Why it cannot go there. What is to be answered is as it was; what is dropped may have been rewritten.
#[inline(always)]
pub fn send<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    place: NatPlace,
    id: u32,
    opened: Opened,
) -> Result<Outcome<'a>, Stop> {
    let mut packet = Parsed::new();
    read(frame, place, &mut packet)?;
    let destination = env.destination(id).ok_or(DropReason::Tables)?;
    fits(&packet, frame, Way::to(env, destination)?.mtu)?;
    let backend = backend(packet.family, destination, second_port(packet.ports));
    let mut ends =
        Ends { source: packet.source, destination: backend.0, ports: ports(first_port(packet.ports), backend.1) };
    if let Some((place, port)) = opened.source() {
        let pool = env.pool_address(pool_index(packet.family, place)).ok_or(DropReason::Tables)?;
        ends.source = pool.words();
        ends.ports = ports(port, backend.1);
    }
    rewrite(frame, &packet, &ends)?;
    // Looked up once more: kept over all this it would take more of the stack than there is.
    let verdict = Way::to(env, destination)?.take(env, frame, packet.network)?;
    let counters = env.destination_counters(id).ok_or(DropReason::Tables)?;
    Ok(Outcome { verdict, destination: Some(counters) })
}

/// The neighbour that a frame comes from.
#[inline(always)]
fn hop<E: Environment, F: Frame>(env: &E, frame: &F) -> Option<Hop> {
    let header = frame.window::<{ ethernet::HEADER }>(0)?;
    let byte = |at| header.u8(at);
    let addresses = [byte(6), byte(7), byte(8), byte(9), byte(10), byte(11), byte(0), byte(1)];
    Some(Hop { addresses: u64::from_ne_bytes(addresses), tail: header.word(2), ifindex: env.ingress() })
}

/// Brings the entry of the flow whose packet was noted up to what is known here.
#[inline(always)]
pub fn follow<E: Environment>(env: &E, state: FlowState) {
    let Some(flow) = env.scratch() else { return };
    let Some((entry, word)) = flow::find(env, flow.hash(env)) else { return };
    let Some(present) = word.state() else { return };
    let followed = word.refreshed(state, env.now());
    if word.identity_bits() != flow.identity.load() || followed == word {
        return;
    }
    entry.refresh(followed);
    if present.is_active() && !state.is_active() {
        env.closed(word.destination());
    }
}
