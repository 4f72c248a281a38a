//! QUIC: which backend a packet names by its connection id.
//!
//! QUIC-LB of the IETF, draft-ietf-quic-load-balancers-21 (August 2025, the newest there is): a server writes a *server id*
//! into its connection ids, in plain text or encrypted with AES-128, and a balancer that knows the same configuration reads
//! it. So a connection stays with its backend when the client's address changes.
//!
//! - [`header`]: what the first octets of a datagram say (RFC 8999, 9000, 9369).
//! - [`connection_id`]: octets of a connection id, and which configuration they name.
//! - [`configuration`]: the record of one configuration, prepared by user space.
//! - [`server_id`]: connection id → server id. [`encode`]: the reverse, for servers and tests.
//! - [`route`]: the way of a packet of a service with `quic`. [`servers`]: the table of server ids.
//! - [`aes`]: the cipher. [`octets`]: sixteen octets as two numbers.

pub mod aes;
pub mod configuration;
pub mod connection_id;
#[cfg(feature = "std")]
pub mod encode;
pub mod header;
pub mod octets;
pub mod route;
pub mod server_id;
pub mod servers;

pub use configuration::{Parameters, ParametersError, QuicLb};
pub use connection_id::ConnectionId;
pub use header::{Header, Kind};
pub use server_id::{ServerId, Unroutable};

/// The version of the draft that this follows.
pub const DRAFT: &str = "draft-ietf-quic-load-balancers-21";

/// Configurations at a time, for rotation: ids 0 to 6 (section 3.1).
pub const CONFIGURATIONS: usize = 7;

/// Longest connection id of QUIC versions 1 and 2 (RFC 9000, section 17.2), octets.
pub const MAX_LENGTH: usize = 20;
