//! The task that starts probes, collects their results and publishes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use super::{
    HealthView, Target, TargetHealth,
    check::{Check, outcome},
    schedule::{Schedule, TOGETHER, begun, first_wait, jittered, second_wait},
};
use crate::{
    config::model::Probe,
    health::{Machine, Moment, Outcome, Rules, Status},
};

/// How long results that change no status wait for others, so that readers are not woken for each.
const COLLECT: Duration = Duration::from_secs(1);

/// A target and its probe's whereabouts.
struct Entry {
    probe: Probe,
    machine: Machine,
    /// Start of the newest probe, if it had begun in time.
    begun: Option<Instant>,
    /// It is the first one.
    is_first: bool,
    stage: Stage,
}

enum Stage {
    /// Due at this time, with an entry in the schedule.
    Waiting(Instant),
    /// This task makes the probe.
    Running(AbortHandle),
}

type Finished = (Id, (Target, Outcome));

/// See the diagram in [`super`].
pub(super) struct Worker<C> {
    check: C,
    desired: watch::Receiver<BTreeMap<Target, Probe>>,
    view: watch::Sender<HealthView>,
    entries: BTreeMap<Target, Entry>,
    schedule: Schedule,
    running: JoinSet<(Target, Outcome)>,
    /// Where [`Moment::clock`] begins.
    started: Instant,
    /// Targets whose published health is out of date.
    stale: BTreeSet<Target>,
    /// When they are published.
    publish_at: Option<Instant>,
}

impl<C: Check> Worker<C> {
    pub(super) fn new(
        check: C,
        desired: watch::Receiver<BTreeMap<Target, Probe>>,
        view: watch::Sender<HealthView>,
    ) -> Self {
        Self {
            check,
            desired,
            view,
            entries: BTreeMap::new(),
            schedule: Schedule::default(),
            running: JoinSet::new(),
            started: Instant::now(),
            stale: BTreeSet::new(),
            publish_at: None,
        }
    }

    /// Works until the [`super::Prober`] is dropped; running probes end with it.
    pub(super) async fn run(mut self) {
        loop {
            let wake = [self.schedule.next(), self.publish_at].into_iter().flatten().min();
            tokio::select! {
                changed = self.desired.changed() => match changed {
                    Ok(()) => self.retarget(),
                    Err(_) => return,
                },
                Some(result) = self.running.join_next_with_id() => self.finish(result),
                () = wait(wake) => {}
            }
            while let Some(result) = self.running.try_join_next_with_id() {
                self.finish(result);
            }
            self.begin_due();
            self.publish();
        }
    }

    fn now(&self) -> Moment {
        Moment { clock: self.started.elapsed(), shown: SystemTime::now() }
    }

    fn retarget(&mut self) {
        let desired = self.desired.borrow_and_update().clone();
        let mut gone = BTreeMap::new();
        for (target, entry) in self.entries.extract_if(.., |target, _| !desired.contains_key(target)) {
            gone.insert((target.address, target.port), entry.machine);
            match entry.stage {
                Stage::Waiting(at) => self.schedule.remove(at, target.clone()),
                Stage::Running(task) => task.abort(),
            }
            self.stale.insert(target);
        }
        let added = desired.len().saturating_sub(self.entries.len());
        for (target, probe) in desired {
            match self.entries.get(&target) {
                // Another path or another kind: until it has told, what was known of the server holds.
                None => self.add(target.clone(), probe, added, gone.get(&(target.address, target.port)).cloned()),
                Some(entry) if entry.probe != probe => self.retime(&target, probe),
                Some(_) => continue,
            }
            self.stale.insert(target);
        }
        self.publish_at = Some(Instant::now());
    }

    fn add(&mut self, target: Target, probe: Probe, added: usize, known: Option<Machine>) {
        let at = Instant::now() + first_wait(probe.interval, added, &mut rand::rng());
        self.schedule.add(at, target.clone());
        let rules = Rules::from(&probe);
        let machine = known.map_or_else(|| Machine::new(rules, self.now()), |known| known.taken_over(rules));
        self.entries.insert(target, Entry { probe, machine, begun: None, is_first: false, stage: Stage::Waiting(at) });
    }

    /// Other times and thresholds for a target: the state stays, and a running probe goes on as it was started.
    fn retime(&mut self, target: &Target, probe: Probe) {
        let Some(entry) = self.entries.get_mut(target) else { return };
        entry.machine.set_rules(Rules::from(&probe));
        if let (Stage::Waiting(at), Some(begun)) = (&mut entry.stage, entry.begun) {
            self.schedule.remove(*at, target.clone());
            *at = (begun + jittered(wait_of(&probe, &entry.machine), &mut rand::rng())).max(Instant::now());
            self.schedule.add(*at, target.clone());
        }
        entry.probe = probe;
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while let Some((due, target)) = self.schedule.pop(now + TOGETHER) {
            let Some(entry) = self.entries.get_mut(&target) else { continue };
            let (check, limit) = (self.check.clone(), entry.probe.timeout);
            let task = self.running.spawn(async move {
                let outcome = outcome(&check, &target, limit).await;
                (target, outcome)
            });
            entry.is_first = entry.begun.is_none();
            entry.begun = Some(begun(due, now, wait_of(&entry.probe, &entry.machine)));
            entry.stage = Stage::Running(task);
        }
    }

    fn finish(&mut self, result: Result<Finished, JoinError>) {
        let (id, (target, outcome)) = match result {
            Ok(finished) => finished,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                error!(%error, "a probe panicked");
                let id = error.id();
                let is_it = |entry: &Entry| matches!(&entry.stage, Stage::Running(task) if task.id() == id);
                let Some((target, _)) = self.entries.iter().find(|(_, entry)| is_it(entry)) else { return };
                (id, (target.clone(), Outcome::Inconclusive("cannot probe: a defect, see the log".to_owned())))
            }
        };
        let moment = self.now();
        let Some(entry) = self.entries.get_mut(&target) else { return };
        // A target that was removed and added again can get the result of its former self.
        if !matches!(&entry.stage, Stage::Running(task) if task.id() == id) {
            return;
        }
        let (now, before) = (Instant::now(), entry.machine.advice());
        let moved = entry.machine.record(outcome, moment);
        if moved {
            log(&target, &entry.machine);
        }
        let changed = moved || before != entry.machine.advice();
        let wait = wait_of(&entry.probe, &entry.machine);
        let wait = if entry.is_first { second_wait(wait, &mut rand::rng()) } else { jittered(wait, &mut rand::rng()) };
        let next = (entry.begun.unwrap_or(now) + wait).max(now);
        entry.stage = Stage::Waiting(next);
        self.schedule.add(next, target.clone());
        self.stale.insert(target);
        let by = if changed { now } else { now + COLLECT };
        self.publish_at = Some(self.publish_at.map_or(by, |at| at.min(by)));
    }

    fn publish(&mut self) {
        if self.publish_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.publish_at = None;
        let stale = std::mem::take(&mut self.stale);
        if stale.is_empty() {
            return;
        }
        self.view.send_modify(|view| {
            for target in stale {
                match self.entries.get(&target) {
                    Some(entry) => view.insert(target.clone(), Arc::new(TargetHealth::of(target, &entry.machine))),
                    None => view.remove(&target),
                };
            }
        });
    }
}

/// The time from one start to the next before jitter.
fn wait_of(probe: &Probe, machine: &Machine) -> Duration {
    if machine.is_changing() { probe.fast_interval } else { probe.interval }
}

fn log(target: &Target, machine: &Machine) {
    match machine.status() {
        Status::Down => warn!(%target, reason = machine.reason(), "target is down"),
        status => info!(%target, reason = machine.reason(), "target is {status}"),
    }
}

/// Until the time, or for ever without one.
async fn wait(until: Option<Instant>) {
    match until {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
