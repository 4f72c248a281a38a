//! QUIC-LB in user space: which backend has which server id. How connection ids are made of them, and read, is in
//! [`lb_common::quic`]; docs/quic.md tells users what their servers have to do.

pub mod allocation;
pub mod hex;

pub use allocation::{AllocationError, Backend, allocate};
pub use hex::Hex;
