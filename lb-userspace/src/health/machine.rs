//! The state machine of one target.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Advice, LastResult, Moment, Outcome, Progress, Status, Transition};
use crate::config::model::{Damping, Initial, Probe};

/// How many changes of status are remembered.
pub const HISTORY: usize = 16;

/// What the machine needs of a [`Probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Successes in a row that bring a target up, 1 to 100.
    pub rise: u32,
    /// Failures in a row that take it down, 1 to 100.
    pub fall: u32,
    /// Whether it gets traffic while it is unknown.
    pub initial: Initial,
    /// What keeps it down if it does not stay up.
    pub damping: Option<Damping>,
}

impl From<&Probe> for Rules {
    fn from(probe: &Probe) -> Self {
        Self { rise: probe.rise, fall: probe.fall, initial: probe.initial, damping: probe.damping }
    }
}

/// The state of one target and how it came to it.
#[derive(Clone, Debug)]
pub struct Machine {
    rules: Rules,
    status: Status,
    since: Moment,
    /// How often in a row it was up for a short time only.
    short_ups: u32,
    /// Until when it is held down, whatever the probes say.
    held_until: Option<Moment>,
    reason: String,
    successes: u32,
    failures: u32,
    last: Option<LastResult>,
    advice: Advice,
    history: Arc<[Transition]>,
}

impl Machine {
    /// A target without results.
    #[must_use]
    pub fn new(rules: Rules, now: Moment) -> Self {
        Self {
            rules,
            status: Status::Unknown,
            since: now,
            short_ups: 0,
            held_until: None,
            reason: "not probed yet".to_owned(),
            successes: 0,
            failures: 0,
            last: None,
            advice: Advice::default(),
            history: Arc::default(),
        }
    }

    /// Takes the result of a probe that ended at `now`; returns whether the status changed.
    pub fn record(&mut self, outcome: Outcome, now: Moment) -> bool {
        match &outcome {
            Outcome::Success(_) => {
                self.successes = self.successes.saturating_add(1);
                self.failures = 0;
            }
            Outcome::Failure(_) => {
                self.failures = self.failures.saturating_add(1);
                self.successes = 0;
            }
            Outcome::Inconclusive(_) => {}
        }
        let changed = match &outcome {
            Outcome::Success(answer) => {
                self.advice = answer.advice.after(self.advice);
                self.rise(now)
            }
            Outcome::Failure(error) => self.fall(error, now),
            Outcome::Inconclusive(_) => false,
        };
        self.last = Some(LastResult { at: now.shown, outcome });
        changed
    }

    fn rise(&mut self, now: Moment) -> bool {
        let is_held = self.held_until.is_some_and(|until| now.clock < until.clock);
        if self.status == Status::Up || self.successes < self.rules.rise || is_held {
            return false;
        }
        self.held_until = None;
        let reason = format!("{} in a row", count(self.successes, "success", "successes"));
        self.enter(Status::Up, reason, now)
    }

    fn fall(&mut self, error: &str, now: Moment) -> bool {
        if self.status == Status::Down || self.failures < self.rules.fall {
            return false;
        }
        let mut reason = format!("{} in a row: {error}", count(self.failures, "failure", "failures"));
        if let Some((damping, hold)) = self.damp(now) {
            self.held_until = Some(Moment { clock: now.clock + hold, shown: now.shown + hold });
            let [stable, hold] = [damping.stable, hold].map(humantime::format_duration);
            let times = count(self.short_ups, "time", "times in a row");
            reason = format!("{reason}; held down for {hold}, as {times} it was up for less than {stable}");
        }
        self.enter(Status::Down, reason, now)
    }

    /// How long it is held down if it goes down now.
    fn damp(&mut self, now: Moment) -> Option<(Damping, Duration)> {
        let damping = self.rules.damping?;
        if self.status == Status::Up {
            let is_short = now.clock.saturating_sub(self.since.clock) < damping.stable;
            self.short_ups = if is_short { self.short_ups.saturating_add(1) } else { 0 };
        }
        Some((damping, damping.hold_after(self.short_ups)?))
    }

    fn enter(&mut self, status: Status, reason: String, now: Moment) -> bool {
        self.status = status;
        self.reason = reason;
        self.since = now;
        let newest = Transition { at: now.shown, status, reason: self.reason.clone() };
        let kept = &self.history[(self.history.len() + 1).saturating_sub(HISTORY)..];
        self.history = kept.iter().cloned().chain([newest]).collect();
        true
    }

    /// Goes on with other rules. State and runs are kept; a lowered threshold takes effect with the next result.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.let_go_undamped();
    }

    /// The same for another probe of the same server: what is known holds until the new one has told, and its runs begin anew.
    #[must_use]
    pub fn taken_over(self, rules: Rules) -> Self {
        let mut taken = Self { rules, successes: 0, failures: 0, ..self };
        taken.let_go_undamped();
        taken
    }

    /// Nothing is held without damping.
    fn let_go_undamped(&mut self) {
        if self.rules.damping.is_none() {
            (self.held_until, self.short_ups) = (None, 0);
        }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether the target may get new flows: it is up, or unknown with [`Initial::Up`].
    #[must_use]
    pub fn eligible(&self) -> bool {
        match self.status {
            Status::Up => true,
            Status::Down => false,
            Status::Unknown => self.rules.initial == Initial::Up,
        }
    }

    /// Whether results are on their way to another status: there are too few for the first one, or the newest differ.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        match self.status {
            Status::Unknown => true,
            Status::Up => self.failures > 0,
            // With enough of them it is held down.
            Status::Down => (1..self.rules.rise).contains(&self.successes),
        }
    }

    /// What the target says of itself.
    #[must_use]
    pub fn advice(&self) -> Advice {
        self.advice
    }

    /// The last [`HISTORY`] changes of status, the newest last.
    #[must_use]
    pub fn history(&self) -> &Arc<[Transition]> {
        &self.history
    }

    /// Since when the status holds, for display.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since.shown
    }

    /// Until when it is held down though its probes may succeed, for display.
    #[must_use]
    pub fn held_until(&self) -> Option<SystemTime> {
        self.held_until.map(|until| until.shown)
    }

    /// Why the status was entered.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The newest result; `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<&LastResult> {
        self.last.as_ref()
    }

    /// Runs and thresholds.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { successes: self.successes, rise: self.rules.rise, failures: self.failures, fall: self.rules.fall }
    }
}

fn count(n: u32, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::health::{Answer, Wants};

    fn at(seconds: u64) -> Moment {
        Moment { clock: Duration::from_secs(seconds), shown: day(seconds) }
    }

    fn day(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn ok() -> Outcome {
        Outcome::Success(Answer { latency: Some(Duration::from_millis(2)), advice: Advice::default() })
    }

    fn refused() -> Outcome {
        Outcome::Failure("connection refused".into())
    }

    fn machine(rise: u32, fall: u32, initial: Initial) -> Machine {
        Machine::new(Rules { rise, fall, initial, damping: None }, at(0))
    }

    #[test]
    fn a_new_target_gets_traffic_only_after_rise_successes() {
        let mut machine = machine(2, 3, Initial::Down);
        assert!(!machine.eligible());
        assert!(!machine.record(ok(), at(1)));
        assert_eq!((machine.status(), machine.eligible(), machine.since()), (Status::Unknown, false, day(0)));
        assert!(machine.record(ok(), at(2)));
        assert_eq!((machine.status(), machine.eligible(), machine.since()), (Status::Up, true, day(2)));
        assert_eq!(machine.reason(), "2 successes in a row");
        assert_eq!(machine.last().and_then(LastResult::latency), Some(Duration::from_millis(2)));
    }

    #[test]
    fn initially_up_has_traffic_until_fall_failures() {
        let mut machine = machine(2, 2, Initial::Up);
        assert!(machine.eligible());
        assert!(!machine.record(refused(), at(1)));
        assert!(machine.eligible());
        assert!(machine.record(refused(), at(2)));
        assert_eq!((machine.status(), machine.eligible()), (Status::Down, false));
        assert_eq!(machine.reason(), "2 failures in a row: connection refused");
        assert_eq!(machine.last().and_then(LastResult::error), Some("connection refused"));
    }

    #[test]
    fn a_result_of_the_other_kind_starts_the_count_again() {
        let mut machine = machine(1, 3, Initial::Down);
        machine.record(ok(), at(1));
        for second in 2..20 {
            let outcome = if second % 3 == 1 { ok() } else { refused() };
            assert!(!machine.record(outcome, at(second)));
        }
        assert_eq!((machine.status(), machine.since()), (Status::Up, day(1)));
    }

    #[test]
    fn an_inconclusive_probe_neither_counts_nor_interrupts_a_run() {
        let mut machine = machine(1, 2, Initial::Down);
        machine.record(refused(), at(1));
        assert!(!machine.record(Outcome::Inconclusive("too many open files".into()), at(2)));
        assert_eq!(machine.last().and_then(LastResult::error), Some("too many open files"));
        assert_eq!(machine.progress().failures, 1);
        assert!(machine.record(refused(), at(3)));
    }

    #[test]
    fn other_rules_keep_the_state_and_act_on_the_next_result() {
        let mut machine = machine(1, 5, Initial::Down);
        machine.record(ok(), at(1));
        machine.record(refused(), at(2));
        machine.set_rules(Rules { rise: 1, fall: 2, initial: Initial::Down, damping: None });
        assert_eq!((machine.status(), machine.since(), machine.progress().failures), (Status::Up, day(1), 1));
        assert!(machine.record(refused(), at(3)));
        assert_eq!(machine.status(), Status::Down);
    }

    #[test]
    fn the_last_sixteen_changes_are_remembered_with_their_reasons() {
        let mut machine = machine(1, 1, Initial::Down);
        for second in 1..=20 {
            let outcome = if second % 2 == 1 { ok() } else { refused() };
            assert!(machine.record(outcome, at(second)));
            assert_eq!(machine.history().len(), HISTORY.min(second as usize));
        }
        let first = &machine.history()[0];
        assert_eq!((first.at, first.status, first.reason.as_str()), (day(5), Status::Up, "1 success in a row"));
        let last = &machine.history()[HISTORY - 1];
        assert_eq!((last.at, last.status), (day(20), Status::Down));
        assert_eq!(last.reason, "1 failure in a row: connection refused");
        // What changes nothing is not among them.
        machine.record(refused(), at(21));
        assert_eq!(machine.history()[HISTORY - 1].at, day(20));
    }

    #[test]
    fn changing_is_from_the_first_result_that_differs_to_the_threshold() {
        let mut machine = machine(2, 2, Initial::Down);
        assert!(machine.is_changing());
        let changing = [ok(), ok(), refused(), refused(), ok(), ok(), refused(), ok()].map(|outcome| {
            machine.record(outcome, at(1));
            machine.is_changing()
        });
        assert_eq!(changing, [true, false, true, false, true, false, true, false]);
    }

    #[test]
    fn what_a_target_wants_stays_until_it_says_something_else() {
        let says = |wants| {
            Outcome::Success(Answer { latency: None, advice: Advice { weight_percent: None, wants: Some(wants) } })
        };
        let mut machine = machine(1, 1, Initial::Down);
        machine.record(says(Wants::Drain), at(1));
        machine.record(ok(), at(2));
        machine.record(refused(), at(3));
        assert_eq!(machine.advice().wants, Some(Wants::Drain));
        machine.record(says(Wants::Ready), at(4));
        assert_eq!(machine.advice(), Advice::default());
    }

    fn damped() -> Machine {
        let seconds = Duration::from_secs;
        let damping = Damping { flaps: 2, stable: seconds(60), hold: seconds(30), max_hold: seconds(100) };
        Machine::new(Rules { rise: 1, fall: 1, initial: Initial::Down, damping: Some(damping) }, at(0))
    }

    /// Goes down at a time, and succeeds in each second after that until it is up: how long it was held down.
    fn held_after(machine: &mut Machine, second: u64) -> u64 {
        assert!(machine.record(refused(), at(second)));
        (1..1000).find(|waited| machine.record(ok(), at(second + waited))).expect("it comes back") - 1
    }

    #[test]
    fn who_does_not_stay_up_is_held_down_for_ever_longer_until_it_stays() {
        let mut machine = damped();
        machine.record(ok(), at(1));
        let mut second = 100;
        let mut holds = Vec::new();
        for _ in 0..6 {
            let held = held_after(&mut machine, second);
            second += held + 1 + 59;
            holds.push(held);
        }
        // The first one was up for long; the next is let off; the limit is 100 s.
        assert_eq!(holds, [0, 0, 29, 59, 99, 99]);
        // 60 s are long enough.
        assert_eq!(held_after(&mut machine, second + 1), 0);
        assert_eq!(held_after(&mut machine, second + 10), 0);
    }

    #[test]
    fn being_held_down_is_told_with_its_reason_and_its_end() {
        let mut machine = damped();
        machine.record(ok(), at(1));
        held_after(&mut machine, 2);
        machine.record(refused(), at(10));
        let reason =
            "1 failure in a row: connection refused; held down for 30s, as 2 times in a row it was up for less than 1m";
        assert_eq!((machine.reason(), machine.held_until()), (reason, Some(day(40))));
        machine.record(ok(), at(20));
        assert!(!machine.eligible() && !machine.is_changing());
        // Failures while it is held neither add to the time nor count as flaps.
        machine.record(refused(), at(30));
        assert_eq!(machine.held_until(), Some(day(40)));
        assert!(machine.record(ok(), at(40)));
        assert_eq!((machine.status(), machine.held_until()), (Status::Up, None));
    }

    #[test]
    fn who_is_no_longer_damped_is_no_longer_held() {
        let mut machine = damped();
        machine.record(ok(), at(1));
        held_after(&mut machine, 2);
        machine.record(refused(), at(10));
        machine.set_rules(Rules { rise: 1, fall: 1, initial: Initial::Down, damping: None });
        assert_eq!(machine.held_until(), None);
        assert!(machine.record(ok(), at(11)));
    }
}
