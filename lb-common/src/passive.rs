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
    wire::{
        icmp,
        tcp::{RST, SYN},
    },
};

/// Something that was seen of a flow. As a number: the flags of a client's segment, and above them the state that it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight(u32);

const STATE: u32 = 8;

impl Sight {
    /// A flow has begun with a SYN.
    pub const OPENED: Self = Self(0);

    /// A client's segment that meets a flow in this state; `None` where it tells nothing.
    #[inline(always)]
    #[must_use]
    pub const fn of(state: FlowState, tcp_flags: u8) -> Option<Self> {
        let tells =
            matches!(state, FlowState::Setup) || matches!(state, FlowState::Established) && tcp_flags & RST != 0;
        if tells { Some(Self((state as u32) << STATE | tcp_flags as u32)) } else { None }
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
}

/// Counts what was seen of a flow of a destination.
#[inline(always)]
pub fn saw<E: Environment>(env: &E, id: u32, sight: Sight) {
    let Some(counters) = env.passive_counters(id) else { return };
    let resets = sight.0 & RST as u32 != 0;
    let counter = match sight.0 >> STATE {
        0 => &counters.opened,
        state if state == FlowState::Established as u32 => &counters.reset,
        _ if resets => &counters.aborted,
        _ if sight.0 & SYN as u32 != 0 => &counters.repeated,
        _ => &counters.confirmed,
    };
    counter.add(1);
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
