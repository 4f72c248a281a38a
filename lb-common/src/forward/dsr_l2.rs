//! `dsr-l2`: only the two MAC addresses change, and the VLAN where one leads to the next hop. Every other mode ends the same way, with a frame to the next hop.

use crate::{
    abi::{Destination, NextHop},
    environment::Environment,
    features::Features,
    frame::Frame,
    verdict::{DropReason, Verdict},
    wire::ethernet,
};

/// The next hop of a destination and what leads there.
#[derive(Clone, Copy)]
pub struct Way {
    next_hop: NextHop,
    source_mac: u64,
    vlan: u16,
    ifindex: u32,
    /// Most bytes of an IP packet that the interface takes.
    pub mtu: u32,
}

impl Way {
    /// Of a destination.
    ///
    /// # Errors
    ///
    /// [`DropReason::Neighbour`] if the next hop is not resolved, [`DropReason::Egress`] if its interface is not known.
    #[inline(always)]
    pub fn to<E: Environment>(env: &E, destination: &Destination) -> Result<Self, DropReason> {
        let next_hop = destination.next_hop();
        if next_hop.egress == 0 {
            return Err(DropReason::Neighbour);
        }
        let egress = env.egress(next_hop.egress).ok_or(DropReason::Tables)?;
        let ifindex = egress.ifindex();
        if ifindex == 0 {
            return Err(DropReason::Egress);
        }
        Ok(Self { next_hop, source_mac: egress.source_mac(), vlan: egress.vlan(), ifindex, mtu: egress.mtu() })
    }

    /// Addresses the frame, whose IP header begins at `network`, to the next hop, in the VLAN that leads there.
    ///
    /// # Errors
    ///
    /// [`DropReason::Headroom`] if the driver left no room for a tag.
    #[inline(always)]
    pub fn take<E: Environment, F: Frame>(self, env: &E, frame: &mut F, network: usize) -> Result<Verdict, DropReason> {
        if env.features().has(Features::VLAN) && self.vlan != 0 && !env.set_tag(frame, network, self.vlan) {
            return Err(DropReason::Headroom);
        }
        let header = frame.window::<{ ethernet::HEADER }>(0).ok_or(DropReason::Tables)?;
        ethernet::set_addresses(header, self.next_hop.mac, self.source_mac);
        if !env.features().has(Features::REDIRECT) || self.ifindex == env.ingress() {
            Ok(Verdict::Transmit)
        } else {
            Ok(Verdict::Redirect(self.next_hop.egress))
        }
    }
}
