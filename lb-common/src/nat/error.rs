//! ICMP errors about what a backend sent, back to that backend: translated outside and inside.
//!
//! ```text
//! | IP: router → VIP     | ICMP | IP: VIP → client             | ports, … |
//! | IP: router → backend | ICMP | IP: backend → client or pool | ports, … |
//! ```

use super::{
    candidate::{backend, pool_index},
    first_port, ports,
    rewrite::{Ends, addresses, difference, udp_checksum},
    table::{self, prepare},
};
use crate::{
    abi::Mode,
    account::Outcome,
    environment::Environment,
    flow::FlowWord,
    forward::dsr_l2::Way,
    frame::{Frame, Window},
    icmp::error::turn_round,
    parse::{Family, Parsed, Place, parse_again},
    verdict::{DropReason, Stop, Verdict},
    wire::{checksum::Sum, ethernet, icmp, ip::Protocol, tcp, udp},
};

/// All steps for a message whose destination is known.
#[inline(always)]
pub fn process<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, place: Place, id: u32) -> Outcome<'a> {
    let sent = quote(env, frame, place)
        .and_then(|()| begin(env, id))
        .and_then(|()| find(env))
        .and_then(|()| rewrite(env, frame, place))
        .and_then(|()| send(env, frame, id));
    settle(sent)
}

/// What becomes of a message that cannot go on: no error is answered with an error (RFC 1122, section 3.2.2; RFC 4443, section 2.4
/// (e)).
#[inline(always)]
pub fn settle(sent: Result<Outcome<'_>, Stop>) -> Outcome<'_> {
    match sent {
        Ok(outcome) => outcome,
        Err(Stop::Drop(reason)) => Verdict::Drop(reason).into(),
        Err(Stop::Pass(reason)) => Verdict::Pass(reason).into(),
        Err(_) => Verdict::Drop(DropReason::Mtu).into(),
    }
}

/// No frame is longer: a bound that the verifier can see.
const MAX_OFFSET: u32 = 0x3fff;

/// The first step, also of errors for clients ([`super::error_back`]): notes the packet that the message is about, turned round.
///
/// # Errors
///
/// What is wrong with the message.
#[inline(always)]
pub fn quote<E: Environment, F: Frame>(env: &E, frame: &F, place: Place) -> Result<(), Stop> {
    let mut packet = Parsed::new();
    parse_again(frame, place, &mut packet).map_err(|_| DropReason::Tables)?;
    let flow = env.scratch().ok_or(DropReason::Tables)?;
    flow.set_sender(&packet.source);
    let quoted = turn_round(frame, &mut packet)?;
    flow.set_packet(&packet);
    flow.quoted.store(quoted as u32);
    Ok(())
}

/// The second step: notes what finds the slot of the flow.
///
/// # Errors
///
/// [`DropReason::Ttl`] if this is the message's last hop.
#[inline(always)]
pub fn begin<E: Environment>(env: &E, id: u32) -> Result<(), Stop> {
    let flow = env.scratch().ok_or(DropReason::Tables)?;
    if flow.hop_limit() <= 1 {
        return Err(DropReason::Ttl.into());
    }
    let destination = env.destination(id).ok_or(DropReason::Tables)?;
    let state = destination.state();
    let is_full = matches!(state.mode, Mode::FullNat);
    flow.set_backend(backend(flow.family(), destination, flow.second_port()), is_full);
    flow.id.store(id);
    flow.identity.store(FlowWord::identity_of(id, state.generation));
    prepare(env, flow);
    Ok(())
}

/// The third step: notes what the quoted packet is to have. What packets of `nat` have as their source, they keep.
///
/// # Errors
///
/// [`DropReason::IcmpSpoof`] if there is no such flow.
#[inline(always)]
pub fn find<E: Environment>(env: &E) -> Result<(), Stop> {
    let flow = env.scratch().ok_or(DropReason::Tables)?;
    let mut ends = Ends {
        source: [flow.backend(0), flow.backend(1), flow.backend(2), flow.backend(3)],
        destination: [flow.source(0), flow.source(1), flow.source(2), flow.source(3)],
        ports: ports(flow.backend_port(), first_port(flow.ports())),
    };
    if flow.is_full() {
        // Without its slot nobody knows the flow any more, the backend neither.
        let (place, port) = table::find(env, flow).ok_or(DropReason::IcmpSpoof)?;
        let pool = env.pool_address(pool_index(flow.family(), place)).ok_or(DropReason::Tables)?;
        ends.destination = pool.words();
        ends.ports = ports(flow.backend_port(), port);
    }
    flow.set_quoted_ends(&ends);
    Ok(())
}

/// The fourth step, also of errors for clients: translates the message.
///
/// # Errors
///
/// [`DropReason::Tables`]: a defect.
#[inline(always)]
pub fn rewrite<E: Environment, F: Frame>(env: &E, frame: &F, place: Place) -> Result<(), Stop> {
    let mut packet = Parsed::new();
    parse_again(frame, place, &mut packet).map_err(|_| DropReason::Tables)?;
    let flow = env.scratch().ok_or(DropReason::Tables)?;
    packet.protocol = flow.protocol();
    let quoted = (flow.quoted.load() & MAX_OFFSET) as usize;
    translate(frame, &packet, quoted, &flow.quoted_ends(), &flow.sender()).ok_or(DropReason::Tables)?;
    Ok(())
}

/// The last step: sends the error to a destination whose mode is `nat` or `full-nat`.
///
/// # Errors
///
/// Why it cannot go there. It may have been rewritten by then.
#[inline(always)]
pub fn send<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, id: u32) -> Result<Outcome<'a>, Stop> {
    let network = ethernet::parse(frame).ok_or(DropReason::Tables)?.payload;
    let target = env.destination(id).ok_or(DropReason::Tables)?;
    let verdict = Way::to(env, target)?.take(env, frame, network)?;
    let counters = env.destination_counters(id).ok_or(DropReason::Tables)?;
    Ok(Outcome { verdict, destination: Some(counters) })
}

/// Rewrites the quoted packet, whose transport header is at `quoted`, then the message and the header around it, which goes from `source`
/// to whom the quoted packet is from.
#[inline(always)]
fn translate<F: Frame>(frame: &F, packet: &Parsed, quoted: usize, inside: &Ends, source: &[u32; 4]) -> Option<()> {
    let pseudo = addresses(frame, packet, packet.transport + icmp::HEADER, inside, 0)?;
    // The checksum of an IPv4 header makes up for the addresses in it. IPv6 has none.
    let mut change = match packet.family {
        Family::V4 => Sum::default(),
        Family::V6 => pseudo,
    };
    let header = frame.window::<{ icmp::QUOTED_TRANSPORT }>(quoted)?;
    let of_ports = difference(header.word(0), inside.ports, Sum::default());
    change = change.add_sum(of_ports);
    header.set_word(0, inside.ports);
    let of_segment = pseudo.add_sum(of_ports);
    match packet.protocol {
        Protocol::Udp => {
            let present = header.be16(udp::CHECKSUM);
            if present != 0 {
                let checksum = udp_checksum(of_segment.add(!present));
                header.set_be16(udp::CHECKSUM, checksum);
                change = change.add(!present).add(checksum);
            }
        }
        // It is often not quoted.
        Protocol::Tcp if quoted + tcp::CHECKSUM + 2 <= packet.end => {
            let field = frame.window::<{ tcp::CHECKSUM + 2 }>(quoted)?;
            let present = field.be16(tcp::CHECKSUM);
            let checksum = of_segment.add(!present).finish();
            field.set_be16(tcp::CHECKSUM, checksum);
            change = change.add(!present).add(checksum);
        }
        Protocol::Tcp => {}
    }
    let outside = Ends { source: *source, destination: inside.source, ports: 0 };
    let pseudo = addresses(frame, packet, packet.network, &outside, 1)?;
    if matches!(packet.family, Family::V6) {
        change = change.add_sum(pseudo);
    }
    let message = frame.window::<{ icmp::HEADER }>(packet.transport)?;
    message.set_be16(2, change.add(!message.be16(2)).finish());
    Some(())
}
