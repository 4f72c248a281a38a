//! Limits of services in answers to what the API asks.

use std::collections::BTreeMap;

use lb_common::{
    abi::{Counter, LimitCounters, LimitSettings, Rate},
    verdict::DropReason,
};

use crate::{
    api::model::LimitStatus,
    config::model::{FlowLimits, OnExceed},
};

/// The name of new flows that were not remembered, which is no reason to drop them.
const FORGOTTEN: &str = "forgotten";

/// What was refused, by name.
pub(super) fn refused(counters: &LimitCounters) -> [(&'static str, u64); 6] {
    let of = |reason: DropReason, counter: &Counter| (reason.name(), counter.get());
    [
        of(DropReason::Denied, &counters.denied),
        of(DropReason::LimitClient, &counters.client),
        of(DropReason::LimitService, &counters.service),
        of(DropReason::LimitConnections, &counters.connections),
        of(DropReason::LimitFlood, &counters.flood),
        (FORGOTTEN, counters.forgotten.get()),
    ]
}

/// The limits that are in force, and the size of the lists that were asked for.
pub(super) fn status(asked: &FlowLimits, present: LimitSettings, refused: BTreeMap<String, u64>) -> LimitStatus {
    let given = |number: u32| (number > 0).then_some(number);
    let of = |rate: Rate| (given(rate.per_second), given(rate.per_second).map(|_| rate.burst));
    let (new_per_second, burst) = of(present.rate);
    let (client_new_per_second, client_burst) = of(present.client);
    LimitStatus {
        new_per_second,
        burst,
        client_new_per_second,
        client_burst,
        client_prefix: client_new_per_second.map(|_| present.client_prefix),
        flood: given(present.flood),
        on_exceed: match asked.on_exceed {
            OnExceed::Drop => "drop",
            OnExceed::Reject => "reject",
        }
        .to_owned(),
        allowed: asked.allow.len() as u64,
        denied: asked.deny.len() as u64,
        refused,
    }
}
