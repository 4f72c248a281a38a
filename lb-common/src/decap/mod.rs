//! The decapsulator at a backend: the end of tunnels from balancers.
//!
//! It is a program of its own on the interfaces of a backend, and knows nothing of services or flows. The way of a packet:
//! link → outer header → is it tunnelled → to one of our ends → from an allowed source → inner packet → its congestion
//! mark → Ethernet header moved in front of it → the host's stack, which has the VIP on `lo`.
//!
//! Everything else is left to the host unmodified, except what is tunnelled to one of our ends and cannot be unpacked:
//! that is dropped, because a tunnel device of the host might take it without asking for its source.
//!
//! The UDP checksum of GUE is not verified: over IPv6 it may be zero (RFC 6935, RFC 6936), a sum over the whole payload
//! costs more than everything else here, and what arrives at the server is covered by the inner packet's own checksums,
//! which the host's stack verifies.

mod counters;
mod ecn;
mod outer;
mod record;
mod rules;
mod verdict;

#[cfg(feature = "std")]
pub mod memory;

pub use counters::Counters;
pub use outer::Outer;
pub use record::{Control, LAYOUT_VERSION, List, MAX_PREFIXES, Prefixes, Role, Tunnels, map};
pub use rules::{Network, Rules, TooMany};
pub use verdict::{DropReason, Kind, PassReason, Verdict};

use verdict::{Carrier, Stop};

use crate::{
    frame::{Frame, Window},
    parse::Family,
    wire::{
        ethernet::{self, Ethernet},
        gue::{self, GueError},
        ip::{Fragment, Protocol},
        ipv4, ipv6, udp,
    },
};

/// Where the tables live.
pub trait Environment {
    /// The control record.
    fn control(&self) -> Option<&Control>;

    /// Whether a list contains an address. In BPF this is a function that the verifier checks once, apart from its callers:
    /// it would not get to the end of the loop in every state that a caller can be in.
    #[inline(always)]
    fn contains(&self, list: List, address: &[u32; 4]) -> bool {
        self.control().is_some_and(|control| List::contains(control, list.pack(), address))
    }
}

/// Decides over a packet and unpacks it.
#[inline(always)]
pub fn process<E: Environment, F: Frame>(env: &E, frame: &mut F) -> Verdict {
    match unpack(env, frame) {
        Ok(kind) => Verdict::Unpacked(kind),
        Err(Stop::Pass(reason)) => Verdict::Pass(reason),
        Err(Stop::Drop(reason)) => Verdict::Drop(reason),
    }
}

#[inline(always)]
fn unpack<E: Environment, F: Frame>(env: &E, frame: &mut F) -> Result<Kind, Stop> {
    let link = ethernet::parse(frame).ok_or(PassReason::NotParsed)?;
    let mut outer = Outer::new();
    outer::parse(frame, &link, &mut outer)?;
    let control = env.control().ok_or(DropReason::Tables)?;
    // Read once: a packet is judged by one set, also while another is put in force.
    let set = control.active_set();
    let carrier = carrier(frame, control.set(set).gue_port(), &outer)?;
    accept(env, set, &outer)?;
    let (family, at, end) = match carrier {
        Carrier::Ipip(family) => (family, outer.payload, outer.end),
        _ => open(frame, &outer)?,
    };
    let inner_end = end_of_packet(frame, family, at).ok_or(DropReason::Malformed)?;
    if inner_end > end {
        return Err(DropReason::Malformed.into());
    }
    ecn::propagate(frame, outer.ecn, family, at)?;
    if !strip(frame, &link, at, family) {
        return Err(DropReason::Malformed.into());
    }
    Ok(Kind::of(carrier, outer.family, family))
}

/// How a packet is tunnelled, if it is. Nothing is known yet of whether it is for us and holds together.
#[inline(always)]
fn carrier<F: Frame>(frame: &F, gue_port: u16, outer: &Outer) -> Result<Carrier, Stop> {
    match outer.protocol {
        _ if outer.fault.is_some() => Ok(Carrier::Unknown),
        ipv4::IN_IP => Ok(Carrier::Ipip(Family::V4)),
        ipv6::IN_IP => Ok(Carrier::Ipip(Family::V6)),
        // A later fragment has no ports. If it belongs to a GUE datagram the host never gets the first one.
        17 if !matches!(outer.fragment, Fragment::Later) => {
            let header = frame.window::<{ udp::HEADER }>(outer.payload).ok_or(PassReason::NotParsed)?;
            if header.be16(2) == gue_port { Ok(Carrier::Gue) } else { Err(PassReason::NotTunnel.into()) }
        }
        _ => Err(PassReason::NotTunnel.into()),
    }
}

/// Whether a tunnelled packet is for us, and may be.
#[inline(always)]
fn accept<E: Environment>(env: &E, set: u32, outer: &Outer) -> Result<(), Stop> {
    let list = |role| List { set, role, family: outer.family };
    if !env.contains(list(Role::Ends), &outer.destination) {
        return Err(outer.fault.map_or(PassReason::OtherEnd, |_| PassReason::NotParsed).into());
    }
    // Whether it is tunnelled is not known then. It is not left to the host, which might look further.
    if let Some(fault) = outer.fault {
        return Err(fault.into());
    }
    if !env.contains(list(Role::Sources), &outer.source) {
        return Err(DropReason::Source.into());
    }
    if !matches!(outer.fragment, Fragment::Whole) {
        return Err(DropReason::Fragment.into());
    }
    if outer.valid { Ok(()) } else { Err(DropReason::Malformed.into()) }
}

/// Family, beginning and greatest end of the packet in a GUE datagram.
#[inline(always)]
fn open<F: Frame>(frame: &F, outer: &Outer) -> Result<(Family, usize, usize), Stop> {
    let datagram = udp::parse(frame, outer.payload, outer.end).ok_or(DropReason::Malformed)?;
    match gue::parse(frame, outer.payload + udp::HEADER, datagram.end) {
        Ok(gue) => Ok((gue.family, gue.payload, datagram.end)),
        Err(GueError::Malformed) => Err(DropReason::Malformed.into()),
        Err(GueError::Unknown) => Err(DropReason::Gue.into()),
    }
}

/// Where the inner packet ends by its own words; `None` if its header does not hold together.
#[inline(always)]
fn end_of_packet<F: Frame>(frame: &F, family: Family, at: usize) -> Option<usize> {
    match family {
        Family::V4 => ipv4::parse(frame, at).filter(|ip| ip.valid).map(|ip| ip.end),
        Family::V6 => ipv6::parse(frame, at).filter(|ip| ip.valid).map(|ip| ip.end),
    }
}

/// Moves the Ethernet header with its tags before the inner packet and makes the frame begin there.
#[inline(always)]
fn strip<F: Frame>(frame: &mut F, link: &Ethernet, at: usize, family: Family) -> bool {
    let start = at - link.payload;
    move_header(frame, link.payload - ethernet::HEADER, start, family).is_some() && frame.move_head(start as i32)
}

/// Copies addresses and `tags` bytes of tags to `start` and ends the header with the inner packet's type.
#[inline(always)]
fn move_header<F: Frame>(frame: &F, tags: usize, start: usize, family: Family) -> Option<()> {
    const ADDRESSES: usize = 12;
    // All is read before anything is written: the places overlap behind a short outer header.
    let from = frame.window::<ADDRESSES>(0)?;
    let addresses = [from.word(0), from.word(4), from.word(8)];
    let tag = |n: usize| Some(frame.window::<{ ethernet::TAG }>(ADDRESSES + n * ethernet::TAG)?.word(0));
    let first = if tags >= ethernet::TAG { tag(0)? } else { 0 };
    let second = if tags >= 2 * ethernet::TAG { tag(1)? } else { 0 };
    let to = frame.window::<ADDRESSES>(start)?;
    to.set_word(0, addresses[0]);
    to.set_word(4, addresses[1]);
    to.set_word(8, addresses[2]);
    let mut at = start + ADDRESSES;
    if tags >= ethernet::TAG {
        frame.window::<{ ethernet::TAG }>(at)?.set_word(0, first);
        at += ethernet::TAG;
    }
    if tags >= 2 * ethernet::TAG {
        frame.window::<{ ethernet::TAG }>(at)?.set_word(0, second);
        at += ethernet::TAG;
    }
    let ethertype = match family {
        Family::V4 => ethernet::IPV4,
        Family::V6 => ethernet::IPV6,
    };
    frame.window::<2>(at)?.set_be16(0, ethertype);
    Some(())
}

const _: () = assert!(Protocol::Udp as u8 == 17);
