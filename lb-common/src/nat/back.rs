//! Replies of backends, to the client.

use super::{
    NatPlace, first_port, ports, read,
    rewrite::{Ends, rewrite},
    scratch::Scratch,
    second_port,
    table::{Side, after, find_reply, prepare_reply, refresh, slot_at},
    toa,
};
use crate::{
    abi::NatRecord,
    account::Outcome,
    environment::Environment,
    features::Features,
    flow::{FlowState, FlowWord},
    forward::fits,
    fragment,
    frame::{Frame, Window},
    parse::Parsed,
    passive,
    verdict::{DropReason, PassReason, Stop, Verdict},
    wire::ethernet,
};

/// The slot of a reply, and the state that the flow's entry is due to say. As a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundSlot(u32);

impl FoundSlot {
    const STATE: u32 = 29;
    const FIRST_PART: u32 = 1 << 28;

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
    pub(super) const fn of(slot: u32) -> Self {
        Self(slot)
    }

    #[inline(always)]
    pub(super) const fn slot(self) -> u32 {
        self.0 & (Self::FIRST_PART - 1)
    }

    /// The reply is the first part of a datagram: what [`fragment::note`] is to be called with.
    #[inline(always)]
    #[must_use]
    pub const fn first_part(self) -> Option<u32> {
        if self.0 & Self::FIRST_PART == 0 { None } else { Some(fragment::REPLY | self.slot()) }
    }

    /// What [`follow`](super::forth::follow) is to be called with.
    #[inline(always)]
    #[must_use]
    pub const fn due(self) -> Option<FlowState> {
        FlowState::from_bits((self.0 >> Self::STATE) as u64)
    }
}

/// The first step: notes the packet.
///
/// # Errors
///
/// [`DropReason::Tables`]: a defect.
#[inline(always)]
pub fn begin<E: Environment, F: Frame>(env: &E, frame: &F, place: NatPlace) -> Result<(), Stop> {
    let mut packet = Parsed::new();
    read(frame, place, &mut packet)?;
    let reply = env.scratch().ok_or(DropReason::Tables)?;
    reply.set_packet(&packet);
    prepare_reply(env, reply);
    Ok(())
}

/// The second step: finds the slot of the reply that was noted and keeps its flow alive. What is no reply is the host's.
///
/// # Errors
///
/// Why the packet cannot go on.
#[inline(always)]
pub fn find<E: Environment>(env: &E) -> Result<FoundSlot, Stop> {
    let reply = env.scratch().ok_or(DropReason::Tables)?;
    let slot = find_reply(env, reply).ok_or(PassReason::NotServed)?;
    let (word, record) = slot_at(env, slot).ok_or(DropReason::Tables)?;
    if reply.hop_limit() == 0 {
        return Err(DropReason::Ttl.into());
    }
    // A router forwards no packet with one hop left (RFC 1812, section 5.3.1).
    if reply.hop_limit() == 1 {
        note_sender(reply, record, &reply.destination_words());
        return Err(Stop::Expired);
    }
    let present = FlowWord::from_bits(word.load());
    let state = after(record, present, reply.tcp_flags(), Side::Backend, false);
    if env.features().has(Features::PASSIVE_HEALTH) {
        passive::saw_reply(env, record.destination(), present.state(), reply.tcp_flags());
    }
    toa::see_reply(env, record, reply.protocol(), reply.tcp_flags());
    // Once in a tick: what backends send keeps the flow as well.
    let mut found = slot;
    if reply.is_first_part() {
        found |= FoundSlot::FIRST_PART;
    }
    if refresh(env, word, present, state) {
        reply.set_client(record);
        found |= (state as u32) << FoundSlot::STATE;
    }
    Ok(FoundSlot(found))
}

/// The last step: turns a reply back and sends it where the client's packets come from.
///
/// # Errors
///
/// Why it cannot go there: [`Stop::TooBig`] if the backend should be told to send less at a time.
#[inline(always)]
pub fn send<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    place: NatPlace,
    slot: FoundSlot,
) -> Result<Outcome<'a>, Stop> {
    let mut packet = Parsed::new();
    read(frame, place, &mut packet)?;
    let (_, record) = slot_at(env, slot.slot()).ok_or(DropReason::Tables)?;
    if let Err(stop) = fits_to(env, frame, &packet, record) {
        if let Some(reply) = env.scratch() {
            note_sender(reply, record, &packet.destination);
        }
        return Err(stop);
    }
    let ports = ports(second_port(record.ports()), first_port(record.ports()));
    rewrite(frame, &packet, &Ends { source: record.vip_words(), destination: record.client_words(), ports })?;
    leave(env, frame, record)
}

/// Notes whom an answer to the backend is from: the address of the pool that it talks to, or the VIP, since the client's is not ours.
#[inline(always)]
fn note_sender(reply: &Scratch, record: &NatRecord, destination: &[u32; 4]) {
    if record.source().is_none() {
        reply.set_sender(&record.vip_words());
    } else {
        reply.set_sender(destination);
    }
}

/// Whether a packet for the client of a record is no larger than what the interface that leads there takes.
#[inline(always)]
pub(super) fn fits_to<E: Environment, F: Frame>(
    env: &E,
    frame: &F,
    packet: &Parsed,
    record: &NatRecord,
) -> Result<(), Stop> {
    let ifindex = record.hop().ifindex;
    // What came by an interface fits there.
    if !env.features().has(Features::REDIRECT) || ifindex == env.ingress() {
        return Ok(());
    }
    match env.interface_mtu(ifindex) {
        Some(mtu) => fits(packet, frame, mtu),
        None => Ok(()),
    }
}

/// Addresses a frame to where the client's packets come from, and counts it.
#[inline(always)]
pub(super) fn leave<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &F,
    record: &NatRecord,
) -> Result<Outcome<'a>, Stop> {
    let hop = record.hop();
    let header = frame.window::<{ ethernet::HEADER }>(0).ok_or(DropReason::Tables)?;
    header.set_word64(0, hop.addresses);
    header.set_word(8, hop.tail);
    if let Some(counters) = env.node_counters() {
        counters.nat_replies.add(1);
    }
    Ok(if hop.ifindex == env.ingress() { Verdict::Transmit } else { Verdict::Return(hop.ifindex) }.into())
}
