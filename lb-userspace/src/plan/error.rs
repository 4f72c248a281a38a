//! Why there is no plan.

use std::fmt;

use lb_common::{
    abi::{MAX_EGRESS, MAX_QUIC},
    quic::ParametersError,
    schedule::maglev::MaglevError,
    service::builder::BuildError,
};

use crate::quic::AllocationError;

/// Why a plan cannot be made. Nothing was written.
#[derive(Debug, PartialEq, Eq)]
pub enum PlanError {
    /// No free place in a table; names the limit.
    Full(&'static str),
    /// More interfaces lead to backends than the table holds.
    Egress,
    /// The service table cannot be built.
    Services(BuildError),
    /// A Maglev table cannot be built.
    Maglev(MaglevError),
    /// Backends cannot have server ids.
    ServerIds(AllocationError),
    /// A configuration of QUIC-LB is none.
    Quic(ParametersError),
    /// More services have `quic` than there is room for.
    QuicServices,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(limit) => {
                write!(f, "no room in the tables; raise `node.limits.{limit}` (needs `evenkeel detach`)")
            }
            Self::Egress => write!(f, "more than {} interfaces lead to backends", MAX_EGRESS - 1),
            Self::Services(error) => write!(f, "{error}"),
            Self::Maglev(error) => write!(f, "{error}"),
            Self::ServerIds(error) => write!(f, "{error}"),
            Self::Quic(error) => write!(f, "{error}"),
            Self::QuicServices => write!(f, "more than {MAX_QUIC} services have `quic`; remove it from some"),
        }
    }
}

impl std::error::Error for PlanError {}
