//! Direct server return on one network: only the two MAC addresses change.

use crate::{
    abi::Destination,
    environment::Environment,
    features::Features,
    frame::Frame,
    verdict::{DropReason, Verdict},
    wire::ethernet,
};

/// Addresses the frame to the destination's next hop.
///
/// # Errors
///
/// [`DropReason::Neighbour`] if the next hop is not resolved, [`DropReason::Egress`] if its interface is not known.
#[inline(always)]
pub fn forward<E: Environment, F: Frame>(
    env: &E,
    destination: &Destination,
    frame: &mut F,
) -> Result<Verdict, DropReason> {
    let next_hop = destination.next_hop();
    if next_hop.egress == 0 {
        return Err(DropReason::Neighbour);
    }
    let egress = env.egress(next_hop.egress).ok_or(DropReason::Tables)?;
    if egress.ifindex() == 0 {
        return Err(DropReason::Egress);
    }
    let header = frame.window::<{ ethernet::HEADER }>(0).ok_or(DropReason::Tables)?;
    ethernet::set_addresses(header, next_hop.mac, egress.source_mac());
    if !env.features().has(Features::REDIRECT) || egress.ifindex() == env.ingress() {
        Ok(Verdict::Transmit)
    } else {
        Ok(Verdict::Redirect(next_hop.egress))
    }
}
