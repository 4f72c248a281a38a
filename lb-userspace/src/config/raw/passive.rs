//! Passive health, as the user writes it.

use schemars::JsonSchema;
use serde::{
    Deserialize,
    de::{self, IntoDeserializer},
};

use super::super::field::{Field, Short, Time, Whole};

/// Health that is judged by the packets of clients. What a service gives takes the place of all of the default's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct PassiveHealth {
    /// What is done about a backend that stands out.
    pub(in super::super) mode: Field<PassiveMode>,
    /// How often backends are judged, 1 s to 10 min. Default: `10s`.
    #[serde(default)]
    pub(in super::super) interval: Field<Time>,
    /// With fewer new connections in an interval a backend is not judged. Default: 20.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in super::super) min_connections: Field<Whole>,
    /// By so many points, in percent, its share of connections that were not answered is above the median of the others. Default: 30.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub(in super::super) failure_margin: Field<Whole>,
    /// How long a backend is ejected, 1 s to 1 h; each time in succession adds as much. Default: `30s`.
    #[serde(default)]
    pub(in super::super) eject_for: Field<Time>,
    /// How long at most, up to 24 h. Default: `5m`, or `eject_for` if that is more.
    #[serde(default)]
    pub(in super::super) eject_at_most: Field<Time>,
    /// The share of the weight, in percent, that may be ejected at a time; one backend always may that has no more than half of it.
    /// Default: 30.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub(in super::super) max_ejected: Field<Whole>,
}

/// What is done about a backend that stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) enum PassiveMode {
    /// Nobody looks.
    Off,
    /// It is told of.
    Observe,
    /// It gets no new flows for a while.
    Eject,
}

impl Short for PassiveHealth {
    fn from_short<E: de::Error>(text: &str) -> Result<Self, E> {
        Ok(Self { mode: PassiveMode::deserialize(text.into_deserializer())?.into(), ..Self::default() })
    }
}
