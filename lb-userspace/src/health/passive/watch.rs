//! What becomes of backends that stand out: ejection, its length and share, and return.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::{LastProbe, Sample, Seen, Totals, judge::Outlier, outliers};
use crate::{config::model::PassiveHealth, health::Moment};

/// How many changes of a backend are remembered.
pub const HISTORY: usize = 16;

/// Answers to the last SYNs of an interval are waited for so long.
const SETTLE: Duration = Duration::from_secs(1);

/// How a backend is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As the others, or too few connections tell.
    Fine,
    /// It stands out, and nothing is done about it: with `observe`, or where no more may be ejected.
    Outlier,
    /// It gets no new flows.
    Ejected,
    /// The same: its time is over, and its probe has not succeeded since.
    WaitsForProbe,
}

impl Standing {
    /// The name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Outlier => "outlier",
            Self::Ejected => "ejected",
            Self::WaitsForProbe => "waits-for-probe",
        }
    }

    /// Whether it gets no new flows.
    #[must_use]
    pub const fn is_ejected(self) -> bool {
        matches!(self, Self::Ejected | Self::WaitsForProbe)
    }
}

/// A change of how a backend is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, for display.
    pub at: SystemTime,
    /// What it came to.
    pub standing: Standing,
    /// Why.
    pub reason: String,
}

/// What is known of a backend.
#[derive(Clone, Debug)]
pub struct Judged {
    /// How it is judged.
    pub standing: Standing,
    /// When its ejection is over, for display.
    pub until: Option<SystemTime>,
    /// How often in succession it was ejected; less again with each `eject_for` in which it was judged and found fine.
    pub times: u32,
    /// What was counted in the last interval that is over.
    pub last: Option<Totals>,
    /// The last [`HISTORY`] changes, the newest last.
    pub history: Vec<Change>,
    /// The counters are whose.
    identity: u64,
    /// When its ejection is over.
    over: Duration,
    /// When `times` last changed.
    counted: Duration,
    /// The last result of its probe when its time was over.
    probe: Option<LastProbe>,
    /// Counters when the interval began.
    start: Totals,
    /// Counters when it ended.
    end: Totals,
}

/// The backends of a service, by some key.
#[derive(Clone, Debug)]
pub struct Watch<K> {
    judged: BTreeMap<K, Judged>,
    begun: Duration,
    /// The interval has ended, and the last answers are waited for.
    ended: bool,
}

impl<K: Ord + Copy> Watch<K> {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self { judged: BTreeMap::new(), begun: now.clock, ended: false }
    }

    /// What is known of a backend.
    #[must_use]
    pub fn of(&self, key: &K) -> Option<&Judged> {
        self.judged.get(key)
    }

    /// Those that get no new flows.
    #[must_use]
    pub fn ejected(&self) -> BTreeSet<K> {
        self.judged.iter().filter(|(_, judged)| judged.standing.is_ejected()).map(|(key, _)| *key).collect()
    }

    /// Takes what is seen of all backends at a moment; returns whose standing changed.
    pub fn step(&mut self, rules: &PassiveHealth, now: Moment, seen: &BTreeMap<K, Seen>) -> Vec<K> {
        self.take(now, seen);
        let mut changed = self.let_back(rules, now, seen);
        changed.extend(self.judge(rules, now, seen));
        changed.extend(self.keep_share(rules, now, seen));
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Who is there.
    fn take(&mut self, now: Moment, seen: &BTreeMap<K, Seen>) {
        self.judged.retain(|key, _| seen.contains_key(key));
        for (key, seen) in seen {
            let known = self.judged.entry(*key).or_insert_with(|| Judged::new(now, seen));
            if known.identity != seen.identity {
                (known.identity, known.start, known.end) = (seen.identity, seen.totals, seen.totals);
            }
        }
    }

    /// Ends ejections.
    fn let_back(&mut self, rules: &PassiveHealth, now: Moment, seen: &BTreeMap<K, Seen>) -> Vec<K> {
        let mut changed = Vec::new();
        for (key, judged) in self.judged.iter_mut().filter(|(_, judged)| judged.standing.is_ejected()) {
            let seen = &seen[key];
            if !rules.ejects {
                judged.return_to(seen, now, "backends are no longer ejected");
                changed.push(*key);
            } else if now.clock >= judged.over {
                let waits = match (judged.probe, seen.probe) {
                    (_, LastProbe::Unprobed) => false,
                    (Some(before), LastProbe::At(_, true)) if before != seen.probe => false,
                    _ => true,
                };
                if !waits {
                    let how = if seen.probe == LastProbe::Unprobed { "" } else { " and its probe succeeded" };
                    judged.return_to(seen, now, &format!("its time is over{how}"));
                    changed.push(*key);
                } else if judged.probe.is_none() {
                    judged.probe = Some(seen.probe);
                    judged.enter(Standing::WaitsForProbe, now, "its time is over");
                    changed.push(*key);
                }
            }
        }
        changed
    }

    /// Judges those that take flows, if an interval is over.
    fn judge(&mut self, rules: &PassiveHealth, now: Moment, seen: &BTreeMap<K, Seen>) -> Vec<K> {
        if !self.ended && now.clock >= self.begun + rules.interval {
            self.ended = true;
            self.begun = now.clock;
            self.judged.iter_mut().for_each(|(key, judged)| judged.end = seen[key].totals);
        }
        if !self.ended || now.clock < self.begun + SETTLE {
            return Vec::new();
        }
        self.ended = false;
        let mut keys = Vec::new();
        let mut samples = Vec::new();
        for (key, judged) in &mut self.judged {
            let opened = judged.end.since(judged.start).opened;
            let totals = Totals { opened, ..seen[key].totals.since(judged.start) };
            // What is answered comes later than what is opened: both are counted over as long a time, the one a moment later.
            judged.start = Totals { opened: judged.end.opened, ..seen[key].totals };
            judged.last = Some(totals);
            if seen[key].able && !judged.standing.is_ejected() {
                keys.push(*key);
                samples.push(Sample { totals, weight: seen[key].weight });
            }
        }
        let found = outliers(rules, &samples);
        let mut changed = Vec::new();
        for (index, key) in keys.iter().enumerate().filter(|(index, _)| found.iter().all(|one| one.index != *index)) {
            let judged = self.judged.get_mut(key).expect("it is judged");
            // Too few connections say nothing about an outlier either.
            if samples[index].totals.opened < u64::from(rules.min_connections) {
                continue;
            }
            judged.forgive(rules, now);
            if judged.standing == Standing::Outlier {
                judged.enter(Standing::Fine, now, &samples[index].totals.to_string());
                changed.push(*key);
            }
        }
        for outlier in found {
            changed.extend(self.punish(rules, now, seen, keys[outlier.index], outlier));
        }
        changed
    }

    fn punish(
        &mut self,
        rules: &PassiveHealth,
        now: Moment,
        seen: &BTreeMap<K, Seen>,
        key: K,
        outlier: Outlier,
    ) -> Option<K> {
        let may = rules.ejects && self.fits(rules, seen, Some(key));
        let judged = self.judged.get_mut(&key)?;
        let percent = |share: f64| (share * 100.0).round();
        let mut reason = format!(
            "{}: {} %, the others {} %",
            judged.last.unwrap_or_default(),
            percent(outlier.failure),
            percent(outlier.others)
        );
        if may {
            judged.times = judged.times.saturating_add(1);
            let time = rules.ejection(judged.times);
            (judged.over, judged.until) = (now.clock + time, Some(now.shown + time));
            (judged.counted, judged.probe) = (now.clock, None);
            reason = format!("{reason}; for {}", humantime::format_duration(time));
            judged.enter(Standing::Ejected, now, &reason);
        } else if judged.standing == Standing::Fine {
            if rules.ejects {
                reason += "; not ejected, as no more of the weight may be";
            }
            judged.enter(Standing::Outlier, now, &reason);
        } else {
            return None;
        }
        Some(key)
    }

    /// Lets those back whose time is over first while too much is ejected, as others have gone.
    fn keep_share(&mut self, rules: &PassiveHealth, now: Moment, seen: &BTreeMap<K, Seen>) -> Vec<K> {
        let mut changed = Vec::new();
        while !self.fits(rules, seen, None) {
            let ejected = self.judged.iter().filter(|(key, judged)| judged.standing.is_ejected() && seen[key].able);
            let Some(key) = ejected.min_by_key(|(key, judged)| (judged.over, **key)).map(|(key, _)| *key) else {
                break;
            };
            let judged = self.judged.get_mut(&key).expect("it was found");
            judged.return_to(&seen[&key], now, "too few others take flows");
            changed.push(key);
        }
        changed
    }

    /// Whether no more is ejected than may be, with one more.
    fn fits(&self, rules: &PassiveHealth, seen: &BTreeMap<K, Seen>, more: Option<K>) -> bool {
        let able = || seen.iter().filter(|(_, seen)| seen.able);
        let weight = |key: &K| u64::from(seen[key].weight);
        let all: u64 = able().map(|(key, _)| weight(key)).sum();
        let out: Vec<u64> = able()
            .filter(|(key, _)| more == Some(**key) || self.judged[*key].standing.is_ejected())
            .map(|(key, _)| weight(key))
            .collect();
        let sum: u64 = out.iter().sum();
        match out.len() {
            0 => true,
            1 if 2 * sum <= all => true,
            _ => sum < all && 100 * sum <= u64::from(rules.max_ejected) * all,
        }
    }
}

impl Judged {
    fn new(now: Moment, seen: &Seen) -> Self {
        Self {
            standing: Standing::Fine,
            until: None,
            times: 0,
            last: None,
            history: Vec::new(),
            identity: seen.identity,
            over: now.clock,
            counted: now.clock,
            probe: None,
            start: seen.totals,
            end: seen.totals,
        }
    }

    fn enter(&mut self, standing: Standing, now: Moment, reason: &str) {
        self.standing = standing;
        if self.history.len() == HISTORY {
            self.history.remove(0);
        }
        self.history.push(Change { at: now.shown, standing, reason: reason.to_owned() });
    }

    fn return_to(&mut self, seen: &Seen, now: Moment, reason: &str) {
        (self.until, self.probe, self.counted) = (None, None, now.clock);
        (self.start, self.end) = (seen.totals, seen.totals);
        self.enter(Standing::Fine, now, reason);
    }

    /// Was judged and is fine.
    fn forgive(&mut self, rules: &PassiveHealth, now: Moment) {
        if self.times > 0 && now.clock >= self.counted + rules.eject_for {
            self.times -= 1;
            self.counted = now.clock;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    pub(super) const EJECTS: PassiveHealth = PassiveHealth {
        ejects: true,
        interval: Duration::from_secs(10),
        min_connections: 20,
        failure_margin: 30,
        eject_for: Duration::from_secs(30),
        eject_at_most: Duration::from_secs(100),
        max_ejected: 30,
    };

    fn at(seconds: u64) -> Moment {
        Moment { clock: Duration::from_secs(seconds), shown: UNIX_EPOCH + Duration::from_secs(seconds) }
    }

    /// Backends that get ten connections a second each, of which some fail.
    struct World {
        rules: PassiveHealth,
        watch: Watch<u8>,
        seen: BTreeMap<u8, Seen>,
        failing: BTreeSet<u8>,
        second: u64,
        log: Vec<(u64, u8, &'static str)>,
    }

    impl World {
        fn of(count: u8, rules: PassiveHealth) -> Self {
            let seen =
                Seen { identity: 1, totals: Totals::default(), weight: 1, able: true, probe: LastProbe::Unprobed };
            let seen = (0..count).map(|key| (key, seen)).collect();
            let (watch, failing) = (Watch::new(at(0)), BTreeSet::new());
            Self { rules, watch, seen, failing, second: 0, log: Vec::new() }
        }

        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.second += 1;
                let ejected = self.watch.ejected();
                for (key, seen) in self.seen.iter_mut().filter(|(key, _)| !ejected.contains(key)) {
                    seen.totals.opened += 10;
                    seen.totals.confirmed += if self.failing.contains(key) { 0 } else { 10 };
                }
                for key in self.watch.step(&self.rules, at(self.second), &self.seen) {
                    self.log.push((self.second, key, self.watch.of(&key).expect("it is there").standing.name()));
                }
            }
        }

        fn log(&mut self) -> Vec<(u64, u8, &'static str)> {
            std::mem::take(&mut self.log)
        }
    }

    #[test]
    fn what_is_opened_and_answered_counts_over_the_same_time() {
        for interval in [1, 2, 10] {
            let rules = PassiveHealth { interval: Duration::from_secs(interval), ejects: false, ..EJECTS };
            let mut watch = Watch::new(at(0));
            let seen =
                Seen { identity: 1, totals: Totals::default(), weight: 1, able: true, probe: LastProbe::Unprobed };
            let mut all: BTreeMap<u8, Seen> = (0..3).map(|key| (key, seen)).collect();
            for second in 1..60 {
                for (key, seen) in &mut all {
                    seen.totals.opened += 100;
                    seen.totals.confirmed += if *key == 0 { 65 } else { 100 };
                }
                watch.step(&rules, at(second), &all);
            }
            let totals = watch.of(&0).and_then(|judged| judged.last).expect("it was judged");
            assert!((totals.failure() - 0.35).abs() < 1e-9, "{interval} s: {totals:?}");
        }
    }

    #[test]
    fn one_at_fault_is_ejected_for_longer_each_time_and_forgiven_step_by_step() {
        let mut world = World::of(4, EJECTS);
        world.run(25);
        assert_eq!(world.log(), []);
        world.failing.insert(2);
        world.run(15);
        assert_eq!(world.log(), [(31, 2, "ejected")]);
        let judged = world.watch.of(&2).expect("it is there");
        let reason = &judged.history[0].reason;
        assert_eq!(reason, "60 of 100 connections were not answered: 60 %, the others 0 %; for 30s");
        assert_eq!(judged.until, Some(at(61).shown));
        world.run(360);
        // 30 s, 60 s, 90 s, and 100 s at most; an interval in between.
        let log = world.log();
        assert!(log.iter().all(|(_, key, _)| *key == 2), "{log:?}");
        assert!(log.len() >= 6 && log[0].2 == "fine", "{log:?}");
        let lengths: Vec<u64> = log[1..].chunks_exact(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert_eq!(lengths[..3], [60, 90, 100], "{log:?}");
        world.failing.clear();
        world.run(130);
        world.log();
        let times = world.watch.of(&2).expect("it is there").times;
        world.run(60);
        assert_eq!(world.log(), []);
        let left = world.watch.of(&2).expect("it is there").times;
        assert!(left < times && left > 0, "{left} after {times}");
        world.run(400);
        assert_eq!(world.watch.of(&2).expect("it is there").times, 0);
    }

    #[test]
    fn nobody_is_ejected_if_all_fail() {
        let mut world = World::of(3, EJECTS);
        world.failing = (0..3).collect();
        world.run(300);
        assert_eq!(world.log(), []);
    }

    #[test]
    fn observe_only_tells() {
        let mut world = World::of(3, PassiveHealth { ejects: false, ..EJECTS });
        world.failing.insert(1);
        world.run(100);
        assert_eq!(world.log(), [(11, 1, "outlier")]);
        assert!(world.watch.ejected().is_empty());
        world.failing.clear();
        world.run(30);
        assert_eq!(world.log(), [(111, 1, "fine")]);
    }

    #[test]
    fn a_probe_has_to_succeed_after_the_time_is_over() {
        let mut world = World::of(3, EJECTS);
        world.failing.insert(1);
        let probe = |world: &mut World, second, is_good| {
            world.seen.get_mut(&1).expect("it is there").probe = LastProbe::At(at(second).shown, is_good);
        };
        probe(&mut world, 1, true);
        world.run(30);
        assert_eq!(world.log(), [(11, 1, "ejected")]);
        probe(&mut world, 30, true);
        world.run(20);
        assert_eq!(world.log(), [(41, 1, "waits-for-probe")]);
        probe(&mut world, 51, false);
        world.run(10);
        assert_eq!(world.log(), []);
        world.failing.clear();
        probe(&mut world, 61, true);
        world.run(60);
        assert_eq!(world.log(), [(61, 1, "fine")]);
    }

    #[test]
    fn no_more_is_ejected_than_may_be() {
        let mut world = World::of(7, EJECTS);
        world.failing = [1, 3, 5].into();
        world.run(12);
        assert_eq!(world.watch.ejected(), [1, 3].into());
        assert_eq!(world.log(), [(11, 1, "ejected"), (11, 3, "ejected"), (11, 5, "outlier")]);
        // Others go: one of two may stay, and of one none.
        for gone in [0, 2, 4, 5] {
            world.seen.get_mut(&gone).expect("it is there").able = false;
        }
        world.run(1);
        assert_eq!(world.log(), [(13, 1, "fine")]);
        world.seen.get_mut(&1).expect("it is there").able = false;
        world.seen.get_mut(&6).expect("it is there").able = false;
        world.run(1);
        assert_eq!(world.log(), [(14, 3, "fine")]);
    }

    #[test]
    fn one_with_more_than_half_of_the_weight_stays() {
        let mut world = World::of(3, EJECTS);
        world.failing.insert(0);
        world.seen.get_mut(&0).expect("it is there").weight = 3;
        world.run(12);
        assert_eq!(world.log(), [(11, 0, "outlier")]);
    }

    #[test]
    fn another_backend_with_the_counters_begins_anew() {
        let mut world = World::of(3, EJECTS);
        world.failing.insert(1);
        world.run(9);
        world.failing.clear();
        let seen = world.seen.get_mut(&1).expect("it is there");
        (seen.identity, seen.totals) = (2, Totals { opened: 1_000_000, ..Totals::default() });
        world.run(30);
        assert_eq!(world.log(), []);
    }

    #[test]
    fn with_observe_again_all_come_back() {
        let mut world = World::of(3, EJECTS);
        world.failing.insert(1);
        world.run(12);
        world.rules.ejects = false;
        world.run(1);
        assert_eq!(world.log(), [(11, 1, "ejected"), (13, 1, "fine")]);
    }
}
