//! What the connections say about the balancer: pure, so that it can be tested with made-up ones.

use std::{
    fmt,
    time::{Duration, Instant},
};

use evenkeel_tests::clients::{Attempt, DownloadReport, Tally};

/// How far a share may be from its weight's, as a part of it. With [`ENOUGH`] connections and weights 2, 1 and 1 chance
/// alone goes past it less than once in 10 000 times.
const TOLERANCE: f64 = 0.1;
/// So many connections make a share worth judging.
pub(crate) const ENOUGH: u64 = 6000;

/// Something that was to be seen, and whether it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether it was.
    pub(crate) holds: bool,
    /// With numbers.
    pub(crate) text: String,
}

/// A change that new connections must follow in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    /// The backend.
    pub(crate) backend: &'a str,
    /// When it happened.
    pub(crate) at: Instant,
    /// How long new connections may take to follow.
    pub(crate) bound: Duration,
}

impl Finding {
    fn new(holds: bool, text: String) -> Self {
        Self { holds, text }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.holds { '✓' } else { '✗' }, self.text)
    }
}

/// Every connection was answered.
pub(crate) fn without_errors(attempts: &[Attempt]) -> Finding {
    let tally: Tally = attempts.iter().collect();
    let holds = tally.answered() > 0 && tally.failed() == 0;
    Finding::new(holds, format!("{} answered, {} failed{}", tally.answered(), tally.failed(), why(&tally)))
}

/// The backends' shares are those of their weights.
pub(crate) fn shares(attempts: &[Attempt], weights: &[(String, u16)]) -> Vec<Finding> {
    let tally: Tally = attempts.iter().collect();
    let sum: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let share = |(name, weight): &(String, u16)| {
        let (expected, got) = (f64::from(*weight) / sum, tally.share(name));
        let off = got / expected - 1.0;
        let (got, expected, off_percent) = (100.0 * got, 100.0 * expected, 100.0 * off);
        let text = format!("{name} has {got:.1} % of them, its weight {expected:.1} %: {off_percent:+.1} % (±10 %)");
        Finding::new(off.abs() <= TOLERANCE, text)
    };
    weights.iter().map(share).collect()
}

/// A backend died: connections to it fail until the balancer notices, and no later.
pub(crate) fn leaves(attempts: &[Attempt], death: Change<'_>) -> Vec<Finding> {
    let hit: Vec<_> = attempts.iter().filter(|attempt| is_hit(attempt, death)).collect();
    let last = hit.iter().map(|attempt| attempt.started.saturating_duration_since(death.at)).max().unwrap_or_default();
    let (count, bound) = (hit.len(), death.bound);
    let left = format!("new connections left {} after {}; it may take {}", death.backend, ms(last), ms(bound));
    let later: Vec<_> = attempts.iter().filter(|a| a.started > death.at + bound).cloned().collect();
    let others = without_errors(&later);
    vec![
        Finding::new(last <= bound, format!("{left}; {count} failed")),
        Finding { text: format!("after that: {}", others.text), ..others },
    ]
}

/// No connection failed but those that ran into the dead backend before the balancer could know.
pub(crate) fn no_other_errors(attempts: &[Attempt], death: Change<'_>) -> Finding {
    let excused = |a: &&Attempt| !(is_hit(a, death) && a.started <= death.at + death.bound);
    let rest: Vec<_> = attempts.iter().filter(excused).cloned().collect();
    let finding = without_errors(&rest);
    Finding { text: format!("on healthy backends: {}", finding.text), ..finding }
}

/// New connections reach a backend again: when the first was opened, whatever its answer took.
pub(crate) fn returns(attempts: &[Attempt], change: Change<'_>) -> Finding {
    let Change { backend, at, bound } = change;
    let mine = attempts.iter().filter(|a| a.ended >= at && a.outcome.as_deref() == Ok(backend));
    match mine.map(|attempt| attempt.started.saturating_duration_since(at)).min() {
        Some(first) => {
            let text = format!("{backend} has new connections after {}; it may take {}", ms(first), ms(bound));
            Finding::new(first <= bound, text)
        }
        None => Finding::new(false, format!("{backend} gets no new connections")),
    }
}

/// None of these connections, all opened after a backend was drained, reached it.
pub(crate) fn avoided(attempts: &[Attempt], backend: &str) -> Finding {
    let tally: Tally = attempts.iter().collect();
    let text = format!("{} of {} new connections reached {backend}", tally.of(backend), tally.answered());
    Finding::new(tally.answered() > 0 && tally.of(backend) == 0, text)
}

/// A download went on from one backend to its last byte, a part of it after the drain had begun.
pub(crate) fn completed(report: &DownloadReport, backend: &str, size: u64, before: u64) -> Finding {
    let after = report.received.saturating_sub(before);
    let intact = report.outcome.is_ok() && report.received == size && report.backend.as_deref() == Some(backend);
    let end = match &report.outcome {
        Ok(()) => "all right",
        Err(why) => why,
    };
    let text = format!("download from {backend}: {} of {size} bytes, {after} since: {end}", report.received);
    Finding::new(intact && after > 0, text)
}

/// Failed because its backend was dead: the kernel of a machine whose server died refuses, or resets what was open.
/// A time-out is another thing.
fn is_hit(attempt: &Attempt, death: Change<'_>) -> bool {
    const DEAD: [&str; 4] = ["Connection refused", "Connection reset", "Broken pipe", "unexpected end of file"];
    let by_dead = |error: &String| DEAD.iter().any(|start| error.starts_with(start));
    attempt.ended >= death.at && attempt.outcome.as_ref().is_err_and(by_dead)
}

fn why(tally: &Tally) -> String {
    tally
        .errors
        .iter()
        .next()
        .map_or_else(String::new, |(error, _)| format!(": {}", error.split(" (os").next().unwrap_or(error)))
}

fn ms(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Result<&str, &str> = Err("Connection refused (os error 111)");
    const TIMED_OUT: Result<&str, &str> = Err("connection timed out");

    /// Connections that began so many milliseconds after `zero` and took one.
    fn attempts(zero: Instant, all: &[(u64, Result<&str, &str>)]) -> Vec<Attempt> {
        let attempt = |&(ms, outcome): &(u64, Result<&str, &str>)| {
            let started = zero + Duration::from_millis(ms);
            let outcome = outcome.map(str::to_owned).map_err(str::to_owned);
            Attempt { started, ended: started + Duration::from_millis(1), outcome }
        };
        all.iter().map(attempt).collect()
    }

    fn change(zero: Instant) -> Change<'static> {
        Change { backend: "b2", at: zero + Duration::from_millis(100), bound: Duration::from_millis(200) }
    }

    fn holds(findings: &[Finding]) -> bool {
        findings.iter().all(|finding| finding.holds)
    }

    #[test]
    fn shares_hold_within_a_tenth_of_the_weights() {
        let weights = [("b1".to_owned(), 2), ("b2".to_owned(), 1), ("b3".to_owned(), 1)];
        for (counts, expected) in [
            ([200, 100, 100], true),
            ([190, 105, 105], true),
            ([200, 113, 87], false),
            ([100, 100, 100], false),
            ([0, 0, 0], false),
        ] {
            let all = ["b1", "b2", "b3"].iter().zip(counts).flat_map(|(name, count)| vec![(0, Ok(*name)); count]);
            let all = attempts(Instant::now(), &all.collect::<Vec<_>>());
            assert_eq!(holds(&shares(&all, &weights)), expected, "{counts:?}");
        }
    }

    #[test]
    fn one_failure_or_nothing_at_all_is_not_without_errors() {
        let zero = Instant::now();
        assert!(without_errors(&attempts(zero, &[(0, Ok("b1"))])).holds);
        assert!(!without_errors(&attempts(zero, &[(0, Ok("b1")), (1, TIMED_OUT)])).holds);
        assert!(!without_errors(&[]).holds);
    }

    #[test]
    fn a_dead_backend_must_be_left_in_time() {
        let zero = Instant::now();
        for (what, last, expected) in [
            ("all others answer", vec![(299, REFUSED), (400, Ok("b1"))], true),
            ("one runs into it too late", vec![(301, REFUSED), (400, Ok("b1"))], false),
            ("another failure later", vec![(400, TIMED_OUT), (401, Ok("b1"))], false),
            ("nobody answers afterwards", vec![(299, REFUSED)], false),
        ] {
            assert_eq!(holds(&leaves(&attempts(zero, &last), change(zero))), expected, "{what}");
        }
    }

    #[test]
    fn only_what_ran_into_the_dead_backend_is_excused() {
        let zero = Instant::now();
        for (what, failure, expected) in [
            ("refused while it was dead", (150, REFUSED), true),
            ("open when it died", (99, Err("Connection reset by peer (os error 104)")), true),
            ("refused before it died", (50, REFUSED), false),
            ("refused after the bound", (301, REFUSED), false),
            ("a packet was lost", (150, TIMED_OUT), false),
        ] {
            let all = attempts(zero, &[(0, Ok("b1")), failure]);
            assert_eq!(no_other_errors(&all, change(zero)).holds, expected, "{what}");
        }
    }

    #[test]
    fn a_backend_returns_with_its_first_answer_in_time() {
        let zero = Instant::now();
        for (answers, expected) in [
            (vec![(50, Ok("b2")), (120, Ok("b1")), (299, Ok("b2"))], true),
            (vec![(301, Ok("b2"))], false),
            (vec![(50, Ok("b2")), (200, Ok("b1"))], false),
        ] {
            assert_eq!(returns(&attempts(zero, &answers), change(zero)).holds, expected, "{answers:?}");
        }
    }

    #[test]
    fn a_drained_backend_gets_nothing_new() {
        let zero = Instant::now();
        assert!(avoided(&attempts(zero, &[(0, Ok("b1"))]), "b2").holds);
        assert!(!avoided(&attempts(zero, &[(0, Ok("b1")), (1, Ok("b2"))]), "b2").holds);
        assert!(!avoided(&[], "b2").holds, "without traffic nothing is shown");
    }

    #[test]
    fn a_download_is_complete_only_whole_and_from_the_drained_backend() {
        let report =
            |backend: &str, received, outcome| DownloadReport { backend: Some(backend.into()), received, outcome };
        let whole = report("b2", 100, Ok(()));
        assert!(completed(&whole, "b2", 100, 60).holds);
        assert!(!completed(&whole, "b2", 100, 100).holds, "it was over before the drain");
        assert!(!completed(&whole, "b1", 100, 60).holds, "another backend was drained");
        assert!(!completed(&report("b2", 90, Err("ended 10 bytes early".into())), "b2", 100, 60).holds);
    }
}
