//! The state machine of one target.

use std::{sync::Arc, time::SystemTime};

use super::{Advice, LastResult, Outcome, Progress, Status, Transition};
use crate::config::model::{Initial, Probe};

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
}

impl From<&Probe> for Rules {
    fn from(probe: &Probe) -> Self {
        Self { rise: probe.rise, fall: probe.fall, initial: probe.initial }
    }
}

/// The state of one target and how it came to it.
#[derive(Clone, Debug)]
pub struct Machine {
    rules: Rules,
    status: Status,
    since: SystemTime,
    reason: String,
    successes: u32,
    failures: u32,
    last: Option<LastResult>,
    advice: Advice,
    history: Arc<[Transition]>,
}

impl Machine {
    /// A target without results; `now` is for display only.
    #[must_use]
    pub fn new(rules: Rules, now: SystemTime) -> Self {
        Self {
            rules,
            status: Status::Unknown,
            since: now,
            reason: "not probed yet".to_owned(),
            successes: 0,
            failures: 0,
            last: None,
            advice: Advice::default(),
            history: Arc::default(),
        }
    }

    /// Takes the result of a probe that ended at `now`; returns whether the status changed.
    pub fn record(&mut self, outcome: Outcome, now: SystemTime) -> bool {
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
        self.last = Some(LastResult { at: now, outcome });
        changed
    }

    fn rise(&mut self, now: SystemTime) -> bool {
        if self.status == Status::Up || self.successes < self.rules.rise {
            return false;
        }
        let reason = format!("{} in a row", count(self.successes, "success", "successes"));
        self.enter(Status::Up, reason, now)
    }

    fn fall(&mut self, error: &str, now: SystemTime) -> bool {
        if self.status == Status::Down || self.failures < self.rules.fall {
            return false;
        }
        let reason = format!("{} in a row: {error}", count(self.failures, "failure", "failures"));
        self.enter(Status::Down, reason, now)
    }

    fn enter(&mut self, status: Status, reason: String, now: SystemTime) -> bool {
        self.status = status;
        self.reason = reason;
        self.since = now;
        let newest = Transition { at: now, status, reason: self.reason.clone() };
        let kept = &self.history[(self.history.len() + 1).saturating_sub(HISTORY)..];
        self.history = kept.iter().cloned().chain([newest]).collect();
        true
    }

    /// Goes on with other rules. State and runs are kept; a lowered threshold takes effect with the next result.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The same for another probe of the same server: what is known holds until the new one has told, and its runs begin anew.
    #[must_use]
    pub fn taken_over(self, rules: Rules) -> Self {
        Self { rules, successes: 0, failures: 0, ..self }
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
            Status::Down => self.successes > 0,
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
        self.since
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
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::health::{Answer, Wants};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn ok() -> Outcome {
        Outcome::Success(Answer { latency: Some(Duration::from_millis(2)), advice: Advice::default() })
    }

    fn refused() -> Outcome {
        Outcome::Failure("connection refused".into())
    }

    fn machine(rise: u32, fall: u32, initial: Initial) -> Machine {
        Machine::new(Rules { rise, fall, initial }, at(0))
    }

    #[test]
    fn a_new_target_gets_traffic_only_after_rise_successes() {
        let mut machine = machine(2, 3, Initial::Down);
        assert!(!machine.eligible());
        assert!(!machine.record(ok(), at(1)));
        assert_eq!((machine.status(), machine.eligible(), machine.since()), (Status::Unknown, false, at(0)));
        assert!(machine.record(ok(), at(2)));
        assert_eq!((machine.status(), machine.eligible(), machine.since()), (Status::Up, true, at(2)));
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
        assert_eq!((machine.status(), machine.since()), (Status::Up, at(1)));
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
        machine.set_rules(Rules { rise: 1, fall: 2, initial: Initial::Down });
        assert_eq!((machine.status(), machine.since(), machine.progress().failures), (Status::Up, at(1), 1));
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
        assert_eq!((first.at, first.status, first.reason.as_str()), (at(5), Status::Up, "1 success in a row"));
        let last = &machine.history()[HISTORY - 1];
        assert_eq!((last.at, last.status), (at(20), Status::Down));
        assert_eq!(last.reason, "1 failure in a row: connection refused");
        // What changes nothing is not among them.
        machine.record(refused(), at(21));
        assert_eq!(machine.history()[HISTORY - 1].at, at(20));
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
}
