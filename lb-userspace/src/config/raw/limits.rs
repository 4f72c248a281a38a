//! Limits of new flows, as the user writes them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::{
    field::{Field, FloodSpec, Whole},
    limits::OnExceed,
};

/// Limits of new flows. What a service gives takes the place of all of the default's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Limits {
    /// New flows in a second, of all clients together. Default: no limit.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in super::super) new_per_second: Field<Whole>,
    /// New flows at once. Default: as many as in a second.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in super::super) burst: Field<Whole>,
    /// The same for each prefix of clients.
    #[serde(default)]
    pub(in super::super) client: Field<ClientLimit>,
    /// New flows in a second above which none is remembered in the flow table, or `auto`: as many as would fill a quarter of
    /// it before they are forgotten. Default: all are remembered.
    #[serde(default)]
    pub(in super::super) flood: Field<FloodSpec>,
    /// What happens to a new flow above a limit, `max_connections` included. Default: `drop`.
    #[serde(default)]
    pub(in super::super) on_exceed: Field<OnExceed>,
}

/// A limit for each prefix of clients.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ClientLimit {
    /// New flows in a second.
    pub(in super::super) new_per_second: Field<Whole>,
    /// New flows at once. Default: as many as in a second.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in super::super) burst: Field<Whole>,
    /// Bits of IPv4 addresses that make a prefix. Default: 32.
    #[serde(default)]
    #[schemars(range(min = 1, max = 32))]
    pub(in super::super) prefix_ipv4: Field<Whole>,
    /// Bits of IPv6 addresses that make a prefix. Default: 64.
    #[serde(default)]
    #[schemars(range(min = 1, max = 128))]
    pub(in super::super) prefix_ipv6: Field<Whole>,
}
