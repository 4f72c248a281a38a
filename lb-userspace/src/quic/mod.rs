//! QUIC-LB in user space: which backend has which server id. How connection ids are made of them, and read, is in
//! [`lb_common::quic`]; docs/quic.md tells users what their servers have to do.

pub mod allocation;
pub mod hex;

pub use allocation::{AllocationError, Backend, allocate};
pub use hex::Hex;

use crate::config::model;

/// The secret of [`allocate`]: the key of the flow hash, which all nodes with one `hash_secret` share.
#[must_use]
pub fn secret(key: &lb_common::hash::HashKey) -> Vec<u8> {
    key.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The server ids of a service's backends in configurations with ids of `length` octets, in the order of `backends`.
///
/// # Errors
///
/// As [`allocate`].
pub fn server_ids(
    secret: &[u8],
    backends: &[model::Backend],
    length: u8,
) -> Result<Vec<lb_common::quic::ServerId>, AllocationError> {
    let fixed =
        |backend: &model::Backend| backend.quic_server_id.clone().filter(|id| id.0.len() == usize::from(length));
    let backends: Vec<Backend> = backends
        .iter()
        .map(|backend| Backend { address: backend.address, port: backend.port, fixed: fixed(backend) })
        .collect();
    allocate(secret, &backends, length)
}
