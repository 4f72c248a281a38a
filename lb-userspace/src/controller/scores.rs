//! Scores: what destinations have to do, counted and measured here and published to the data path, which goes by it until the next
//! time and adds and takes what it sees begin and end itself.
//!
//! ```text
//! least-connections, power-of-two   load = live flows                  score = (load + 1) / weight
//! least-bandwidth                   load = kbit/s, see `Measured`      score = (load + an average flow's) / weight
//! least-response-time               load = live flows                  score = (load + 1) / weight × time to answer
//! ```

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use lb_common::abi::{Score, ScoreTerms};

use super::{Reconciler, inputs};
use crate::{
    config::model::{Backend, SchedulerKind, Service},
    dataplane::{kernel::Loaded, scan::Scan},
    plan::desired::{BackendKey, ServiceKey, backend_key},
};

/// The least time from one publication to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// A scan of the flow table takes one part of this many of the time at most.
const SHARE: u32 = 25;
/// After this time a moving average has taken 63 % of a step.
const MEMORY: Duration = Duration::from_secs(10);
/// How much slower or faster than the average of its service a backend counts at most.
const SLOWEST: f64 = 64.0;

/// What is known of destinations besides the tables, and when it is published next.
#[derive(Debug, Default)]
pub struct Scores {
    next: Option<Instant>,
    before: Option<Instant>,
    measured: HashMap<u32, Measured>,
}

/// Moving averages of a destination.
///
/// An average of bandwidth alone comes too late: new flows would go on to whom it does not show yet that he has them, then stay
/// away from him as long, and long flows would swing between backends for ever. So what begins and ends is expected to change the
/// bandwidth by an average flow's, less and less as the average learns what it is.
#[derive(Debug, Default)]
struct Measured {
    generation: u16,
    bytes: Option<u64>,
    kbit_per_second: f64,
    /// Kilobits a second that are not in the average yet.
    expected: f64,
    /// The load that was published last.
    published: Option<u32>,
    seconds: Option<f64>,
}

impl Measured {
    /// Takes note of the bytes so far, and of the load that the data path has made of the published one. `past` is the time since
    /// the last note, of which `share` goes into the average.
    fn note_bandwidth(&mut self, bytes: u64, load: i64, past: Duration, share: f64) {
        if let Some(before) = self.bytes.replace(bytes) {
            let rate = bytes.saturating_sub(before) as f64 * 8.0 / 1000.0 / past.as_secs_f64();
            self.kbit_per_second += (rate - self.kbit_per_second) * share;
        }
        let changed = self.published.map_or(0, |published| load - i64::from(published));
        self.expected = (self.expected + changed as f64) * (1.0 - share);
        self.published = Some((self.kbit_per_second + self.expected).clamp(0.0, 1e9) as u32);
    }
}

/// A destination with a score.
struct Scored<'a> {
    service: &'a Service,
    key: BackendKey,
    id: u32,
    generation: u16,
    /// As planned.
    terms: ScoreTerms,
}

/// Live flows and load before the flows were counted.
type Before = (i64, i64);

impl Scores {
    /// Has the next [`Self::publish`] not wait.
    pub(super) fn hurry(&mut self) {
        self.next = None;
    }

    /// Publishes what is due at this time: the present, or that of whoever simulates it.
    ///
    /// # Errors
    ///
    /// If clock or counters cannot be read.
    pub fn publish(&mut self, reconciler: &Reconciler, plane: &Loaded, now: Instant) -> Result<()> {
        if self.next.is_some_and(|next| now < next) {
            return Ok(());
        }
        let scored = scored(reconciler);
        if scored.is_empty() {
            *self = Self { next: Some(now + INTERVAL), ..Self::default() };
            return Ok(());
        }
        let past = self.before.replace(now).map(|before| now.duration_since(before));
        self.measured.retain(|id, _| scored.iter().any(|one| one.id == *id));
        let tables = plane.tables();
        let score = |one: &Scored<'_>| &tables.scores[one.id as usize];
        let before: Vec<Before> = scored.iter().map(|one| (score(one).live(), score(one).load())).collect();
        let begun = Instant::now();
        let scan = reconciler.scan(plane)?;
        self.next = Some(now + INTERVAL.max(begun.elapsed() * SHARE));
        for one in &scored {
            self.measure(one, reconciler, plane, past)?;
        }
        let pairs: Vec<_> = scored.iter().zip(before).collect();
        for of_service in pairs.chunk_by(|(one, _), (other, _)| std::ptr::eq(one.service, other.service)) {
            let average = Averages::of(of_service.iter().map(|(one, _)| *one), &self.measured, &scan);
            for (one, before) in of_service {
                let measured = self.measured.get(&one.id);
                average.publish(one, score(one), *before, scan.of(one.id).active, measured);
            }
        }
        // As long as a flow may have several entries, it counts too often: nobody is full then.
        let is_exact = tables.control.flow_buckets_before() == 0;
        tables.control.set_counted(if is_exact { Some(plane.now()?) } else { None });
        Ok(())
    }

    fn measure(
        &mut self,
        one: &Scored<'_>,
        reconciler: &Reconciler,
        plane: &Loaded,
        past: Option<Duration>,
    ) -> Result<()> {
        let kind = one.service.scheduler.kind;
        if !matches!(kind, SchedulerKind::LeastBandwidth | SchedulerKind::LeastResponseTime) {
            return Ok(());
        }
        let measured = self.measured.entry(one.id).or_default();
        if measured.generation != one.generation {
            *measured = Measured { generation: one.generation, ..Measured::default() };
        }
        let past = past.unwrap_or(INTERVAL);
        let share = 1.0 - (-past.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        if kind == SchedulerKind::LeastBandwidth {
            let bytes = plane.destination_counters(one.id)?.forwarded().bytes.get();
            measured.note_bandwidth(bytes, plane.tables().scores[one.id as usize].load(), past, share);
        } else if let Some(seconds) = time_to_answer(reconciler, one) {
            let average = measured.seconds.get_or_insert(seconds);
            *average += (seconds - *average) * share;
        }
        Ok(())
    }
}

/// How long the last probe of a backend took; `None` if it is not probed, or the probe says nothing of time.
fn time_to_answer(reconciler: &Reconciler, one: &Scored<'_>) -> Option<f64> {
    let backend = one.service.backends.iter().find(|backend| backend_key(backend) == one.key)?;
    let (target, _) = inputs::target(one.service, backend)?;
    Some(reconciler.health.get(&target)?.last.as_ref()?.latency()?.as_secs_f64())
}

/// The destinations whose flows count, by service.
fn scored(reconciler: &Reconciler) -> Vec<Scored<'_>> {
    let actual = reconciler.actual();
    let counted = reconciler.services().iter().filter(|service| counts(service));
    let destinations = counted.flat_map(|service| {
        let known = actual.services.get(&ServiceKey::of(service));
        known.into_iter().flat_map(|known| &known.backends).map(move |(key, id)| (&**service, *key, *id))
    });
    destinations
        .filter_map(|(service, key, id)| {
            let found = actual.destinations.get(&id)?;
            Some(Scored { service, key, id, generation: found.state.generation, terms: found.score })
        })
        .collect()
}

/// Whether a service chooses by score, or limits the flows of a backend.
fn counts(service: &Service) -> bool {
    let is_limited = |backend: &Backend| backend.max_connections.unwrap_or(service.max_connections) > 0;
    service.scheduler.kind.pick().is_by_score() || service.backends.iter().any(is_limited)
}

/// Of all destinations of a service.
struct Averages {
    kbit_per_flow: f64,
    seconds: Option<f64>,
}

impl Averages {
    fn of<'a>(
        scored: impl Iterator<Item = &'a Scored<'a>> + Clone,
        measured: &HashMap<u32, Measured>,
        scan: &Scan,
    ) -> Self {
        let flows: u64 = scored.clone().map(|one| scan.of(one.id).active).sum();
        let all = scored.filter_map(|one| measured.get(&one.id));
        let kbit: f64 = all.clone().map(|measured| measured.kbit_per_second).sum();
        let times: Vec<f64> = all.filter_map(|measured| measured.seconds).collect();
        let seconds = (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64);
        Self { kbit_per_flow: kbit / flows.max(1) as f64, seconds }
    }

    fn publish(&self, one: &Scored<'_>, score: &Score, (live, load): Before, flows: u64, measured: Option<&Measured>) {
        let flows = i64::try_from(flows).unwrap_or(i64::MAX);
        score.adjust_live(flows - (live + score.live()) / 2);
        let terms = match (one.service.scheduler.kind, measured) {
            (SchedulerKind::LeastBandwidth, Some(measured)) => {
                score.set_load(measured.published.unwrap_or(0));
                ScoreTerms { step: self.kbit_per_flow.clamp(1.0, 1e9) as u32, ..one.terms }
            }
            (kind, measured) => {
                score.adjust_load(flows - (load + score.load()) / 2);
                match (kind, self.seconds, measured.and_then(|measured| measured.seconds)) {
                    (SchedulerKind::LeastResponseTime, Some(average), Some(own)) => {
                        one.terms.slower((own / average.max(1e-9)).clamp(1.0 / SLOWEST, SLOWEST))
                    }
                    _ => one.terms,
                }
            }
        };
        if score.terms() != terms {
            score.set_terms(terms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_and_ended_while_flows_were_counted_counts_half() {
        let score = Score::default();
        score.set_terms(ScoreTerms::of_weight(1, 1));
        let before = (score.live(), score.load());
        (0..10).for_each(|_| score.begin());
        let service = service();
        let one =
            Scored { service: &service, key: ([192, 0, 2, 1].into(), 80), id: 1, generation: 1, terms: score.terms() };
        let averages = Averages { kbit_per_flow: 0.0, seconds: None };
        averages.publish(&one, &score, before, 100, None);
        assert_eq!((score.live(), score.load()), (105, 105));
    }

    /// Bandwidth of a flow, kbit/s, as much as is expected of it.
    const RATE: u32 = 800;

    #[test]
    fn a_flow_that_begins_counts_at_once_and_never_twice() {
        let (mut measured, second) = (Measured::default(), Duration::from_secs(1));
        let share = 1.0 - (-1.0 / MEMORY.as_secs_f64()).exp();
        let mut bytes = 0;
        measured.note_bandwidth(bytes, 0, second, share);
        let mut begun = i64::from(RATE);
        for second_number in 0..120 {
            bytes += u64::from(RATE) * 1000 / 8;
            let load = i64::from(measured.published.expect("there was a note")) + begun;
            measured.note_bandwidth(bytes, load, second, share);
            begun = 0;
            let published = measured.published.expect("there was a note");
            assert!(published.abs_diff(RATE) <= 1, "{published} after {second_number} s");
        }
        assert!(measured.expected < 1.0, "{measured:?}");
        // It ends, and counts no more, though the average still has it.
        let load = i64::from(RATE) - i64::from(RATE);
        measured.note_bandwidth(bytes, load, second, share);
        assert!(measured.published.is_some_and(|published| published <= 1), "{measured:?}");
        assert!(measured.kbit_per_second > 700.0, "{measured:?}");
    }

    #[test]
    fn a_flow_that_sends_otherwise_than_expected_counts_as_it_sends() {
        let (mut measured, second) = (Measured::default(), Duration::from_secs(1));
        let share = 1.0 - (-1.0 / MEMORY.as_secs_f64()).exp();
        measured.note_bandwidth(0, 0, second, share);
        for seconds in 1..=120_u64 {
            let begun = if seconds == 1 { i64::from(RATE) } else { 0 };
            let load = i64::from(measured.published.expect("there was a note")) + begun;
            measured.note_bandwidth(seconds * 10 * u64::from(RATE) * 1000 / 8, load, second, share);
        }
        assert!(measured.published.is_some_and(|published| published.abs_diff(10 * RATE) <= 10), "{measured:?}");
    }

    fn service() -> Service {
        let text = "version: 1\nnode:\n  interfaces: [eth0]\nservices:\n- {name: s, vip: 192.0.2.9, port: 80, protocol: tcp, \
                    scheduler: least-connections, backends: [192.0.2.1]}\n";
        let config = crate::config::parse(text, "test").expect("a configuration");
        (*config.services[0]).clone()
    }
}
