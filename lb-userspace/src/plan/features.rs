//! What the program needs for what a plan writes.

use lb_common::features::Features;

use super::Write;
use crate::config::model::Node;

/// The features that tables need after these writes, if they did not before, and packets come from these interfaces.
#[must_use]
pub fn of_all(writes: &[Write], ingress: &[u32]) -> Features {
    writes.iter().map(|write| of(write, ingress)).fold(Features::NONE, Features::with)
}

/// The features that the node itself is configured for, whatever its tables say.
#[must_use]
pub const fn of_node(node: &Node) -> Features {
    if node.icmp_echo { Features::ICMP_ECHO } else { Features::NONE }
}

fn of(write: &Write, ingress: &[u32]) -> Features {
    match write {
        Write::Service { identity, .. } | Write::ServiceOptions { identity, .. } => Features::of_service(identity),
        Write::Egress { record, .. } => Features::of_egress(record.ifindex, record.vlan, record.mtu, ingress),
        Write::Destination { state, .. } | Write::Way { state, .. } => Features::of_destination(*state),
        Write::Limits { settings, .. } => Features::of_limits(settings),
        Write::MostFlows { most, .. } => Features::of_most_flows(*most),
        Write::PoolAddress { .. }
        | Write::PoolSize { .. }
        | Write::QuicConfiguration { .. }
        | Write::QuicServer { .. }
        | Write::LongestTimeouts(_)
        | Write::NextHop { .. }
        | Write::State { .. }
        | Write::Score { .. }
        | Write::Slots { .. }
        | Write::ListBounds { .. }
        | Write::SlotChanges { .. }
        | Write::ServiceSlots { .. }
        | Write::ServiceTable { .. }
        | Write::Quiesce
        | Write::FreeDestination { .. }
        | Write::FreeService { .. } => Features::NONE,
    }
}
