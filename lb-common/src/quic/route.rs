//! The way of a packet of a service with `quic`: where its connection id leads, and its flow with it.
//!
//! ```text
//! long header: Initial, 0-RTT          the client may have made the id up: flow table or hash
//! any other, id of a configuration     the destination that it names, and the flow's entry follows
//! else                                 flow table or hash, counted
//! ```

use super::{ConnectionId, Header, configuration::MODE_NONE, servers::Wanted};
use crate::{
    abi::{Service, quic_index},
    environment::Environment,
    flow::{self, FlowState, FlowWord},
    frame::{Frame, Window},
    hash::FlowHash,
    nat::{self, NatPlace, scratch::Scratch},
    parse::Parsed,
    wire::udp,
};

/// No destination is named.
pub const NONE: u32 = 0;

/// Notes the connection id of a UDP packet. Returns the place of its configuration ([`quic_index`]), or [`NONE`] if it names no
/// destination. `service` is the index of the packet's service.
#[inline(always)]
pub fn read<E: Environment, F: Frame>(env: &E, frame: &F, place: NatPlace, service: u32) -> u32 {
    let Some(scratch) = env.scratch() else { return NONE };
    scratch.set_named(NONE);
    match find(env, frame, place.transport(), service) {
        Named::By(configuration, id) => {
            scratch.set_connection_id(&id);
            configuration
        }
        Named::Nothing => {
            count(env);
            NONE
        }
        Named::NotAsked => NONE,
    }
}

/// What a packet says.
enum Named {
    /// It should name a destination by this configuration.
    By(u32, ConnectionId),
    /// It should name one, and does not.
    Nothing,
    /// Its connection id may be one that the client made up.
    NotAsked,
}

#[inline(always)]
fn find<E: Environment, F: Frame>(env: &E, frame: &F, transport: usize, service: u32) -> Named {
    let Some(window) = frame.window::<{ udp::HEADER }>(transport) else { return Named::Nothing };
    let (payload, end) = (transport + udp::HEADER, transport + window.be16(4) as usize);
    let Some(header) = Header::parse(frame, payload, end) else { return Named::Nothing };
    if header.kind.client_chooses_id() {
        return Named::NotAsked;
    }
    let Some(id) = ConnectionId::parse(frame, header.id_at, end) else { return Named::Nothing };
    let Some(place) = env.service(service).map(Service::quic) else { return Named::Nothing };
    let index = quic_index(place, id.configuration());
    match env.quic_configuration(index) {
        // Its own octet goes before the server id.
        Some(record) if record.mode() != MODE_NONE && header.id_length > record.length() => Named::By(index, id),
        _ => Named::Nothing,
    }
}

#[inline(always)]
fn count<E: Environment>(env: &E) {
    if let Some(counters) = env.node_counters() {
        counters.quic_unrouted.add(1);
    }
}

/// Finds the destination that the noted connection id names; [`named`] tells it. Apart from [`read`], so that the verifier follows the
/// cipher once and not for each kind of header.
#[inline(always)]
pub fn decode<E: Environment>(env: &E, configuration: u32, service: u32) {
    let Some(scratch) = env.scratch() else { return };
    let id = destination(env, scratch, configuration, service);
    if id == NONE {
        count(env);
    }
    scratch.set_named(id);
}

#[inline(always)]
fn destination<E: Environment>(env: &E, scratch: &Scratch, configuration: u32, service: u32) -> u32 {
    let Some(record) = env.quic_configuration(configuration) else { return NONE };
    let Some(server) = record.server_id(&scratch.connection_id()) else { return NONE };
    let id = Wanted::of(env.hash_key(), service, server, record.server_id_mask()).find(env);
    let Some(destination) = env.destination(id) else { return NONE };
    let state = destination.state();
    if state.service == service && state.keeps_flows { id } else { NONE }
}

/// Lets the entry of a packet's flow, if it has one, lead to the destination that the packet names. A flow without one gets it as any new
/// flow does. Apart from the others, since the stack has no room for all.
#[inline(always)]
pub fn follow<E: Environment, F: Frame>(env: &E, frame: &F, place: NatPlace) {
    let Some(id) = named(env) else { return };
    let Some(destination) = env.destination(id) else { return };
    let mut packet = Parsed::new();
    if nat::read(frame, place, &mut packet).is_err() {
        return;
    }
    let hash = FlowHash::of(env, &packet);
    let Some((entry, word)) = flow::find(env, hash) else { return };
    let generation = destination.state().generation;
    if word.destination() == id && word.generation() == generation {
        return;
    }
    entry.store(hash.tag, FlowWord::new(id, generation, FlowState::UdpSingle, env.now()));
    if let Some(counters) = env.destination_counters(id) {
        counters.flows_new.add(1);
    }
}

/// The destination that the packet named that was read last. It is in the CPU's memory: the stack has no room for it.
#[inline(always)]
pub fn named<E: Environment>(env: &E) -> Option<u32> {
    env.scratch().map(Scratch::named).filter(|id| *id != NONE)
}
