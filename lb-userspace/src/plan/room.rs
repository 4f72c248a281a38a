//! Room for what is new, made by what goes.
//!
//! Where old and new do not fit beside each other (another configuration in tables that are nearly full, or leftovers of plans
//! that were never finished), what is not desired leaves first, in a part of the plan of its own with its own grace
//! period. Backends that stay keep their flows, and no service is left without takers that has some and should.

use std::collections::BTreeSet;

use super::{
    actual::ActualService,
    desired::{Desired, DesiredService},
    diff::{Leftovers, Planner},
    error::PlanError,
    memo::Memo,
};

impl Planner<'_> {
    /// Plans that services and backends leave that are not desired.
    pub(super) fn make_room(&mut self, desired: &Desired, memo: &mut Memo) -> Result<(), PlanError> {
        let in_force = self.in_force();
        let mut leftovers = Leftovers::default();
        self.plan_removals(desired, &mut leftovers);
        // What an unfinished plan left may not be fit to be listed yet.
        let stays = |service: &ActualService| in_force.contains(&service.index);
        let is_listed = |key: &_, service: &_| desired.services.contains_key(key) && stays(service);
        self.plan_service_table(is_listed, memo, &mut leftovers)?;
        self.free(&leftovers);
        let mut leftovers = Leftovers::default();
        for (key, service) in &desired.services {
            let reduced = self.actual.services.get(key).and_then(|present| reduced(service, present));
            if let Some(reduced) = reduced {
                self.plan_service(key, &reduced, memo, &mut leftovers)?;
            }
        }
        self.free(&leftovers);
        Ok(())
    }

    /// Services that packets can find.
    fn in_force(&self) -> BTreeSet<u32> {
        let (_, offset, mask) = self.tables.control.active().place();
        let buckets = self.tables.service_buckets.iter().skip(offset as usize).take(mask as usize + 1);
        buckets.flat_map(|bucket| &bucket.entries).map(lb_common::abi::Entry::service).collect()
    }
}

/// A service with those of its backends that stay; `None` if none goes, or none that takes flows would stay.
fn reduced(desired: &DesiredService, present: &ActualService) -> Option<DesiredService> {
    if present.backends.keys().all(|key| desired.backends.contains_key(key)) {
        return None;
    }
    let mut reduced = desired.clone();
    reduced.backends.retain(|key, _| present.backends.contains_key(key));
    let takes = |service: &DesiredService| service.backends.values().any(|backend| backend.weight > 0);
    (takes(&reduced) || !takes(desired)).then_some(reduced)
}
