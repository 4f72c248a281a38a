//! Whether the tables are what was published.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use super::{Controller, reconciler::Drifts};
use crate::{
    api::model::{DriftStatus, Verified, VerifyStatus},
    plan::{
        Write,
        desired::{BackendKey, ServiceKey, backend_key},
    },
    state::runtime::key_text,
};

/// Of the daemon's time one part in so many at most goes by the timer's comparisons.
const SHARE: u32 = 50;
/// Most differences that are told one by one.
const TOLD: usize = 1000;
/// Most that the log has of one time.
const LOGGED: usize = 20;

impl Controller {
    /// Compares the tables with what they should be if it is time, and repairs them.
    pub fn verify_if_due(&mut self) {
        if Instant::now() < self.verify_at {
            return;
        }
        if let Err(error) = self.verify(true) {
            tracing::error!("the tables could not be compared with what they should be, trying again: {error:#}");
        }
    }

    /// Compares the tables with what they should be; repairs what differs if `repairs`.
    ///
    /// # Errors
    ///
    /// If they cannot be brought up to date or put right; that is tried again.
    pub fn verify(&mut self, repairs: bool) -> Result<Verified> {
        self.verify_at = Instant::now() + self.config.node.verify_interval;
        // What is merely pending is no drift.
        self.reconcile()?;
        let begin = Instant::now();
        let result = self.reconciler.verify(&mut self.plane, SystemTime::now(), repairs);
        let took = begin.elapsed();
        self.verify_at = self.verify_at.max(Instant::now() + took * SHARE);
        self.behind |= result.is_err();
        let drifts = result?;
        let all = self.describe(&drifts);
        self.note(&all, took, repairs);
        let total = all.iter().map(|drift| drift.count).sum();
        let repaired = repairs && total > 0;
        Ok(Verified { drifts: all.into_iter().take(TOLD).collect(), total, repaired, took_us: took.as_micros() as u64 })
    }

    fn note(&mut self, drifts: &[DriftStatus], took: Duration, repaired: bool) {
        let now = SystemTime::now();
        let VerifyStatus { runs, drifted, last_drift, .. } = &self.verified;
        self.verified = VerifyStatus {
            runs: runs + 1,
            drifted: drifted + if repaired { drifts.iter().map(|drift| drift.count).sum() } else { 0 },
            last: Some(now),
            took_us: took.as_micros() as u64,
            last_drift: if drifts.is_empty() { *last_drift } else { Some(now) },
        };
        let how = if repaired { "repaired" } else { "left as it is" };
        for DriftStatus { table, index, count, what, service, backend } in drifts.iter().take(LOGGED) {
            tracing::warn!(table, index, count, service, backend, "{what} was not as it should be, {how}");
        }
        if drifts.len() > LOGGED {
            tracing::warn!("and {} more in the tables, {how}", drifts.len() - LOGGED);
        }
    }

    fn describe(&self, drifts: &Drifts) -> Vec<DriftStatus> {
        let record = drifts.records.iter().map(|drift| DriftStatus {
            table: drift.table.to_owned(),
            index: drift.index,
            count: 1,
            what: drift.what.to_owned(),
            service: drift.service.as_ref().map(|key| self.name_of(key)),
            backend: drift.service.as_ref().zip(drift.backend).map(|(key, backend)| self.backend_of(key, backend)),
        });
        record.chain(drifts.writes.iter().flat_map(|write| self.describe_write(write))).collect()
    }

    /// What a plan found, which is slots and the service table if only strangers wrote.
    fn describe_write(&self, write: &Write) -> Vec<DriftStatus> {
        let one = |table: &str, index, count, what: &str| {
            let (table, what) = (table.to_owned(), what.to_owned());
            DriftStatus { table, index, count, what, service: None, backend: None }
        };
        match write {
            Write::SlotChanges { changes } => {
                let first = changes.first().map_or(0, |(slot, _)| *slot);
                let found = one("SLOTS", first, changes.len() as u64, "slot");
                vec![DriftStatus { service: self.service_with_slot(first), ..found }]
            }
            Write::Slots { offset, table } => vec![one("SLOTS", *offset, table.size().into(), "slot")],
            Write::ServiceTable { .. } => vec![one("SERVICE_BUCKETS", 0, 1, "table of services")],
            // A service that got no slots back where they were, so that its record names others.
            Write::ServiceSlots { index, .. } => vec![one("SERVICES", *index, 1, "range of slots")],
            Write::Quiesce => Vec::new(),
            _ => vec![one("CONTROL", 0, 1, "something else of the plan")],
        }
    }

    fn service_with_slot(&self, slot: u32) -> Option<String> {
        let services = &self.reconciler.actual.services;
        let has = |range: lb_common::abi::SlotRange| slot.checked_sub(range.offset).is_some_and(|at| at < range.size);
        services.iter().find(|(_, service)| has(service.slots)).map(|(key, _)| self.name_of(key))
    }

    fn name_of(&self, key: &ServiceKey) -> String {
        let mut services = self.effective().services.iter();
        services.find(|service| ServiceKey::of(service) == *key).map_or("?".to_owned(), |service| service.name.clone())
    }

    fn backend_of(&self, key: &ServiceKey, backend: BackendKey) -> String {
        let mut services = self.effective().services.iter();
        let service = services.find(|service| ServiceKey::of(service) == *key);
        let found = service.and_then(|service| service.backends.iter().find(|b| backend_key(b) == backend));
        found.map_or_else(|| key_text(backend), |backend| backend.name.clone())
    }
}
