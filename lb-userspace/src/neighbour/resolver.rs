//! The handle to the next hops.

use std::{collections::BTreeSet, net::IpAddr};

use tokio::sync::watch;

use super::{Error, NextHops, netlink::Netlink, worker::Worker};

/// Keeps the next hops of a set of addresses up to date until it is dropped.
#[derive(Debug)]
pub struct Resolver {
    targets: watch::Sender<BTreeSet<IpAddr>>,
    view: watch::Receiver<NextHops>,
}

impl Resolver {
    /// Starts without targets, in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Netlink cannot be opened or does not answer.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with I/O and time.
    pub async fn start() -> Result<Self, Error> {
        let (targets, desired) = watch::channel(BTreeSet::new());
        let (publisher, view) = watch::channel(NextHops::default());
        let mut worker = Worker::new(Netlink::open()?, desired, publisher);
        worker.read().await?;
        tokio::spawn(worker.run());
        Ok(Self { targets, view })
    }

    /// Resolves exactly these addresses from now on. Takes effect in [`Self::subscribe`] a moment later.
    pub fn set_targets(&self, targets: BTreeSet<IpAddr>) {
        self.targets.send_if_modified(|present| {
            let changed = *present != targets;
            *present = targets;
            changed
        });
    }

    /// The next hops of all targets; changes whenever one of them does.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<NextHops> {
        self.view.clone()
    }
}
