//! A daemon over tables in memory that can be killed between any two writes, with clients that watch.

use std::collections::BTreeMap;

use evenkeel::{
    dataplane::{DataPlane as _, fake::Fake, publish},
    plan::{Actual, Memo, PlanError, Write, plan},
};
use lb_common::memory::Sizes;

use super::{
    checker::Checker,
    packets::{Answer, Kind, Target, packet, send, targets},
    world::{Backend, Service, World},
};

/// Flows to each target.
const FLOWS: u32 = 2;

/// Room for every service of a world with all backends, and as much again.
pub(crate) const ROOMY: Sizes = Sizes {
    service_buckets: 256,
    services: 20,
    slots: 20_000,
    destinations: 128,
    flow_buckets: 2048,
    nat_buckets: 64,
    fragment_buckets: 1,
    quic_buckets: 4,
    list_bounds: 256,
    client_buckets: 16,
};

pub(crate) struct Node {
    pub(crate) fake: Fake,
    pub(crate) actual: Actual,
    pub(crate) memo: Memo,
    pub(crate) checker: Checker,
    /// The last world that was reached, and those that were begun since.
    pub(crate) possible: Vec<World>,
    /// MAC versions that backends are known to have.
    versions: BTreeMap<(usize, u8), u8>,
    pub(crate) flows: Vec<Flow>,
    pub(crate) probes: u32,
    pub(crate) now: u32,
}

/// An established flow.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    target: Target,
    bytes: Vec<u8>,
    /// Where its last packet went.
    at: Option<(usize, u8)>,
    /// Whether it was forwarded before: its entry counts again if the backend does.
    seen: bool,
}

impl Node {
    pub(crate) fn new(sizes: Sizes) -> Self {
        let fake = Fake::new(sizes);
        let flow = |(target, client): (Target, u32)| Flow {
            target,
            bytes: packet(&target, client, Kind::Flow),
            at: None,
            seen: false,
        };
        let all = targets().into_iter().flat_map(|target| (0..FLOWS).map(move |client| (target, client)));
        Self {
            actual: Actual::read(&fake.tables()),
            fake,
            memo: Memo::default(),
            checker: Checker::new(sizes),
            possible: vec![World::default()],
            versions: BTreeMap::new(),
            flows: all.map(flow).collect(),
            probes: FLOWS,
            now: 100_000,
        }
    }

    /// A daemon starts: what it knows is what the tables say.
    pub(crate) fn restart(&mut self, memo_lost: bool) {
        self.actual = Actual::read(&self.fake.tables());
        if memo_lost {
            self.memo = Memo::default();
        }
    }

    pub(crate) fn try_plan(&mut self, world: &World) -> Result<Vec<Write>, PlanError> {
        let key = self.fake.constants.hash_key;
        plan(&world.desired(), &self.actual, self.fake.tables(), &key, &mut self.memo)
    }

    pub(crate) fn plan(&mut self, world: &World) -> Vec<Write> {
        self.try_plan(world).expect("a plan")
    }

    pub(crate) fn perform(&mut self, write: &Write) {
        self.checker.follow(write);
        publish(&mut self.fake, std::slice::from_ref(write)).expect("memory takes every write");
        self.actual.apply(write);
    }

    /// Goes to a world and checks that it is reached.
    pub(crate) fn go(&mut self, world: &World) {
        self.begin(world);
        for write in self.plan(world) {
            self.perform(&write);
        }
        self.arrive();
    }

    pub(crate) fn begin(&mut self, world: &World) {
        self.possible.push(world.clone());
        self.now += 1;
    }

    /// The last world that was begun has been reached.
    pub(crate) fn arrive(&mut self) {
        let world = self.possible.last().expect("never empty").clone();
        self.watch();
        self.versions = self.known_versions(&world);
        self.possible = vec![world.clone()];
        self.watch();
        assert_eq!(self.plan(&world), [], "planning again");
        self.compare_with_tables();
        let backends = world.services.values().map(|service| service.backends.len()).sum();
        assert_eq!(self.checker.used(), (world.services.len(), backends), "places in use");
    }

    /// A next hop that is lost stays what it was, as long as the backend does.
    fn known_versions(&self, world: &World) -> BTreeMap<(usize, u8), u8> {
        let mut versions = BTreeMap::new();
        for (s, service) in &world.services {
            for (b, backend) in &service.backends {
                let stayed = self.possible.len() == 2 && self.possible[0].backend(*s, *b).is_some();
                let before = self.versions.get(&(*s, *b)).copied().filter(|_| stayed);
                if let Some(version) = backend.hop.or(before) {
                    versions.insert((*s, *b), version);
                }
            }
        }
        versions
    }

    fn compare_with_tables(&self) {
        let read = Actual::read(&self.fake.tables());
        assert_eq!(self.actual.services, read.services);
        assert_eq!(self.actual.destinations, read.destinations);
        assert_eq!(self.actual.egress, read.egress);
        assert_eq!(self.actual.longest_timeouts, read.longest_timeouts);
        assert_eq!(self.actual.slots, read.slots);
        assert_eq!(self.actual.table, read.table);
    }

    /// Every client sends: each established flow, and one new flow to each target.
    pub(crate) fn watch(&mut self) {
        let mut flows = std::mem::take(&mut self.flows);
        for flow in &mut flows {
            let answer = send(&self.fake, &flow.bytes, self.now);
            let stays = flow.at.filter(|(s, b)| self.stays(&flow.target, *s, *b));
            let known = flow.at.is_some() || flow.seen;
            self.judge(&flow.target, answer, stays, known);
            flow.seen = known;
            flow.at = match answer {
                Answer::To { service, backend, .. } => Some((service, backend)),
                _ => None,
            };
        }
        self.flows = flows;
        for target in targets() {
            let bytes = packet(&target, self.probes, Kind::Probe);
            self.judge(&target, send(&self.fake, &bytes, self.now), None, false);
        }
        self.probes += 1;
    }

    /// Whether all worlds have a flow stay where it is.
    fn stays(&self, target: &Target, s: usize, b: u8) -> bool {
        let keeps = |world: &World| {
            world.owner(target) == Some(s) && world.backend(s, b).is_some_and(|backend| backend.keeps())
        };
        self.possible.iter().all(keeps)
    }

    fn judge(&self, target: &Target, answer: Answer, stays: Option<(usize, u8)>, known: bool) {
        // On the way the table of services may be of one world and a service's backends of another.
        let right = self.possible.iter().any(|world| match world.owner(target) {
            None => answer == Answer::Host,
            Some(owner) => {
                let mut services = self.possible.iter().filter_map(|world| world.services.get(&owner));
                services.any(|service| self.is_right(owner, service, answer, stays, known))
            }
        });
        assert!(right, "{target:?} → {answer:?}, stays {stays:?}, in {:?}", self.possible);
    }

    /// Whether an answer is right for a service.
    fn is_right(
        &self,
        owner: usize,
        service: &Service,
        answer: Answer,
        stays: Option<(usize, u8)>,
        known_flow: bool,
    ) -> bool {
        let settled = self.possible.len() == 1;
        let known = |b: u8| self.versions.get(&(owner, b)).copied().filter(|_| settled);
        match answer {
            Answer::Host => false,
            // A reset looks the same.
            Answer::NoBackend => stays.is_none() && (!service.has_takers() || known_flow && service.has_resetting()),
            Answer::Unresolved => {
                let may_be = |b: &u8| service.backends[b].hop.is_none() && known(*b).is_none();
                match stays {
                    Some((_, b)) => may_be(&b),
                    None => service.backends.keys().any(may_be),
                }
            }
            Answer::To { service: s, backend: b, version } => {
                let expected = stays.is_none_or(|at| at == (s, b));
                let takes = |backend: &Backend| backend.weight > 0 || known_flow && backend.keeps();
                let takes = service.backends.get(&b).is_some_and(takes);
                s == owner && expected && takes && known(b).is_none_or(|known| known == version)
            }
        }
    }
}
