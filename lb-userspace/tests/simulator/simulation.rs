//! The parts under test, twice, and what is checked of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use etherparse::PacketBuilder;
use evenkeel::{
    config::{
        self,
        model::{AdminState, Config},
    },
    controller::Reconciler,
    dataplane::{DataPlane as _, fake::Fake, kernel::Clock},
    health::{Advice, Answer, Machine, Moment, Outcome, Rules, Wants},
    neighbour::{NextHop, NextHops, Resolution},
    plan::{Write, desired::ServiceKey},
    probe::{HealthView, Target, TargetHealth},
    state::{
        BackendRuntime, DrainRecord, Leaving, Runtime,
        runtime::{Added, key_text},
    },
    supervisor,
};
use lb_common::verdict::Verdict;
use rand::rngs::StdRng;

use super::{
    oracle::{Oracle, Wanted},
    world::{Event, IN_FILE, INITIALLY_UP, SERVICES, file, policies, priority},
};

/// Of both clocks.
fn moment(now: SystemTime) -> Moment {
    Moment { clock: now.duration_since(UNIX_EPOCH).unwrap_or_default(), shown: now }
}

/// Ticks of the data path in a second.
const TICKS: u32 = 16;
/// The client's interface; backends are behind others.
const INGRESS: u32 = 1;
/// Everything is planned anew, which is dear, after every so many events.
const DEAR: u32 = 20;

/// Tables and who writes them.
struct Node {
    fake: Fake,
    reconciler: Reconciler,
}

pub(crate) struct Simulation {
    node: Node,
    twin: Node,
    config: Config,
    machines: BTreeMap<Target, Machine>,
    health: HealthView,
    hops: NextHops,
    oracle: Oracle,
    now: SystemTime,
    packets: u32,
    checks: u32,
    seen: Seen,
}

/// How often there was what would show an error.
#[derive(Default)]
struct Seen {
    writes: u64,
    forwarded: u64,
    without_takers: u64,
    open: u64,
    groups: u64,
    leaving: u64,
}

fn address(host: u8) -> IpAddr {
    [10, 0, 0, host].into()
}

fn host(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => unreachable!("all backends have IPv4 addresses"),
    }
}

fn parse(text: &str) -> Config {
    config::parse(text, "simulation").expect("a good configuration")
}

impl Node {
    fn new(config: &Config) -> Self {
        let mut fake = Fake::new(supervisor::sizes(&config.node));
        fake.tick = 100_000;
        let reconciler = Reconciler::new(config, Runtime::default(), &fake, Clock::with_hz(250));
        Self { fake, reconciler }
    }

    fn reconcile(&mut self, now: SystemTime) -> Vec<Write> {
        self.reconciler.reconcile(&mut self.fake, now).expect("memory takes every write")
    }

    /// Whether a change is taken.
    fn change(&mut self, config: &Config, service: &str, runtime: Runtime, now: SystemTime) -> bool {
        let fit = self.reconciler.fit_one(config, service, runtime, &self.fake, now);
        fit.map(|fit| self.reconciler.take(fit)).is_ok()
    }

    fn load(&mut self, config: &Config, now: SystemTime) {
        let runtime = self.reconciler.runtime().clone();
        let fit = self.reconciler.fit_all(config, runtime, &self.fake, now).expect("there is room");
        self.reconciler.take(fit);
    }

    /// Hosts of a service that take flows by their state, and those that slots name.
    fn takers(&self, service: usize) -> (BTreeSet<u8>, BTreeSet<u8>) {
        let (actual, tables) = (self.reconciler.actual(), self.fake.tables());
        let key = ServiceKey::of(&self.reconciler.services()[service]);
        let found = &actual.services[&key];
        let hosts: BTreeMap<u32, u8> = found.backends.iter().map(|(key, id)| (*id, host(key.0))).collect();
        let takes = |id: &u32| actual.destinations.get(id).is_some_and(|found| found.state.takes_flows);
        let by_state = hosts.iter().filter(|(id, _)| takes(id)).map(|(_, host)| *host).collect();
        let slots = &tables.slots[found.slots.offset as usize..][..found.slots.size as usize];
        let ids: BTreeSet<u32> = slots.iter().map(|slot| slot.load()).collect();
        (by_state, ids.iter().map(|id| *hosts.get(id).expect("slots name the service's own")).collect())
    }

    fn image(&self) -> String {
        let tables = self.fake.tables();
        let plan = (tables.control, tables.services, tables.slots, tables.destinations, tables.egress, tables.flows);
        format!("{plan:?} {:?} {:?}", tables.vip_filter, tables.service_buckets)
    }
}

impl Simulation {
    pub(crate) fn new(random: &mut StdRng) -> Self {
        let policies = policies(random);
        let config = parse(&file(&policies));
        let oracle = Oracle::new(policies);
        let mut simulation = Self {
            node: Node::new(&config),
            twin: Node::new(&config),
            config,
            machines: BTreeMap::new(),
            health: HealthView::default(),
            hops: NextHops::default(),
            oracle,
            now: UNIX_EPOCH + Duration::from_secs(1 << 30),
            packets: 0,
            checks: 0,
            seen: Seen::default(),
        };
        simulation.follow_targets();
        simulation
    }

    pub(crate) fn happen(&mut self, event: &Event) {
        match *event {
            Event::Probe { which, good, percent, wants } => self.probe(which, good, percent, wants),
            Event::Hop(host, interface) => self.hop(host, interface),
            Event::Weight(service, host, weight) => {
                if self.change(service, host, |change| change.weight = Some(weight))
                    && let Some(wanted) = self.oracle.wanted[service].get_mut(&host)
                {
                    wanted.weight = weight;
                }
            }
            Event::Admin(service, host, admin) => self.set_admin(service, host, admin),
            Event::Add(service, host, weight) => self.add(service, host, weight),
            Event::Remove(service, host, seconds) => self.remove(service, host, seconds),
            Event::Packet(service) => self.packet(service),
            Event::Time(seconds) => {
                self.now += Duration::from_secs(seconds);
                for node in [&mut self.node, &mut self.twin] {
                    node.fake.tick += TICKS * seconds as u32;
                }
            }
            Event::File(ref policies) => {
                self.config = parse(&file(policies));
                self.oracle.policies = **policies;
                self.node.load(&self.config, self.now);
                self.twin.load(&self.config, self.now);
            }
        }
        self.follow_targets();
    }

    /// Reconciles, and looks at what came of it.
    pub(crate) fn check(&mut self, what: &str) {
        let writes = self.node.reconcile(self.now);
        self.seen.writes += writes.len() as u64;
        assert_eq!(writes, self.twin.reconcile(self.now), "same inputs, different plans; {what}");
        self.follow_targets();
        for service in 0..SERVICES.len() {
            let expected = self.oracle.takers(service);
            let (by_state, by_slots) = self.node.takers(service);
            assert_eq!(by_state, expected, "takers of service {service}; {what}\n{:?}", self.oracle);
            assert_eq!(by_slots, expected, "slots of service {service}; {what}\n{:?}", self.oracle);
            self.seen.without_takers += u64::from(expected.is_empty());
            self.seen.groups += u64::from(self.oracle.is_shared(&expected));
            self.seen.open += u64::from(expected.iter().any(|host| !self.oracle.is_up(service, *host)));
        }
        // The same again: what was told, and all there is to look at.
        self.tell_again();
        if self.leaving() > 0 {
            // Who leaves without flows is let go when its last slot is gone for sure: one step later.
            self.finish_leaving(what);
        }
        assert_eq!(self.node.reconcile(self.now), [], "constant inputs; {what}");
        self.seen.leaving += u64::from(self.leaving() > 0);
        self.checks += 1;
        if self.checks.is_multiple_of(DEAR) {
            let left = self.node.reconciler.plan_all(&self.node.fake, self.now);
            assert_eq!(left, Ok(vec![]), "a plan of everything; {what}");
        }
    }

    /// What was written is what is there, at both.
    pub(crate) fn finish(&self) {
        assert_eq!(self.node.image(), self.twin.image(), "tables of twins");
    }

    fn tell_again(&mut self) {
        self.tell_health();
        for node in [&mut self.node, &mut self.twin] {
            node.reconciler.set_next_hops(self.hops.clone(), self.now);
        }
    }

    fn leaving(&self) -> usize {
        self.node.reconciler.runtime().services.values().map(|service| service.leaving.len()).sum()
    }

    fn finish_leaving(&mut self, what: &str) {
        let before = self.leaving();
        let writes = self.node.reconcile(self.now);
        assert_eq!(writes, self.twin.reconcile(self.now), "same inputs, different plans; {what}");
        assert!(writes.is_empty() || self.leaving() < before, "constant inputs, nobody left: {writes:?}; {what}");
        self.follow_targets();
    }

    pub(crate) fn seen(&self) -> [(&'static str, u64); 6] {
        let Seen { writes, forwarded, without_takers, open, groups, leaving } = self.seen;
        [
            ("writes", writes),
            ("new flows that went to a taker", forwarded),
            ("services without takers", without_takers),
            ("services that took backends that are down", open),
            ("services of which two priorities took flows", groups),
            ("events while a backend was leaving", leaving),
        ]
    }

    /// Targets come and go; as many are probed as there are.
    fn follow_targets(&mut self) {
        let targets = self.node.reconciler.targets();
        assert_eq!(targets, self.twin.reconciler.targets());
        self.machines.retain(|target, _| targets.contains_key(target));
        for (target, probe) in &targets {
            if !self.machines.contains_key(target) {
                self.machines.insert(target.clone(), Machine::new(Rules::from(probe), moment(self.now)));
                self.oracle.heard.insert((host(target.address), target.port), super::oracle::Heard::default());
            }
        }
        self.oracle
            .heard
            .retain(|(host, port), _| targets.keys().any(|t| (t.address, t.port) == (address(*host), *port)));
        let gone: Vec<Target> = self.health.keys().filter(|target| !targets.contains_key(*target)).cloned().collect();
        gone.iter().for_each(|target| drop(self.health.remove(target)));
        self.tell_health();
    }

    fn tell_health(&mut self) {
        self.node.reconciler.set_health(self.health.clone());
        self.twin.reconciler.set_health(self.health.clone());
    }

    fn probe(&mut self, which: usize, good: Option<bool>, percent: Option<u8>, wants: Option<Wants>) {
        let count = self.machines.len();
        let Some((target, machine)) = self.machines.iter_mut().nth(which % count.max(1)) else { return };
        let heard = self.oracle.heard.entry((host(target.address), target.port)).or_default();
        let outcome = match good {
            Some(true) => {
                heard.result(true);
                heard.says(percent, wants);
                Outcome::Success(Answer { latency: None, advice: Advice { weight_percent: percent, wants } })
            }
            Some(false) => {
                heard.result(false);
                Outcome::Failure("connection refused".to_owned())
            }
            None => Outcome::Inconclusive("too many open files".to_owned()),
        };
        machine.record(outcome, moment(self.now));
        let health = TargetHealth {
            target: target.clone(),
            status: machine.status(),
            eligible: machine.eligible(),
            since: machine.since(),
            reason: machine.reason().to_owned(),
            last: machine.last().cloned(),
            progress: machine.progress(),
            advice: machine.advice(),
            held_until: machine.held_until(),
            history: Arc::clone(machine.history()),
        };
        self.health.insert(target.clone(), Arc::new(health));
    }

    fn hop(&mut self, host: u8, interface: Option<u32>) {
        let resolution = match interface {
            None => Resolution::Unresolved("no answer".to_owned()),
            Some(ifindex) => {
                self.oracle.reached.insert(host);
                Resolution::Resolved(NextHop {
                    ifindex,
                    ifname: format!("eth{ifindex}"),
                    vlan: None,
                    source_mac: [2, 0, 0, 0, 1, ifindex as u8],
                    mac: [2, 0, 0, 0, 2, host],
                    mtu: 1500,
                    gateway: None,
                })
            }
        };
        self.hops.insert(address(host), Arc::new(resolution));
        for node in [&mut self.node, &mut self.twin] {
            node.reconciler.set_next_hops(self.hops.clone(), self.now);
        }
    }

    fn edit(&mut self, service: usize, edit: impl FnOnce(&mut Runtime, &str)) -> bool {
        let name = format!("s{service}");
        let mut runtime = self.node.reconciler.runtime().clone();
        assert_eq!(&runtime, self.twin.reconciler.runtime());
        edit(&mut runtime, &name);
        let taken = self.node.change(&self.config, &name, runtime.clone(), self.now);
        assert_eq!(taken, self.twin.change(&self.config, &name, runtime, self.now));
        taken
    }

    fn change(&mut self, service: usize, host: u8, change: impl FnOnce(&mut BackendRuntime)) -> bool {
        let key = (address(host), SERVICES[service].1);
        self.edit(service, |runtime, name| change(runtime.backend_mut(name, key)))
    }

    fn set_admin(&mut self, service: usize, host: u8, admin: AdminState) {
        let drain = (admin == AdminState::Draining).then(|| DrainRecord::new(self.now, Duration::from_secs(9)));
        if self.change(service, host, |change| (change.admin_state, change.drain) = (Some(admin), drain))
            && let Some(wanted) = self.oracle.wanted[service].get_mut(&host)
        {
            wanted.admin = admin;
        }
    }

    fn add(&mut self, service: usize, host: u8, weight: u16) {
        let added = Added {
            name: address(host).to_string(),
            mode: None,
            max_connections: None,
            weight,
            priority: priority(host),
            backup: host == 7,
            admin_state: AdminState::Enabled,
            quic_server_id: None,
            ttl: None,
        };
        let new = BackendRuntime { added: Some(added), ..BackendRuntime::default() };
        if self.change(service, host, |change| *change = new) {
            let in_file = IN_FILE[service].contains(&host);
            let wanted = Wanted { weight, admin: AdminState::Enabled, backup: host == 7 };
            self.oracle.wanted[service].insert(host, if in_file { Wanted::in_file(host) } else { wanted });
        }
    }

    fn remove(&mut self, service: usize, host: u8, seconds: u64) {
        if !self.oracle.wanted[service].contains_key(&host) {
            return;
        }
        let drain = DrainRecord::new(self.now, Duration::from_secs(seconds));
        let leaving = Leaving { name: address(host).to_string(), drain };
        let key = (address(host), SERVICES[service].1);
        let taken = self.edit(service, |runtime, name| {
            *runtime.backend_mut(name, key) = BackendRuntime { removed: true, ..BackendRuntime::default() };
            runtime.services.entry(name.to_owned()).or_default().leaving.insert(key_text(key), leaving);
        });
        if taken {
            self.oracle.wanted[service].remove(&host);
        }
    }

    /// A flow that was not there goes to a taker or nowhere.
    fn packet(&mut self, service: usize) {
        self.packets += 1;
        let (vip, port) = SERVICES[service];
        let source = [198, 51, 100, self.packets as u8];
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source, [192, 0, 2, vip], 64);
        let from = 1024 + (self.packets / 256 % 60_000) as u16;
        let mut bytes = Vec::new();
        let written = if port == INITIALLY_UP {
            builder.udp(from, port).write(&mut bytes, &[])
        } else {
            builder.tcp(from, port, 1, 1000).syn().write(&mut bytes, &[])
        };
        written.expect("memory takes it");
        let (verdict, sent) = self.node.fake.run(&bytes, self.node.fake.tick, INGRESS);
        let of_twin = self.twin.fake.run(&bytes, self.twin.fake.tick, INGRESS);
        assert_eq!((verdict, sent.clone()), of_twin, "twins treat a packet alike");
        if let Verdict::Redirect(_) = verdict {
            let takers = self.oracle.takers(service);
            assert!(takers.contains(&sent[5]), "service {service}: a new flow goes to {}, not to {takers:?}", sent[5]);
            self.seen.forwarded += 1;
        }
    }
}
