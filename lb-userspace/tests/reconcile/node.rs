//! A reconciler with its tables, and what it is told.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use evenkeel::{
    config::{self, model::Config},
    controller::Reconciler,
    dataplane::{fake::Fake, kernel::Clock},
    health::{Advice, Progress, Status},
    neighbour::{NextHop, NextHops, Resolution},
    plan::Write,
    probe::{HealthView, Target, TargetHealth},
    state::Runtime,
    supervisor,
};

pub(crate) struct Node {
    pub(crate) fake: Fake,
    pub(crate) reconciler: Reconciler,
    pub(crate) config: Config,
    health: HealthView,
    hops: NextHops,
    pub(crate) now: SystemTime,
}

impl Node {
    pub(crate) fn new(config: &str) -> Self {
        let config = config::parse(config, "test").expect("a good configuration");
        let mut fake = Fake::new(supervisor::sizes(&config.node));
        fake.tick = 100_000;
        let reconciler = Reconciler::new(&config, Runtime::default(), &fake, Clock::with_hz(250));
        let (health, hops) = (HealthView::default(), NextHops::default());
        Self { fake, reconciler, config, health, hops, now: UNIX_EPOCH + Duration::from_secs(1 << 30) }
    }

    /// Says that a target is up or not.
    pub(crate) fn probe(&mut self, address: IpAddr, port: u16, status: Status) {
        let target = Target::tcp(address, port);
        let health = TargetHealth {
            target: target.clone(),
            status,
            eligible: status == Status::Up,
            since: self.now,
            reason: String::new(),
            held_until: None,
            last: None,
            progress: Progress::default(),
            advice: Advice::default(),
            history: Arc::default(),
        };
        self.health.insert(target, Arc::new(health));
        self.reconciler.set_health(self.health.clone());
    }

    /// Says that a target is no longer probed.
    pub(crate) fn forget(&mut self, address: IpAddr, port: u16) {
        self.health.remove(&Target::tcp(address, port));
        self.reconciler.set_health(self.health.clone());
    }

    /// Says where an address is reached; `None`: nowhere at present.
    pub(crate) fn hop(&mut self, address: IpAddr, hop: Option<(u32, u8)>) {
        let resolution = match hop {
            None => Resolution::Unresolved("no answer".to_owned()),
            Some((ifindex, mac)) => Resolution::Resolved(NextHop {
                ifindex,
                ifname: format!("eth{ifindex}"),
                vlan: None,
                source_mac: [2, 0, 0, 0, 1, ifindex as u8],
                mac: [2, 0, 0, 0, 2, mac],
                mtu: 1500,
                gateway: None,
            }),
        };
        self.hops.insert(address, Arc::new(resolution));
        self.reconciler.set_next_hops(self.hops.clone(), self.now);
    }

    /// Makes changes at run time to a service; returns whether they were taken.
    pub(crate) fn change(&mut self, service: &str, change: impl FnOnce(&mut Runtime)) -> bool {
        let mut runtime = self.reconciler.runtime().clone();
        change(&mut runtime);
        match self.reconciler.fit_one(&self.config, service, runtime, &self.fake, self.now) {
            Ok(fit) => {
                self.reconciler.take(fit);
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) fn reconcile(&mut self) -> Vec<Write> {
        self.reconciler.reconcile(&mut self.fake, self.now).expect("memory takes every write")
    }
}
