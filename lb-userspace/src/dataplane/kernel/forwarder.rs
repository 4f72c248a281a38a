//! The forwarding code in user space, over the kernel's tables: packets of this node's own on the way of the traffic.

use std::net::IpAddr;

use anyhow::Result;
use lb_common::{
    abi::{Control, Destination, Egress, MAX_EGRESS, Tunnel, map},
    environment::Environment as _,
    features::Features,
    forward::{self, Content},
    hash::FlowHash,
    memory::{Constants, Own, Packet, Slices, View},
    parse::{Parsed, parse},
    verdict::{Stop, Verdict},
    wire::ethernet,
};

use super::{Loaded, loaded::region, region::Region};

/// What takes packets to destinations, in the same frames as the program in the kernel. It has mappings of its own, so it can be on
/// another thread than the one that changes the tables.
#[derive(Debug)]
pub struct Forwarder {
    destinations: Region<Destination>,
    tunnels: Region<Tunnel>,
    egress: Region<Egress>,
    constants: Constants,
    control: Control,
}

impl Loaded {
    /// What takes packets of this node's own to destinations.
    ///
    /// # Errors
    ///
    /// If a map cannot be mapped into memory.
    pub fn forwarder(&self) -> Result<Forwarder> {
        let (ebpf, destinations) = (self.ebpf(), self.tables().destinations.len());
        Ok(Forwarder {
            destinations: region(ebpf, map::DESTINATIONS, destinations, false)?,
            tunnels: region(ebpf, map::TUNNELS, 2 * destinations, false)?,
            egress: region(ebpf, map::EGRESS, MAX_EGRESS as usize, false)?,
            constants: Constants { features: Features::ALL, ..self.constants() },
            control: Control::default(),
        })
    }
}

impl Forwarder {
    /// The frame that takes an IP packet to a destination, and the index of the interface that it leaves by. `backend` is the
    /// destination's own address: its id may have been given to another.
    ///
    /// # Errors
    ///
    /// Why it cannot go there, in the words of an operator.
    pub fn frame(&self, id: u32, backend: IpAddr, packet: &[u8]) -> Result<(u32, Vec<u8>), &'static str> {
        let own = Own::default();
        let view = View::outside(self.tables(), self.constants, 0, &own);
        let destination = view.destination(id).filter(|found| is_of(found, backend)).ok_or("the backend is gone")?;
        let mut frame = Packet::new(in_ethernet(packet));
        let mut parsed = Parsed::new();
        parse(self.constants.features, &frame, &mut parsed).map_err(|_| "not a packet of TCP or UDP")?;
        let choice = forward::choice(FlowHash::of(&view, &parsed));
        match forward::send(&view, (id, destination), &parsed, choice, Content::Transport, &mut frame) {
            Ok(Verdict::Redirect(egress)) => {
                let interface = view.egress(egress).ok_or("its interface is not known")?;
                Ok((interface.ifindex(), frame.into_bytes()))
            }
            Err(Stop::Drop(reason)) => Err(reason.help()),
            Err(Stop::TooBig(_)) => Err("the packet is larger than the interface takes"),
            _ => Err("there is no way to it"),
        }
    }

    /// The tables of destinations; the others have nothing in them.
    fn tables(&self) -> Slices<'_> {
        Slices {
            control: &self.control,
            vip_filter: &[],
            service_buckets: &[],
            services: &[],
            slots: &[],
            destinations: self.destinations.records(),
            tunnels: self.tunnels.records(),
            egress: self.egress.records(),
            flows: &[],
            nat_buckets: &[],
            nat_slots: &[],
            nat_pool: &[],
            backend_set: &[],
            fragments: &[],
            quic_configurations: &[],
            quic_servers: &[],
            scores: &[],
            limits: &[],
            list_bounds: &[],
            clients: &[],
        }
    }
}

fn is_of(destination: &Destination, backend: IpAddr) -> bool {
    let octets = match backend {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let (words, _) = octets.as_chunks::<4>();
    destination.address().0.iter().zip(words).all(|(word, octets)| *word == u32::from_ne_bytes(*octets))
}

/// With a header whose addresses are still to be set.
fn in_ethernet(packet: &[u8]) -> Vec<u8> {
    let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
    let kind = if is_v6 { ethernet::IPV6 } else { ethernet::IPV4 };
    // Room for the longest outer header in front, so that it moves nothing to another place.
    let mut frame = Vec::with_capacity(packet.len() + 128);
    frame.extend([0; 12]);
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}
