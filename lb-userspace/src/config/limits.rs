//! Limits of new flows, checked.

use std::num::NonZero;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of a service's new flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowLimits {
    /// Of all clients together.
    pub rate: Option<RateLimit>,
    /// Of each prefix of clients.
    pub client: Option<ClientLimit>,
    /// New flows in a second above which none is remembered; `None`: all are.
    pub flood: Option<NonZero<u32>>,
    /// What happens to a new flow above a limit.
    pub on_exceed: OnExceed,
    /// Prefixes of clients that are served; none: all.
    pub allow: Vec<IpNet>,
    /// Prefixes of clients that are not. The longest of both lists counts.
    pub deny: Vec<IpNet>,
}

/// New flows in a second, and at once; both up to [`Rate::MOST`](lb_common::abi::Rate::MOST).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// In a second.
    pub per_second: NonZero<u32>,
    /// At once.
    pub burst: NonZero<u32>,
}

/// A limit for each prefix of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimit {
    /// What each has.
    pub rate: RateLimit,
    /// Bits of IPv4 addresses that make a prefix, 1 to 32.
    pub prefix_ipv4: u8,
    /// Bits of IPv6 addresses, 1 to 128.
    pub prefix_ipv6: u8,
}

/// What happens to a new flow above a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnExceed {
    /// Dropped and counted under the limit's name.
    #[default]
    Drop,
    /// TCP: a reset; UDP: ICMP port unreachable.
    Reject,
}
