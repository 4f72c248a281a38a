//! Who forwards.

use anyhow::Result;

use super::{evenkeel, peers, stage::Stage};

/// Something that forwards, at work until it is dropped.
pub(super) trait Balancer {
    /// Flows or connections that were new so far; `None` where nothing is remembered.
    fn new_flows(&self) -> Result<Option<u64>>;
}

/// One of them, to be set up.
pub(super) struct Subject {
    /// Its name in results.
    pub(super) name: &'static str,
    /// Makes its machines.
    pub(super) stage: fn() -> Result<Stage>,
    /// Sets it up on them.
    pub(super) start: for<'a> fn(&'a Stage) -> Result<Box<dyn Balancer + 'a>>,
}

/// All, in the order in which they are measured. Each has new machines: IPVS keeps connections of services that are gone.
pub(super) const SUBJECTS: &[Subject] = &[
    Subject { name: "direct", stage: Stage::direct, start: peers::nothing },
    Subject { name: "routing", stage: Stage::with_balancer, start: peers::routing },
    Subject { name: "evenkeel", stage: Stage::with_balancer, start: evenkeel::start },
    Subject { name: "ipvs-dr", stage: Stage::with_balancer, start: peers::ipvs_dr },
    Subject { name: "ipvs-tunnel", stage: Stage::with_balancer, start: peers::ipvs_tunnel },
    Subject { name: "ipvs-nat", stage: Stage::with_balancer, start: peers::ipvs_nat },
    Subject { name: "nftables-dnat", stage: Stage::with_balancer, start: peers::nftables_dnat },
];
