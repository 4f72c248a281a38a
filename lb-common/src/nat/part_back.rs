//! Later fragments of replies: they have no ports, so only their addresses change, and they go where the first one went
//! ([`crate::fragment`]).

use super::{
    back,
    rewrite::{Ends, addresses},
    table::slot_at,
};
use crate::{
    account::Outcome,
    environment::Environment,
    frame::Frame,
    parse::{Parsed, Place, parse_again},
    verdict::{DropReason, Stop, Verdict},
};

/// Sends a later fragment to the client of a slot.
#[inline(always)]
pub fn send<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, slot: u32) -> Outcome<'a> {
    match try_send(env, frame, slot) {
        Ok(outcome) => outcome,
        Err(Stop::Drop(reason)) => Verdict::Drop(reason).into(),
        // Its first one was too large as well, and that was answered.
        Err(_) => Verdict::Drop(DropReason::Mtu).into(),
    }
}

#[inline(always)]
fn try_send<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, slot: u32) -> Result<Outcome<'a>, Stop> {
    let mut packet = Parsed::new();
    // What follows the IP header is not looked at.
    let nowhere = Place::of(&packet);
    parse_again(frame, nowhere, &mut packet).map_err(|_| DropReason::Tables)?;
    if packet.hop_limit <= 1 {
        return Err(DropReason::Ttl.into());
    }
    let (_, record) = slot_at(env, slot).ok_or(DropReason::Tables)?;
    back::fits_to(env, frame, &packet, record)?;
    let ends = Ends { source: record.vip_words(), destination: record.client_words(), ports: 0 };
    addresses(frame, &packet, packet.network, &ends, 1).ok_or(DropReason::Tables)?;
    back::leave(env, frame, record)
}
