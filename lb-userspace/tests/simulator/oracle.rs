//! Who should take new flows, worked out from what happened and without the code under test.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel::{config::model::AdminState, health::Wants};

use super::world::{FALL, IN_FILE, INITIALLY_UP, Policies, RISE, SERVICES, priority};

/// A backend of a service as its operator wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) weight: u16,
    pub(crate) admin: AdminState,
    pub(crate) backup: bool,
}

/// What a target was heard to say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    /// Like results in a row, the newest among them: whether they are good, and how many.
    run: (bool, u32),
    up: Option<bool>,
    percent: Option<u8>,
    wants_none: bool,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    /// By service, then by host.
    pub(crate) wanted: [BTreeMap<u8, Wanted>; SERVICES.len()],
    /// By host and port.
    pub(crate) heard: BTreeMap<(u8, u16), Heard>,
    /// Hosts whose next hop was known once.
    pub(crate) reached: BTreeSet<u8>,
    pub(crate) policies: Policies,
}

impl Wanted {
    /// As in the file.
    pub(crate) fn in_file(host: u8) -> Self {
        Self { weight: 1, admin: AdminState::Enabled, backup: host == 6 }
    }
}

impl Heard {
    pub(crate) fn result(&mut self, good: bool) {
        self.run = if self.run.0 == good { (good, self.run.1 + 1) } else { (good, 1) };
        if self.run.1 >= if good { RISE } else { FALL } {
            self.up = Some(good);
        }
    }

    pub(crate) fn says(&mut self, percent: Option<u8>, wants: Option<Wants>) {
        self.percent = percent.or(self.percent);
        if let Some(wants) = wants {
            self.wants_none = wants != Wants::Ready;
        }
    }
}

impl Oracle {
    pub(crate) fn new(policies: Policies) -> Self {
        Self {
            wanted: IN_FILE.map(|hosts| hosts.iter().map(|host| (*host, Wanted::in_file(*host))).collect()),
            heard: BTreeMap::new(),
            reached: BTreeSet::new(),
            policies,
        }
    }

    pub(crate) fn is_up(&self, service: usize, host: u8) -> bool {
        let port = SERVICES[service].1;
        self.heard.get(&(host, port)).and_then(|heard| heard.up).unwrap_or(port == INITIALLY_UP)
    }

    fn wants_flows(&self, service: usize, host: u8, wanted: Wanted) -> bool {
        let heard = self.heard.get(&(host, SERVICES[service].1)).copied().unwrap_or_default();
        wanted.admin == AdminState::Enabled && wanted.weight > 0 && !heard.wants_none && heard.percent != Some(0)
    }

    /// Those that are up, by priority; else backups that are up; else, if it fails open or has a sorry server, those that are down, backups
    /// last. Whom no packet can reach takes none as long as somebody of any kind can be reached.
    pub(crate) fn takers(&self, service: usize) -> BTreeSet<u8> {
        let able = |backup: bool, up: bool| -> BTreeSet<u8> {
            let all = self.wanted[service].iter();
            let fit =
                all.filter(|(host, wanted)| self.wants_flows(service, **host, **wanted) && wanted.backup == backup);
            fit.map(|(host, _)| *host).filter(|host| !up || self.is_up(service, *host)).collect()
        };
        let mut stages = vec![able(false, true), able(true, true)];
        match self.policies[service].on_no_backend(service) {
            "fail-open" => stages.extend([able(false, false), able(true, false)]),
            "backup" => stages.push(able(true, false)),
            _ => {}
        }
        let reached = stages.iter().map(|stage| stage & &self.reached).find(|stage| !stage.is_empty());
        let stage = reached.or_else(|| stages.into_iter().find(|stage| !stage.is_empty())).unwrap_or_default();
        self.by_priority(service, &stage)
    }

    /// Of those who could, those whose turn it is: the next priority while the ones before it lack something.
    fn by_priority(&self, service: usize, able: &BTreeSet<u8>) -> BTreeSet<u8> {
        let policy = self.policies[service];
        let is_even = policy.scheduler == "round-robin";
        let weight = |host: &u8| {
            let own = self.wanted[service][host].weight;
            f64::from(if is_even { own.min(1) } else { own })
        };
        // An agent's part of a weight is rounded up, and is never none.
        let present = |host: &u8| {
            let percent = self.heard.get(&(*host, SERVICES[service].1)).and_then(|heard| heard.percent).unwrap_or(100);
            if is_even { 1.0 } else { (weight(host) * f64::from(percent) / 100.0).ceil() }
        };
        let (mut taking, mut covered) = (BTreeSet::new(), 0.0_f64);
        for turn in 0..3 {
            let of_turn = |host: &&u8| priority(**host) == turn;
            let backups = able.iter().any(|host| self.wanted[service][host].backup);
            let all = self.wanted[service].iter().filter(|(_, wanted)| wanted.backup == backups);
            let all: f64 = all.map(|(host, _)| host).filter(of_turn).map(weight).sum();
            let own: Vec<u8> = able.iter().filter(|host| backups || of_turn(host)).copied().collect();
            // What is less than that is nothing.
            if covered < 1.0 - 2e-7 {
                taking.extend(&own);
            }
            let there: f64 = own.iter().map(present).sum();
            let needed = all * f64::from(policy.threshold) / 100.0;
            covered += if there > 0.0 { (there / needed).min(1.0) } else { 0.0 };
            if backups {
                break;
            }
        }
        taking
    }

    /// Whether these are of two priorities.
    pub(crate) fn is_shared(&self, takers: &BTreeSet<u8>) -> bool {
        takers.iter().map(|host| priority(*host)).collect::<BTreeSet<_>>().len() > 1
    }
}
