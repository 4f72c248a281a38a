//! Server ids of backends, in tables and in connection ids.

use lb_common::{
    abi::{QuicServer, quic_index},
    quic::{
        Parameters, QuicLb, ServerId,
        encode::{Encoder, LowBits},
        octets::Octets,
        servers::Wanted,
    },
};

use crate::{
    machine::Machine,
    world::{Backend, Service},
};

/// The server id of a backend, as long as the configuration has it.
pub(crate) fn server_id_of(backend: Backend, length: u8) -> Vec<u8> {
    let mut id = vec![0xa5; usize::from(length)];
    id[0] = backend as u8 + 1;
    id
}

/// A connection id of a configuration that names a server.
pub(crate) fn connection_id(parameters: &Parameters, server: &[u8]) -> Vec<u8> {
    let nonce: Vec<u8> = (0..parameters.nonce_length).map(|octet| octet.wrapping_mul(37) ^ 0x5a).collect();
    let encoder = Encoder::new(parameters).expect("valid parameters");
    encoder.connection_id(server, &nonce, LowBits::Length).expect("right lengths")
}

/// Writes configurations and server ids of a service (from 0); its place is its number from 1.
pub(crate) fn set(machine: &impl Machine, service: usize, description: &Service) {
    for id in 0..7 {
        let parameters = description.quic.iter().find(|parameters| parameters.id == id);
        let record = parameters.map_or(QuicLb::NONE, |parameters| QuicLb::new(parameters).expect("valid parameters"));
        machine.tables().quic_configurations[quic_index(service as u32 + 1, id) as usize].set(&record);
    }
    for parameters in &description.quic {
        let length = parameters.server_id_length;
        for backend in Backend::ALL {
            let id = ServerId::from_slice(&server_id_of(backend, length)).expect("1 to 15 octets");
            name(machine, service, (id, length), backend.id(service));
        }
    }
    for (octets, backend) in &description.server_ids {
        let id = ServerId::from_slice(octets).expect("1 to 15 octets");
        name(machine, service, (id, octets.len() as u8), backend.id(service));
    }
}

/// Lets a server id name a destination.
fn name(machine: &impl Machine, service: usize, (id, length): (ServerId, u8), destination: u32) {
    let ones = Octets::leading_ones(8 * u32::from(length));
    let wanted = Wanted::of(&machine.constants().hash_key, service as u32 + 1, id, ones);
    let servers = machine.tables().quic_servers;
    let mask = servers.len() as u32 - 1;
    let buckets = [wanted.first(mask), wanted.second(mask)];
    let words = || buckets.iter().flat_map(|bucket| &servers[*bucket as usize].words);
    let is = |bits: u64| bits != 0 && QuicServer::from_bits(bits).has(wanted.tag);
    let word = words().find(|word| is(word.load())).or_else(|| words().find(|word| word.load() == 0));
    word.expect("room").store(QuicServer::new(wanted.tag, destination).to_bits());
}
