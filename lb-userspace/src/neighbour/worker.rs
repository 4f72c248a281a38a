//! The task between netlink and the table.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use super::{
    Error, NextHops,
    netlink::Netlink,
    netlink_message::Event,
    solicit::{Question, Solicitor},
    table::{Hop, Table},
};

/// How long changes of routing are collected before the routes are looked up again.
const COLLECT: Duration = Duration::from_millis(50);
/// How old the kernel's settings may be when neighbours are asked: it does not announce that they change.
const SETTINGS_AGE: Duration = Duration::from_secs(5);
/// The wait before broken netlink sockets are opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// See the diagram in [`super`].
pub(super) struct Worker {
    netlink: Netlink,
    targets: watch::Receiver<BTreeSet<IpAddr>>,
    view: watch::Sender<NextHops>,
    table: Table,
    solicitor: Solicitor,
    /// When all routes are looked up again.
    reroute_at: Option<Instant>,
    /// Events were lost: everything has to be read again.
    lost: bool,
    /// Something changed that next hops follow from.
    changed: bool,
    /// When the kernel's settings were read.
    settings_read: Instant,
}

impl Worker {
    pub(super) fn new(
        netlink: Netlink,
        targets: watch::Receiver<BTreeSet<IpAddr>>,
        view: watch::Sender<NextHops>,
    ) -> Self {
        let (table, solicitor) = (Table::default(), Solicitor::default());
        Self {
            netlink,
            targets,
            view,
            table,
            solicitor,
            reroute_at: None,
            lost: false,
            changed: true,
            settings_read: Instant::now(),
        }
    }

    /// Works until the [`super::Resolver`] is dropped. Broken sockets are replaced; the next hops stay meanwhile.
    pub(super) async fn run(mut self) {
        while let Err(error) = self.follow().await {
            warn!(error = &error as &dyn std::error::Error, "next hops are not followed");
            loop {
                sleep(REOPEN).await;
                match Netlink::open() {
                    Ok(netlink) => break self.netlink = netlink,
                    Err(error) => warn!(error = &error as &dyn std::error::Error, "next hops are not followed"),
                }
            }
            self.lost = true;
        }
    }

    /// Follows events and targets; `Ok` when the resolver was dropped.
    async fn follow(&mut self) -> Result<(), Error> {
        loop {
            self.catch_up().await?;
            let (due, next) = self.solicitor.due(&self.table.needs(), Instant::now());
            self.solicit(due).await?;
            if std::mem::take(&mut self.changed) {
                self.publish();
            }
            let wake = [next, self.reroute_at].into_iter().flatten().min();
            tokio::select! {
                changed = self.targets.changed() => match changed {
                    Ok(()) => self.retarget().await?,
                    Err(_) => return Ok(()),
                },
                event = self.netlink.event() => {
                    self.apply(event?);
                    // What came together is published together.
                    while let Some(event) = self.netlink.ready_event() {
                        self.apply(event);
                    }
                }
                () = wait(wake) => {}
            }
        }
    }

    fn apply(&mut self, event: Event) {
        let routing = match event {
            Event::Neighbour(hop, report) => {
                self.changed |= self.table.report(hop, report);
                false
            }
            Event::Link(link) => self.table.set_link(link),
            Event::LinkGone(index) => {
                self.table.remove_link(index);
                true
            }
            Event::Routing => true,
            Event::Overrun => {
                self.lost = true;
                false
            }
        };
        if routing {
            self.changed = true;
            self.reroute_at.get_or_insert_with(|| Instant::now() + COLLECT);
        }
    }

    async fn catch_up(&mut self) -> Result<(), Error> {
        if self.lost {
            info!("netlink events were lost; links, neighbours and routes are read again");
            self.read().await?;
            self.lost = false;
        } else if self.reroute_at.is_some_and(|at| at <= Instant::now()) {
            self.reroute().await?;
        }
        Ok(())
    }

    /// Reads everything from the kernel. Events that came before are applied after it: the last one of each neighbour
    /// and link is as new as what was read, or newer.
    pub(super) async fn read(&mut self) -> Result<(), Error> {
        self.table.set_links(self.netlink.links().await?);
        self.table.set_neighbours(self.netlink.neighbours().await?);
        self.reroute().await
    }

    async fn reroute(&mut self) -> Result<(), Error> {
        // A change during the look-ups makes for another round.
        self.reroute_at = None;
        self.changed = true;
        self.read_settings().await?;
        self.table.set_routes(self.netlink.routes(self.table.targets()).await?);
        Ok(())
    }

    async fn read_settings(&mut self) -> Result<(), Error> {
        self.table.set_reachable_times(self.netlink.reachable_times().await?);
        self.settings_read = Instant::now();
        Ok(())
    }

    async fn retarget(&mut self) -> Result<(), Error> {
        self.changed = true;
        let new = self.table.set_targets(&self.targets.borrow_and_update());
        self.table.set_routes(self.netlink.routes(new).await?);
        Ok(())
    }

    async fn solicit(&mut self, hops: Vec<(Hop, Question)>) -> Result<(), Error> {
        if hops.is_empty() {
            return Ok(());
        }
        if self.settings_read.elapsed() > SETTINGS_AGE {
            self.read_settings().await?;
        }
        self.netlink.solicit(hops).await
    }

    fn publish(&self) {
        let resolutions = self.table.resolutions();
        self.view.send_if_modified(|view| {
            let gone: Vec<IpAddr> = view.keys().filter(|target| !resolutions.contains_key(target)).copied().collect();
            let mut changed = !gone.is_empty();
            gone.iter().for_each(|target| drop(view.remove(target)));
            for (target, resolution) in resolutions {
                if view.get(&target).is_none_or(|before| **before != resolution) {
                    view.insert(target, Arc::new(resolution));
                    changed = true;
                }
            }
            changed
        });
    }
}

/// Until the time, or for ever without one.
async fn wait(until: Option<Instant>) {
    match until {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
