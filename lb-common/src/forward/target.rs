//! Packets whose destination was found apart, on their way there: later fragments, and ICMP errors.

use super::{Content, send as send_as};
use crate::{
    account::Outcome,
    environment::Environment,
    frame::Frame,
    parse::{Family, Parsed, Place, parse_again},
    reply::Answer,
    verdict::{DropReason, Stop, Verdict},
    wire::ip::Fragment,
};

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The destination's id.
    pub id: u32,
    /// What the flow chooses of an outer header ([`super::choice`]).
    pub choice: u32,
}

impl Target {
    /// No destination's: the packet goes back to the client of a translated flow; to that of this slot, if it is known.
    #[inline(always)]
    #[must_use]
    pub const fn back(slot: u32) -> Self {
        Self { id: 0, choice: slot }
    }

    /// See [`Self::back`].
    #[inline(always)]
    #[must_use]
    pub const fn is_back(self) -> bool {
        self.id == 0
    }
}

/// Sends a packet on. It is read again, so that little of it need be kept for this.
///
/// # Errors
///
/// The answer that is due instead.
#[inline(always)]
pub fn send<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    place: Place,
    target: Target,
) -> Result<Outcome<'a>, Answer> {
    let mut packet = Parsed::new();
    if parse_again(frame, place, &mut packet).is_err() {
        return Ok(Verdict::Drop(DropReason::Tables).into());
    }
    match try_send(env, frame, &packet, target) {
        Ok(outcome) => Ok(outcome),
        Err(Stop::Drop(reason)) => Ok(Verdict::Drop(reason).into()),
        Err(Stop::TooBig(mtu)) if may_be_told(&packet) => Err(Answer::TooBig(mtu)),
        Err(_) => Ok(Verdict::Drop(DropReason::Mtu).into()),
    }
}

#[inline(always)]
fn try_send<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    packet: &Parsed,
    target: Target,
) -> Result<Outcome<'a>, Stop> {
    let destination = env.destination(target.id).ok_or(DropReason::Tables)?;
    let content = if matches!(packet.fragment, Fragment::Whole) { Content::Icmp } else { Content::Part };
    let verdict = send_as(env, (target.id, destination), packet, target.choice, content, frame)?;
    let counters = env.destination_counters(target.id).ok_or(DropReason::Tables)?;
    Ok(Outcome { verdict, destination: Some(counters) })
}

/// No error is answered with an error (RFC 1122, section 3.2.2; RFC 4443, section 2.4 (e)), and over IPv4 no later fragment is.
#[inline(always)]
fn may_be_told(packet: &Parsed) -> bool {
    matches!(packet.fragment, Fragment::Later) && matches!(packet.family, Family::V6)
}
