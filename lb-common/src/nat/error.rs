//! ICMP errors about what a backend sent, back to that backend: translated outside and inside.
//!
//! ```text
//! | IP: router → VIP     | ICMP | IP: VIP → client             | ports, … |
//! | IP: router → backend | ICMP | IP: backend → client or pool | ports, … |
//! ```

use super::{
    candidate::{backend, pool_index},
    first_port,
    forth::Opened,
    ports,
    rewrite::{Ends, addresses, destination, difference, udp_checksum},
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
    wire::{checksum::Sum, icmp, ip::Protocol, tcp, udp},
};

/// All steps for a message whose destination is known.
#[inline(always)]
pub fn process<'a, E: Environment, F: Frame>(env: &'a E, frame: &mut F, place: Place, id: u32) -> Outcome<'a> {
    let sent =
        begin(env, frame, place, id).and_then(|()| find(env)).and_then(|opened| send(env, frame, place, id, opened));
    settle(sent)
}

/// What becomes of a message that cannot go on: no error is answered with an error (RFC 1122, section 3.2.2; RFC 4443, section 2.4
/// (e)).
#[inline(always)]
pub fn settle(sent: Result<Outcome<'_>, Stop>) -> Outcome<'_> {
    match sent {
        Ok(outcome) => outcome,
        Err(Stop::Drop(reason)) => Verdict::Drop(reason).into(),
        Err(_) => Verdict::Drop(DropReason::Mtu).into(),
    }
}

/// No frame is longer: a bound that the verifier can see.
const MAX_OFFSET: u32 = 0x3fff;

/// The first step: notes the packet that the message is about.
///
/// # Errors
///
/// Why the message cannot go on.
#[inline(always)]
pub fn begin<E: Environment, F: Frame>(env: &E, frame: &F, place: Place, id: u32) -> Result<(), Stop> {
    let mut packet = Parsed::new();
    parse_again(frame, place, &mut packet).map_err(|_| DropReason::Tables)?;
    if packet.hop_limit <= 1 {
        return Err(DropReason::Ttl.into());
    }
    let quoted = turn_round(frame, &mut packet)?;
    let flow = env.scratch().ok_or(DropReason::Tables)?;
    flow.set_packet(&packet);
    flow.quoted.store(quoted as u32);
    let destination = env.destination(id).ok_or(DropReason::Tables)?;
    let state = destination.state();
    let is_full = matches!(state.mode, Mode::FullNat);
    flow.set_backend(backend(flow.family(), destination, flow.second_port()), is_full);
    flow.id.store(id);
    flow.identity.store(FlowWord::identity_of(id, state.generation));
    prepare(env, flow);
    Ok(())
}

/// The second step: what the packets of that flow have as their source. Of `nat`, whose packets keep theirs, there is nothing to find.
///
/// # Errors
///
/// [`DropReason::IcmpSpoof`] if there is no such flow.
#[inline(always)]
pub fn find<E: Environment>(env: &E) -> Result<Opened, Stop> {
    let flow = env.scratch().ok_or(DropReason::Tables)?;
    if !flow.is_full() {
        return Ok(Opened::of(None));
    }
    // Without its slot nobody knows the flow any more, the backend neither.
    let source = table::find(env, flow).ok_or(DropReason::IcmpSpoof)?;
    Ok(Opened::of(Some(source)))
}

/// The last step: sends the error to a destination whose mode is `nat` or `full-nat`.
///
/// # Errors
///
/// Why it cannot go there. It may have been rewritten by then.
#[inline(always)]
pub fn send<'a, E: Environment, F: Frame>(
    env: &'a E,
    frame: &mut F,
    place: Place,
    id: u32,
    opened: Opened,
) -> Result<Outcome<'a>, Stop> {
    let mut packet = Parsed::new();
    parse_again(frame, place, &mut packet).map_err(|_| DropReason::Tables)?;
    let target = env.destination(id).ok_or(DropReason::Tables)?;
    let flow = env.scratch().ok_or(DropReason::Tables)?;
    packet.protocol = flow.protocol();
    let quoted = (flow.quoted.load() & MAX_OFFSET) as usize;
    let mut inside = Ends {
        source: [flow.backend(0), flow.backend(1), flow.backend(2), flow.backend(3)],
        destination: [flow.source(0), flow.source(1), flow.source(2), flow.source(3)],
        ports: ports(flow.backend_port(), first_port(flow.ports())),
    };
    if let Some((place, port)) = opened.source() {
        let pool = env.pool_address(pool_index(packet.family, place)).ok_or(DropReason::Tables)?;
        inside.destination = pool.words();
        inside.ports = ports(flow.backend_port(), port);
    }
    translate(frame, &packet, quoted, &inside).ok_or(DropReason::Tables)?;
    let verdict = Way::to(env, target)?.take(env, frame, packet.network)?;
    let counters = env.destination_counters(id).ok_or(DropReason::Tables)?;
    Ok(Outcome { verdict, destination: Some(counters) })
}

/// Rewrites the quoted packet, whose transport header is at `quoted`, then the message and the header around it.
#[inline(always)]
fn translate<F: Frame>(frame: &F, packet: &Parsed, quoted: usize, inside: &Ends) -> Option<()> {
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
    let pseudo = destination(frame, packet, &inside.source)?;
    if matches!(packet.family, Family::V6) {
        change = change.add_sum(pseudo);
    }
    let message = frame.window::<{ icmp::HEADER }>(packet.transport)?;
    message.set_be16(2, change.add(!message.be16(2)).finish());
    Some(())
}
