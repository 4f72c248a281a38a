//! The handle to the probes.

use std::{collections::BTreeMap, sync::Arc};

use imbl::OrdMap;
use tokio::sync::watch;

use super::{
    Relay, Target, TargetHealth,
    check::{Check, Network},
    worker::Worker,
};
use crate::config::model::Probe;

/// The health of all targets at one moment. It shares what did not change with the views before it, so that a result costs
/// the same however many targets there are, and that the difference of two views is found without reading them.
pub type HealthView = OrdMap<Target, Arc<TargetHealth>>;

/// Probes a set of targets until it is dropped.
#[derive(Debug)]
pub struct Prober {
    desired: watch::Sender<BTreeMap<Target, Probe>>,
    view: watch::Receiver<HealthView>,
}

impl Prober {
    /// Starts without targets.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with I/O and time.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Network::default())
    }

    /// The same with what takes probes to targets on the way of the traffic.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with I/O and time.
    #[must_use]
    pub fn start_with(relay: Relay) -> Self {
        Self::with(Network { relay: Some(relay) })
    }

    pub(super) fn with(check: impl Check) -> Self {
        let (desired, desires) = watch::channel(BTreeMap::new());
        let (publisher, view) = watch::channel(HealthView::default());
        tokio::spawn(Worker::new(check, desires, publisher).run());
        Self { desired, view }
    }

    /// Probes exactly these targets from now on.
    ///
    /// New ones start at once (spread over up to 100 ms, thousands of them over 100 µs each), missing ones stop and are forgotten, and those that are
    /// unchanged or have other times and thresholds keep their state. Takes effect in [`Self::subscribe`] a moment later.
    pub fn set_targets(&self, targets: BTreeMap<Target, Probe>) {
        self.desired.send_if_modified(|present| {
            let changed = *present != targets;
            *present = targets;
            changed
        });
    }

    /// The health of all targets, kept up to date: a change of status or eligibility at once, results that change
    /// neither within a second and many together.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<HealthView> {
        self.view.clone()
    }
}
