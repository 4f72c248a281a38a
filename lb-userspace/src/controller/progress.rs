//! What the log says of drains under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use crate::{config::model::Service, state::DrainRecord};

/// How often flows are counted for it: the scan of a full table takes some milliseconds.
const SCAN_EVERY: Duration = Duration::from_secs(1);
/// How often the same drain is told of.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A backend: service, and address with port.
type Name = (String, String);

/// What was told of each drain, so that it is told again only when there is news.
#[derive(Debug, Default)]
pub(super) struct Progress {
    scanned: Option<SystemTime>,
    told: BTreeMap<Name, Told>,
}

#[derive(Debug)]
struct Told {
    at: SystemTime,
    flows: u64,
    overdue: bool,
}

impl Progress {
    /// Whether the last look is long enough ago, or the clock was set back.
    pub(super) fn is_due(&mut self, now: SystemTime) -> bool {
        let due = |last| now.duration_since(last).map_or(true, |since| since >= SCAN_EVERY);
        let due = self.scanned.is_none_or(due);
        if due {
            self.scanned = Some(now);
        }
        due
    }

    /// Has the next look come at once.
    pub(super) fn hasten(&mut self) {
        self.scanned = None;
    }

    /// Tells how many flows are left, and once that the deadline has passed.
    pub(super) fn tell(&mut self, service: &Service, backend: &str, drain: &DrainRecord, flows: u64, now: SystemTime) {
        let overdue = drain.is_overdue(now);
        let name = (service.name.clone(), backend.to_owned());
        let last = self.told.get(&name);
        let passes = overdue && last.is_none_or(|last| !last.overdue);
        let is_news = last.is_none_or(|last| {
            last.flows != flows && now.duration_since(last.at).map_or(true, |since| since >= TELL_EVERY)
        });
        if passes {
            let then = drain.then(service).name();
            tracing::warn!(service = service.name, backend, flows, then, "the deadline of a drain has passed");
        } else if is_news {
            let left = drain.deadline.duration_since(now).unwrap_or_default().as_secs();
            tracing::info!(service = service.name, backend, flows, seconds_left = left, "draining");
        } else {
            return;
        }
        self.told.insert(name, Told { at: now, flows, overdue });
    }

    /// Forgets drains that are over.
    pub(super) fn retain(&mut self, present: &BTreeSet<Name>) {
        self.told.retain(|name, _| present.contains(name));
    }
}
