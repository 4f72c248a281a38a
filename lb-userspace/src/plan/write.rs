//! What a plan consists of.

use std::{net::IpAddr, sync::Arc};

use lb_common::{
    abi::{DestinationState, LimitSettings, NextHop, QuicServer, ScoreTerms, ServiceIdentity, SlotRange, TunnelEnds},
    parse::Family,
    quic::QuicLb,
    service::builder::Table,
};

use super::slot_table::SlotTable;

/// Time-outs in ticks, in the order of [`lb_common::flow::FlowState::ALL`].
pub type TimeoutTicks = [u32; 5];

/// An interface that leads to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EgressRecord {
    /// The kernel's index.
    pub ifindex: u32,
    /// Its MAC address.
    pub source_mac: [u8; 6],
    /// The VLAN in which frames leave; 0: none.
    pub vlan: u16,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// One change of the tables. The order in a plan matters: what is pointed to is written before what points to it, and nothing
/// is given away before a [`Write::Quiesce`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An egress interface.
    Egress {
        /// Its place.
        index: u32,
        /// What is there.
        record: EgressRecord,
    },
    /// A source address of `full-nat`.
    PoolAddress {
        /// Its place among those of its family.
        place: u32,
        /// The address.
        address: IpAddr,
        /// Whether new flows may have it.
        is_open: bool,
    },
    /// A configuration of QUIC-LB.
    QuicConfiguration {
        /// Its place: [`quic_index`](lb_common::abi::quic_index).
        index: u32,
        /// What it is from now on.
        record: Box<QuicLb>,
    },
    /// A server id: one word.
    QuicServer {
        /// Its place: eight in each bucket.
        place: u32,
        /// What is there from now on.
        server: QuicServer,
    },
    /// How many places the pool of a family has, its new addresses included.
    PoolSize {
        /// The family.
        family: Family,
        /// Places that were ever used.
        size: u32,
    },
    /// The longest time-outs of all services.
    LongestTimeouts(TimeoutTicks),
    /// A destination in a place that nothing refers to.
    Destination {
        /// Its place.
        id: u32,
        /// The backend's address.
        address: IpAddr,
        /// The backend's port.
        port: u16,
        /// Where packets go.
        next_hop: NextHop,
        /// Its outer header, if it is reached through a tunnel.
        tunnel: Option<TunnelEnds>,
        /// Its state, with a new generation.
        state: DestinationState,
    },
    /// Another next hop: one word.
    NextHop {
        /// The destination.
        id: u32,
        /// Where packets go from now on.
        next_hop: NextHop,
    },
    /// Another way to a destination: an outer header in a place that nothing refers to, then one word.
    Way {
        /// The destination.
        id: u32,
        /// The outer header, if there is one.
        tunnel: Option<TunnelEnds>,
        /// The state with the new mode, which names the place.
        state: DestinationState,
    },
    /// Another state: one word.
    State {
        /// The destination.
        id: u32,
        /// The state.
        state: DestinationState,
    },
    /// What a destination's score is made of: two words.
    Score {
        /// The destination.
        id: u32,
        /// Its weight, and what a flow counts.
        terms: ScoreTerms,
    },
    /// How many live flows a destination may have at most: one word.
    MostFlows {
        /// The destination.
        id: u32,
        /// The number; 0: any.
        most: u32,
    },
    /// Bounds of a prefix list in a range that nothing refers to.
    ListBounds {
        /// First bound.
        offset: u32,
        /// What they are.
        bounds: Arc<[u128]>,
    },
    /// Other limits of a service, each a word.
    Limits {
        /// The service.
        index: u32,
        /// Its limits from now on.
        settings: LimitSettings,
    },
    /// Slots in a range that nothing refers to.
    Slots {
        /// First slot.
        offset: u32,
        /// What they are.
        table: SlotTable,
    },
    /// Other destinations in slots that are in force: one word each. A packet reads one slot, so it finds what was there or
    /// what is there now.
    SlotChanges {
        /// Slot, counted over the whole array, and its destination from now on.
        changes: Vec<(u32, u32)>,
    },
    /// A service in a place that nothing refers to.
    Service {
        /// Its place.
        index: u32,
        /// The VIP as in memory.
        prefix: [u32; 4],
        /// What else it answers to.
        identity: ServiceIdentity,
        /// Its time-outs.
        timeouts: TimeoutTicks,
        /// Its slots.
        slots: SlotRange,
    },
    /// Other slots: one word.
    ServiceSlots {
        /// The service.
        index: u32,
        /// Its slots from now on.
        slots: SlotRange,
    },
    /// Other time-outs and another policy, each a word.
    ServiceOptions {
        /// The service.
        index: u32,
        /// The VIP, unchanged.
        prefix: [u32; 4],
        /// The policy; the rest is unchanged.
        identity: ServiceIdentity,
        /// The time-outs.
        timeouts: TimeoutTicks,
    },
    /// Another service table: written beside the one in force, then switched to.
    ServiceTable {
        /// First bucket.
        offset: u32,
        /// The table.
        table: Box<Table>,
    },
    /// A grace period: nobody uses what was replaced before.
    Quiesce,
    /// A destination's place is free. Its generation stays, so that flows of it are not taken for its successor's.
    FreeDestination {
        /// The place.
        id: u32,
    },
    /// A service's place is free.
    FreeService {
        /// The place.
        index: u32,
    },
}

impl Write {
    /// Whether it goes to a place that must be out of use, or puts a place out of use.
    pub(super) fn uses_a_free_place(&self) -> bool {
        match self {
            Self::Destination { .. }
            | Self::Way { .. }
            | Self::Slots { .. }
            | Self::ListBounds { .. }
            | Self::Service { .. }
            | Self::ServiceTable { .. }
            | Self::FreeDestination { .. }
            | Self::FreeService { .. } => true,
            Self::Egress { .. }
            | Self::PoolAddress { .. }
            | Self::PoolSize { .. }
            | Self::QuicConfiguration { .. }
            | Self::QuicServer { .. }
            | Self::LongestTimeouts(_)
            | Self::NextHop { .. }
            | Self::State { .. }
            | Self::Score { .. }
            | Self::MostFlows { .. }
            | Self::Limits { .. }
            | Self::SlotChanges { .. }
            | Self::ServiceSlots { .. }
            | Self::ServiceOptions { .. }
            | Self::Quiesce => false,
        }
    }
}
