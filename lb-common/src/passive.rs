//! What packets tell of a backend's health, counted by destination and CPU ([`PassiveCounters`](crate::abi::PassiveCounters)). User space judges by it.
//!
//! With direct server return only the client's packets are seen:
//!
//! ```text
//! SYN             opened      SYN, SYN        repeated: not answered, or the answer was lost
//! SYN, ACK        confirmed   SYN, RST        aborted: answered, and not wanted
//! SYN, nothing    not answered, or refused: the backend's own RST and ICMP errors go past the balancer
//! ```
//!
//! Where packets are translated, the backend's RST is seen, and ICMP errors about packets to it.

use crate::{
    environment::Environment,
    flow::{FlowState, FlowWord},
    frame::{Frame, Window},
    parse::{Family, Place},
    schedule::pick,
    wire::{
        icmp,
        tcp::{RST, SYN},
    },
};

/// A client's segment, as a number: its flags, and above them the state of the flow before it and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight(u32);

const STATE: u32 = 8;
const NEXT: u32 = 16;

impl Sight {
    /// A segment with these flags, that takes a flow from one state to another or the same.
    #[inline(always)]
    #[must_use]
    pub const fn of(state: FlowState, next: FlowState, tcp_flags: u8) -> Self {
        Self(tcp_flags as u32 | (state as u32) << STATE | (next as u32) << NEXT)
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
    const fn has(self, flag: u8) -> bool {
        self.0 & flag as u32 != 0
    }
}

/// Counts a flow that has begun in this state and is remembered.
#[inline(always)]
pub fn began<E: Environment>(env: &E, id: u32, state: FlowState) {
    if matches!(state, FlowState::Setup)
        && let Some(counters) = env.passive_counters(id)
    {
        counters.opened.add(1);
    }
}

/// Counts what was seen of a flow of a destination, and its end. Called where the flow's entry changes, so a SYN that is repeated within a
/// tick is not counted.
#[inline(always)]
pub fn saw<E: Environment>(env: &E, id: u32, sight: Sight) {
    const SETUP: u32 = FlowState::Setup as u32;
    const ESTABLISHED: u32 = FlowState::Established as u32;
    const CLOSING: u32 = FlowState::Closing as u32;
    let (state, next) = (sight.0 >> STATE & 0xff, sight.0 >> NEXT);
    if next == CLOSING && state != CLOSING {
        pick::closed(env, id);
    }
    let Some(counters) = env.passive_counters(id) else { return };
    match state {
        SETUP if sight.has(RST) => counters.aborted.add(1),
        SETUP if sight.has(SYN) => counters.repeated.add(1),
        SETUP => counters.confirmed.add(1),
        ESTABLISHED if sight.has(RST) => counters.reset.add(1),
        _ => {}
    }
}

/// Counts a backend's packet of a translated flow that was in this state: its RST.
#[inline(always)]
pub(crate) fn saw_reply<E: Environment>(env: &E, destination: FlowWord, state: Option<FlowState>, tcp_flags: u8) {
    if tcp_flags & RST == 0 {
        return;
    }
    let Some(counters) = env.passive_counters(destination.destination()) else { return };
    match state {
        Some(FlowState::Setup) => counters.refused.add(1),
        Some(FlowState::Established) => counters.broken.add(1),
        _ => {}
    }
}

/// Counts an ICMP error about a packet to a destination, if it says that nothing gets there.
#[inline(always)]
pub(crate) fn saw_error<E: Environment, F: Frame>(env: &E, frame: &F, place: Place, family: Family, id: u32) {
    let Some(message) = frame.window::<{ icmp::HEADER }>(place.transport()) else { return };
    if is_unreachable(family, message.be16(0))
        && let Some(counters) = env.passive_counters(id)
    {
        counters.unreachable.add(1);
    }
}

/// Whether type and code of an error say so: destination unreachable, and not for its length.
#[inline(always)]
const fn is_unreachable(family: Family, kind: u16) -> bool {
    match family {
        Family::V4 => kind >> 8 == 3 && kind != icmp::FRAGMENTATION_NEEDED_V4,
        Family::V6 => kind >> 8 == 1,
    }
}
