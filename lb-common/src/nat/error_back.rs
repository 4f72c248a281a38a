//! ICMP errors about what a client sent, back to that client: translated outside and inside. A backend that refuses a packet sends them,
//! or a router on the way to it.
//!
//! ```text
//! | IP: backend or router → client or pool | ICMP | IP: client or pool → backend | ports, … |
//! | IP: VIP or router → client             | ICMP | IP: client → VIP             | ports, … |
//! ```
//!
//! The quoted packet, turned round, is a reply of the backend: it finds the flow's slot as one. Without a slot the message is the
//! host's. It goes to nobody but the client that the slot names, and leaves no trace.

use super::{
    back::{self, FoundSlot},
    error::{quote, rewrite, settle},
    rewrite::Ends,
    table::{find_reply, prepare_reply, slot_at},
};
use crate::{
    account::Outcome,
    environment::Environment,
    features::Features,
    frame::{Frame, Window},
    parse::{Family, Parsed, Place},
    passive,
    service::filter,
    verdict::{DropReason, PassReason, Stop},
    wire::{icmp, ipv4, ipv6},
};

/// All steps.
#[inline(always)]
pub fn process<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, place: Place) -> Outcome<'a> {
    let found = of_host(quote(env, frame, place)).and_then(|()| {
        begin(env);
        find(env)
    });
    settle(found.and_then(|slot| rewrite(env, frame, place).and_then(|()| send(env, frame, place, slot))))
}

/// Whether an error for no VIP may be about a packet to a backend.
#[inline(always)]
pub(crate) fn may_be<E: Environment, F: Frame>(env: &E, frame: &F, packet: &Parsed) -> bool {
    quoted_destination(frame, packet)
        .is_some_and(|destination| env.may_be_backend(filter::place(packet.family, &destination)))
}

/// Where the quoted packet went.
#[inline(always)]
fn quoted_destination<F: Frame>(frame: &F, packet: &Parsed) -> Option<[u32; 4]> {
    let at = packet.transport + icmp::HEADER;
    Some(match packet.family {
        Family::V4 => [frame.window::<{ ipv4::HEADER }>(at)?.word(16), 0, 0, 0],
        Family::V6 => {
            let header = frame.window::<{ ipv6::HEADER }>(at)?;
            [header.word(24), header.word(28), header.word(32), header.word(36)]
        }
    })
}

/// What becomes of a message after [`quote`]: what quotes anything else than what its receiver sent is no concern of a flow's.
///
/// # Errors
///
/// [`PassReason::OtherProtocol`] then.
#[inline(always)]
pub fn of_host(quoted: Result<(), Stop>) -> Result<(), Stop> {
    quoted.map_err(|_| PassReason::OtherProtocol.into())
}

/// The step after [`quote`]: notes where the flow has its slot.
#[inline(always)]
pub fn begin<E: Environment>(env: &E) {
    if let Some(reply) = env.scratch() {
        prepare_reply(env, reply);
    }
}

/// The step after [`begin`]: finds the flow's slot, and notes what the quoted packet and the message are to have. The backend's own address becomes
/// the VIP, a router's stays.
///
/// # Errors
///
/// [`PassReason::OtherProtocol`] if there is none; [`DropReason::Ttl`] if this is the message's last hop.
#[inline(always)]
pub fn find<E: Environment>(env: &E) -> Result<FoundSlot, Stop> {
    let reply = env.scratch().ok_or(DropReason::Tables)?;
    let slot = find_reply(env, reply).ok_or(PassReason::OtherProtocol)?;
    if reply.hop_limit() <= 1 {
        return Err(DropReason::Ttl.into());
    }
    let (_, record) = slot_at(env, slot).ok_or(DropReason::Tables)?;
    let ends = Ends { source: record.client_words(), destination: record.vip_words(), ports: record.ports() };
    let mut different = 0;
    for (word, address) in reply.sender().into_iter().enumerate() {
        different |= address ^ reply.source(word);
    }
    if different == 0 {
        reply.set_sender(&ends.destination);
    }
    reply.set_quoted_ends(&ends);
    Ok(FoundSlot::of(slot))
}

/// The last step, after [`rewrite`]: sends the message where the client's packets come from.
///
/// # Errors
///
/// [`DropReason::Tables`]: a defect.
#[inline(always)]
pub fn send<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &F,
    place: Place,
    slot: FoundSlot,
) -> Result<Outcome<'a>, Stop> {
    let (_, record) = slot_at(env, slot.slot()).ok_or(DropReason::Tables)?;
    if env.features().has(Features::PASSIVE_HEALTH)
        && let Some(reply) = env.scratch()
    {
        passive::saw_error(env, frame, place, reply.family(), record.destination().destination());
    }
    back::leave(env, frame, record)
}
