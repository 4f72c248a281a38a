//! Later fragments of clients' packets: they have no ports, so only their addresses change. What the first one's checksum says of the
//! addresses was changed there.

use super::{
    candidate::{backend, client_place, pool_index},
    rewrite::{Ends, addresses},
};
use crate::{
    abi::Mode,
    account::Outcome,
    environment::Environment,
    forward::{dsr_l2::Way, fits},
    frame::Frame,
    parse::{Parsed, Place, parse_again},
    verdict::{DropReason, Stop, Verdict},
};

/// Sends a later fragment to a destination whose mode is `nat` or `full-nat`.
#[inline(always)]
pub fn send<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, id: u32) -> Outcome<'a> {
    match try_send(env, frame, id) {
        Ok(outcome) => outcome,
        Err(Stop::Drop(reason)) => Verdict::Drop(reason).into(),
        // Its first one was too large as well, and that was answered.
        Err(_) => Verdict::Drop(DropReason::Mtu).into(),
    }
}

#[inline(always)]
fn try_send<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, id: u32) -> Result<Outcome<'a>, Stop> {
    let mut packet = Parsed::new();
    // What follows the IP header is not looked at.
    let nowhere = Place::of(&packet);
    parse_again(frame, nowhere, &mut packet).map_err(|_| DropReason::Tables)?;
    if packet.hop_limit <= 1 {
        return Err(DropReason::Ttl.into());
    }
    let destination = env.destination(id).ok_or(DropReason::Tables)?;
    let way = Way::to(env, destination)?;
    fits(&packet, frame, way.mtu)?;
    let (address, _) = backend(packet.family, destination, 0);
    let mut ends = Ends { source: packet.source, destination: address, ports: 0 };
    if matches!(destination.state().mode, Mode::FullNat) {
        let flow = env.scratch().ok_or(DropReason::Tables)?;
        flow.set_packet(&packet);
        let place = pool_index(packet.family, client_place(env, flow));
        ends.source = env.pool_address(place).ok_or(DropReason::Tables)?.words();
    }
    addresses(frame, &packet, packet.network, &ends, 1).ok_or(DropReason::Tables)?;
    let verdict = way.take(env, frame, packet.network)?;
    let counters = env.destination_counters(id).ok_or(DropReason::Tables)?;
    Ok(Outcome { verdict, destination: Some(counters) })
}
