//! When the kernel is made to ask for a neighbour. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::table::{Hop, Need};

/// Waits between requests for an address that is not found; the last one repeats.
///
/// The kernel asks three times, a second apart, for each request, and takes no notice of others in that time.
const RESOLVE_WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// The wait between requests to confirm an address that is stale again although it was confirmed: other machines' announcements
/// have that effect.
const REFRESH_WAIT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Attempts {
    last: Instant,
    /// Requests since the address was last known.
    unanswered: usize,
}

/// What a neighbour is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Who has the address?
    Who,
    /// Do you still have the address?
    Still,
}

/// Remembers who was asked for when.
#[derive(Debug, Default)]
pub(super) struct Solicitor(HashMap<Hop, Attempts>);

impl Solicitor {
    /// Returns whom to ask at `now`, counts them as asked, and says when to come again.
    pub(super) fn due(&mut self, needs: &BTreeMap<Hop, Need>, now: Instant) -> (Vec<(Hop, Question)>, Option<Instant>) {
        self.0.retain(|hop, _| needs.contains_key(hop));
        let (mut due, mut next) = (Vec::new(), None);
        for (&hop, &need) in needs {
            if need != Need::Resolve
                && let Some(attempts) = self.0.get_mut(&hop)
            {
                attempts.unanswered = 0;
            }
            let Some(mut at) = self.when(hop, need, now) else { continue };
            if at <= now {
                due.push((hop, if need == Need::Resolve { Question::Who } else { Question::Still }));
                self.count(hop, need, now);
                at = self.when(hop, need, now).unwrap_or(now);
            }
            next = Some(next.map_or(at, |next: Instant| next.min(at)));
        }
        (due, next)
    }

    fn when(&self, hop: Hop, need: Need, now: Instant) -> Option<Instant> {
        let wait = |attempts: &Attempts| match need {
            Need::Nothing => None,
            Need::Keep(wait) => Some(wait),
            Need::Refresh => Some(REFRESH_WAIT),
            // It has only just become unknown.
            Need::Resolve if attempts.unanswered == 0 => Some(Duration::ZERO),
            Need::Resolve => Some(RESOLVE_WAITS[attempts.unanswered.min(RESOLVE_WAITS.len()) - 1]),
        };
        match (self.0.get(&hop), need) {
            (_, Need::Nothing) => None,
            (None, _) => Some(now),
            (Some(attempts), _) => wait(attempts).map(|wait| attempts.last + wait),
        }
    }

    fn count(&mut self, hop: Hop, need: Need, now: Instant) {
        let attempts = self.0.entry(hop).or_insert(Attempts { last: now, unanswered: 0 });
        attempts.last = now;
        if need == Need::Resolve {
            attempts.unanswered += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOP: Hop = Hop { ifindex: 2, address: std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)) };

    /// The seconds at which the neighbour is asked for while it needs `need`.
    fn asked(solicitor: &mut Solicitor, need: Need, start: Instant, seconds: std::ops::Range<u64>) -> Vec<u64> {
        let needs = [(HOP, need)].into();
        seconds.filter(|&second| !solicitor.due(&needs, start + Duration::from_secs(second)).0.is_empty()).collect()
    }

    #[test]
    fn resolving_backs_off_and_starts_anew_after_an_answer() {
        let (mut solicitor, start) = (Solicitor::default(), Instant::now());
        assert_eq!(asked(&mut solicitor, Need::Resolve, start, 0..16), [0, 1, 3, 7, 11, 15]);
        assert!(asked(&mut solicitor, Need::Nothing, start, 16..30).is_empty());
        assert_eq!(asked(&mut solicitor, Need::Resolve, start, 30..35), [30, 31, 33]);
    }

    #[test]
    fn stale_entries_are_refreshed_every_second() {
        let (mut solicitor, start) = (Solicitor::default(), Instant::now());
        assert_eq!(asked(&mut solicitor, Need::Refresh, start, 0..4), [0, 1, 2, 3]);
    }

    #[test]
    fn reachable_neighbours_are_asked_before_they_are_stale() {
        let (mut solicitor, start) = (Solicitor::default(), Instant::now());
        let keep = Need::Keep(Duration::from_secs(10));
        // How old an entry is that was there before is not known.
        assert_eq!(asked(&mut solicitor, keep, start, 0..25), [0, 10, 20]);
        let needs = [(HOP, keep)].into();
        let (due, next) = solicitor.due(&needs, start + Duration::from_secs(30));
        assert_eq!((due, next), (vec![(HOP, Question::Still)], Some(start + Duration::from_secs(40))));
        // One that is suddenly not there is asked for at once, and an answer to that counts as well.
        assert_eq!(asked(&mut solicitor, Need::Resolve, start, 30..32), [30, 31]);
        assert_eq!(asked(&mut solicitor, keep, start, 32..45), [41]);
    }

    #[test]
    fn the_next_time_is_when_something_is_due() {
        let (mut solicitor, start) = (Solicitor::default(), Instant::now());
        let needs = [(HOP, Need::Resolve)].into();
        let (due, next) = solicitor.due(&needs, start);
        assert_eq!((due, next), (vec![(HOP, Question::Who)], Some(start + Duration::from_secs(1))));
        assert_eq!(solicitor.due(&needs, start), (vec![], next));
        assert_eq!(solicitor.due(&[(HOP, Need::Nothing)].into(), start), (vec![], None));
    }
}
