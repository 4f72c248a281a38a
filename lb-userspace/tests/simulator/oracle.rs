//! Who should take new flows, worked out from what happened and without the code under test.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel::{config::model::AdminState, health::Wants};

use super::world::{FALL, IN_FILE, INITIALLY_UP, RISE, SERVICES};

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
    pub(crate) fails_open: [bool; SERVICES.len()],
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
    pub(crate) fn new() -> Self {
        Self {
            wanted: IN_FILE.map(|hosts| hosts.iter().map(|host| (*host, Wanted::in_file(*host))).collect()),
            heard: BTreeMap::new(),
            reached: BTreeSet::new(),
            fails_open: [false; SERVICES.len()],
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

    /// Those that are up; else backups that are up; else, if it fails open, those that are down, backups last. Whom no packet can
    /// reach takes none as long as somebody of any kind can be reached.
    pub(crate) fn takers(&self, service: usize) -> BTreeSet<u8> {
        let group = |backup: bool, up: bool| -> BTreeSet<u8> {
            let all = self.wanted[service].iter();
            let fit =
                all.filter(|(host, wanted)| self.wants_flows(service, **host, **wanted) && wanted.backup == backup);
            fit.map(|(host, _)| *host).filter(|host| !up || self.is_up(service, *host)).collect()
        };
        let mut groups = vec![group(false, true), group(true, true)];
        if self.fails_open[service] {
            groups.extend([group(false, false), group(true, false)]);
        }
        let reached = groups.iter().map(|group| group & &self.reached).find(|group| !group.is_empty());
        reached.or_else(|| groups.into_iter().find(|group| !group.is_empty())).unwrap_or_default()
    }
}
