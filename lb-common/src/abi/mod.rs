//! Records shared between the XDP program and user space.
//!
//! Every field is an atomic of its natural width: user space maps the tables into its memory and publishes with aligned
//! stores; the program reads with plain loads. A record is written in full while nothing points to it, then one store
//! of a pointing word (a service's slots, a destination's state, the control record's active table) makes it visible.
//! The program follows pointing words by address, so it cannot see a record older than the word that led to it.

mod control;
mod counters;
mod destination;
mod limits;
mod nat;
mod passive;
mod quic;
mod schedule;
mod service;
mod tunnel;
mod word;

pub use control::{AddressKind, Control, MAX_SHAPES, Shape, TableHeader};
pub use counters::{Counter, DestinationCounters, NodeCounters, PacketCounter, ReplyBudget};
pub use destination::{Destination, DestinationState, Egress, GENERATION_BITS, NextHop, Steady};
pub use limits::{
    CLIENT_BUCKET, ClientBucket, ClientEntry, LimitCounters, LimitSettings, ListBound, PrefixList, Rate, ServiceLimits,
};
pub use nat::{Hop, MAX_POOL, NAT_BUCKET, NatBucket, NatRecord, NatSlots, PoolAddress, Translated};
pub use passive::PassiveCounters;
pub use quic::{MAX_QUIC, QUIC_BUCKET, QUIC_PLACES, QuicBucket, QuicRecord, QuicServer, quic_index, quic_place};
pub use schedule::{Affinity, INVERSE, Pick, Scheduling, Score, ScoreTerms};
pub use service::{
    Entry, FRAGMENTS_DROP, FRAGMENTS_HASH, ON_NO_BACKEND_DROP, ON_NO_BACKEND_REJECT, Protocols, SERVICE_BUCKET_ENTRIES,
    Service, ServiceBucket, ServiceIdentity, SlotPair, SlotRange,
};
pub use tunnel::{GUE_HEADER, Mode, Tunnel, TunnelEnds, inner_protocol, tunnel_index};
pub use word::{Word8, Word32, Word64};

/// Changes with every incompatible change of a record or of a table's meaning. User space refuses pins of another version.
pub const LAYOUT_VERSION: u32 = if cfg!(feature = "next-layout") { 8 } else { 7 };

/// Names of the maps, the same in the object, in the pin directory and in messages.
pub mod map {
    /// One [`super::Control`].
    pub const CONTROL: &str = "CONTROL";
    /// The program's own globals: the filter of VIPs ([`crate::service::filter`]). Not pinned.
    pub const VIP_FILTER: &str = ".bss";
    /// Buckets of the service tables.
    pub const SERVICE_BUCKETS: &str = "SERVICE_BUCKETS";
    /// [`super::Service`] by service index.
    pub const SERVICES: &str = "SERVICES";
    /// Destination ids of the schedulers' tables, as [`super::SlotPair`]s.
    pub const SLOTS: &str = "SLOTS";
    /// [`super::Destination`] by id.
    pub const DESTINATIONS: &str = "DESTINATIONS";
    /// [`super::Tunnel`], two for each destination id.
    pub const TUNNELS: &str = "TUNNELS";
    /// [`super::Egress`] by egress index.
    pub const EGRESS: &str = "EGRESS";
    /// The kernel's device of each egress index.
    pub const EGRESS_DEVICES: &str = "EGRESS_DEVICES";
    /// [`crate::flow::FlowBucket`] by bucket index.
    pub const FLOWS: &str = "FLOWS";
    /// [`super::NatBucket`] by bucket index.
    pub const NAT_BUCKETS: &str = "NAT_BUCKETS";
    /// The [`super::NatSlots`] of each bucket.
    pub const NAT_SLOTS: &str = "NAT_SLOTS";
    /// The set of backends ([`crate::nat::hairpin`]).
    pub const BACKEND_SET: &str = "BACKEND_SET";
    /// [`super::PoolAddress`]: [`super::MAX_POOL`] for each family.
    pub const NAT_POOL: &str = "NAT_POOL";
    /// [`crate::flow::FlowBucket`]s of fragments ([`crate::fragment`]).
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// [`crate::quic::QuicLb`] by [`super::quic_index`].
    pub const QUIC_CONFIGURATIONS: &str = "QUIC_CONFIGURATIONS";
    /// [`super::QuicBucket`] by bucket index.
    pub const QUIC_SERVERS: &str = "QUIC_SERVERS";
    /// [`super::Score`] by destination id.
    pub const SCORES: &str = "SCORES";
    /// [`super::ServiceLimits`] by service index.
    pub const LIMITS: &str = "LIMITS";
    /// [`super::ListBound`]s of the prefix lists.
    pub const LIST_BOUNDS: &str = "LIST_BOUNDS";
    /// [`super::ClientBucket`] by bucket index.
    pub const CLIENTS: &str = "CLIENTS";
    /// [`super::LimitCounters`] per service and CPU.
    pub const LIMIT_COUNTERS: &str = "LIMIT_COUNTERS";
    /// A turn for each service and CPU ([`crate::schedule::turn`]). Not pinned.
    pub const TURNS: &str = "TURNS";
    /// [`super::NodeCounters`] per CPU.
    pub const NODE_COUNTERS: &str = "NODE_COUNTERS";
    /// [`super::DestinationCounters`] per destination and CPU.
    pub const DESTINATION_COUNTERS: &str = "DESTINATION_COUNTERS";
    /// [`super::PassiveCounters`] per destination and CPU.
    pub const PASSIVE_COUNTERS: &str = "PASSIVE_COUNTERS";
    /// [`super::ReplyBudget`] per CPU.
    pub const REPLY_BUDGET: &str = "REPLY_BUDGET";
}

/// Egress interfaces at a time, index 0 (none) included.
pub const MAX_EGRESS: u32 = 64;
