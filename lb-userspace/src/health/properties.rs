//! What holds for every sequence of results.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::{Answer, Machine, Moment, Outcome, Rules, Status};
use crate::config::model::Initial;

fn rules() -> impl Strategy<Value = Rules> {
    (1u32..8, 1u32..8, prop_oneof![Just(Initial::Up), Just(Initial::Down)]).prop_map(|(rise, fall, initial)| Rules {
        rise,
        fall,
        initial,
        damping: None,
    })
}

fn outcome(success: bool) -> Outcome {
    if success { Outcome::Success(Answer::default()) } else { Outcome::Failure("no".into()) }
}

fn at(step: usize) -> Moment {
    let clock = Duration::from_secs(step as u64);
    Moment { clock, shown: UNIX_EPOCH + clock }
}

proptest! {
    /// An oracle that looks back over the whole history instead of counting.
    #[test]
    fn the_status_is_the_last_full_run(rules in rules(), results in prop::collection::vec(any::<bool>(), 0..200)) {
        let mut machine = Machine::new(rules, at(0));
        let mut expected = (Status::Unknown, at(0).shown);
        for (step, &success) in results.iter().enumerate() {
            let before = machine.status();
            let changed = machine.record(outcome(success), at(step + 1));
            let threshold = if success { rules.rise } else { rules.fall } as usize;
            let target = if success { Status::Up } else { Status::Down };
            let history = &results[..=step];
            let full = history.len() >= threshold && history[history.len() - threshold..].iter().all(|&r| r == success);
            if full && expected.0 != target {
                expected = (target, at(step + 1).shown);
            }
            prop_assert_eq!((machine.status(), machine.since()), expected);
            prop_assert_eq!(changed, before != machine.status());
        }
    }

    #[test]
    fn runs_shorter_than_the_thresholds_never_change_anything(
        rise in 2u32..8, fall in 2u32..8, initial_up in any::<bool>(),
        runs in prop::collection::vec((any::<u32>(), any::<u32>()), 1..60),
    ) {
        let initial = if initial_up { Initial::Up } else { Initial::Down };
        let mut machine = Machine::new(Rules { rise, fall, initial, damping: None }, at(0));
        for (good, bad) in runs {
            for success in std::iter::repeat_n(true, (good % (rise - 1) + 1) as usize)
                .chain(std::iter::repeat_n(false, (bad % (fall - 1) + 1) as usize))
            {
                prop_assert!(!machine.record(outcome(success), at(1)));
            }
        }
        prop_assert_eq!(machine.status(), Status::Unknown);
        prop_assert_eq!(machine.eligible(), initial_up);
    }

    #[test]
    fn a_constant_input_changes_the_status_once_at_most(
        rules in rules(), before in prop::collection::vec(any::<bool>(), 0..40), success in any::<bool>(),
    ) {
        let mut machine = Machine::new(rules, at(0));
        for result in before {
            machine.record(outcome(result), at(1));
        }
        let changes = (0..50).filter(|_| machine.record(outcome(success), at(2))).count();
        prop_assert!(changes <= 1);
        prop_assert_eq!(machine.status(), if success { Status::Up } else { Status::Down });
        prop_assert_eq!(machine.eligible(), success);
    }
}
