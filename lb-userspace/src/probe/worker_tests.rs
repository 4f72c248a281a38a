//! The worker in virtual time, with a script in the place of the network.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, advance, sleep, timeout, timeout_at},
};

use super::{HealthView, Prober, Target, TargetHealth, check::Check, schedule::TOGETHER, trouble::Trouble};
use crate::{
    config::model::{Initial, Probe, ProbeKind},
    health::{Advice, LastResult, Status},
};

const INTERVAL: Duration = Duration::from_secs(2);
/// Between two starts: one of them may be so much early, and the timer counts milliseconds.
const SLACK: Duration = Duration::from_millis(1).saturating_add(TOGETHER);

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Accept,
    Weight(u8),
    Refuse,
    Silence,
    OutOfFiles,
    Panic,
}

/// What a port answers (accept if nothing was said), and when it was tried.
type Port = (Option<Answer>, Vec<Instant>);

/// A network in which every port answers as it was told.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<BTreeMap<u16, Port>>>);

impl Script {
    fn set(&self, port: u16, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(port).or_default().0 = Some(answer);
    }

    fn tries(&self, port: u16) -> Vec<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&port).map(|seen| seen.1.clone()).unwrap_or_default()
    }
}

impl Check for Script {
    async fn check(&self, target: &Target) -> Result<Advice, Trouble> {
        let answer = {
            let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = ports.entry(target.port).or_default();
            seen.1.push(Instant::now());
            seen.0.unwrap_or(Answer::Accept)
        };
        match answer {
            Answer::Accept => Ok(Advice::default()),
            Answer::Weight(percent) => Ok(Advice { weight_percent: Some(percent), wants: None }),
            Answer::Refuse => Err(io::Error::from_raw_os_error(libc::ECONNREFUSED).into()),
            Answer::OutOfFiles => Err(io::Error::from_raw_os_error(libc::EMFILE).into()),
            Answer::Silence => std::future::pending().await,
            Answer::Panic => panic!("a probe with a defect"),
        }
    }
}

fn target(port: u16) -> Target {
    Target::tcp(Ipv4Addr::LOCALHOST.into(), port)
}

fn probe() -> Probe {
    Probe {
        kind: ProbeKind::Tcp,
        interval: INTERVAL,
        fast_interval: INTERVAL,
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 3,
        port: None,
        source: None,
        initial: Initial::Down,
        damping: None,
        via: Default::default(),
    }
}

fn targets(ports: &[u16]) -> BTreeMap<Target, Probe> {
    ports.iter().map(|&port| (target(port), probe())).collect()
}

async fn until(
    view: &mut watch::Receiver<HealthView>,
    port: u16,
    want: impl Fn(&TargetHealth) -> bool,
) -> TargetHealth {
    // Virtual time runs on while nothing happens: an hour of it ends what would never end.
    let wanted = view.wait_for(|view| view.get(&target(port)).is_some_and(|health| want(health)));
    let view = timeout(Duration::from_secs(3600), wanted).await.expect("it never came to that").unwrap();
    TargetHealth::clone(&view[&target(port)])
}

/// A reload with other options of a probe makes another target of the same server.
#[tokio::test(start_paused = true)]
async fn another_probe_takes_over_what_is_known() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    prober.set_targets(targets(&[1]));
    let known = until(&mut view, 1, |health| health.status == Status::Up).await;
    script.set(1, Answer::Refuse);
    let other = Target { kind: ProbeKind::Icmp, ..target(1) };
    prober.set_targets([(other.clone(), probe())].into());
    let wanted = view.wait_for(|view| view.contains_key(&other));
    let health = timeout(Duration::from_secs(3600), wanted).await.expect("it is published").unwrap()[&other].clone();
    assert_eq!((health.status, health.eligible, health.since), (Status::Up, true, known.since));
    assert!(health.progress.failures <= 1 && health.progress.successes == 0, "{:?}", health.progress);
    let wanted = view.wait_for(|view| view.get(&other).is_some_and(|health| health.status == Status::Down));
    timeout(Duration::from_secs(3600), wanted).await.expect("it goes by its own results").unwrap();
    assert!(script.tries(1).len() > 3);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_is_made_again() {
    let script = Script::default();
    script.set(1, Answer::Panic);
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    prober.set_targets(targets(&[1]));
    let health = until(&mut view, 1, |health| health.last.is_some()).await;
    assert_eq!(health.last.as_ref().and_then(LastResult::error), Some("cannot probe: a defect, see the log"));
    script.set(1, Answer::Accept);
    until(&mut view, 1, |health| health.status == Status::Up).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_target_goes_down_in_fall_intervals_and_a_timeout() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    prober.set_targets(targets(&[1]));
    until(&mut view, 1, |health| health.status == Status::Up && health.eligible).await;

    script.set(1, Answer::Silence);
    let died = Instant::now();
    let health = until(&mut view, 1, |health| health.status == Status::Down).await;
    assert!(died.elapsed() <= 3 * INTERVAL + probe().timeout, "{:?}", died.elapsed());
    assert_eq!(health.reason, "3 failures in a row: timed out after 1 s");
    assert!(!health.eligible);

    script.set(1, Answer::Accept);
    until(&mut view, 1, |health| health.status == Status::Up).await;
}

#[tokio::test(start_paused = true)]
async fn starts_are_between_90_and_100_percent_of_the_interval_apart() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let started = Instant::now();
    prober.set_targets(targets(&[1]));
    sleep(50 * INTERVAL).await;
    let tries = script.tries(1);
    assert!(tries[0] - started <= Duration::from_millis(101));
    let (least, most) = (INTERVAL.mul_f64(0.9), INTERVAL + SLACK);
    assert!(tries[1] - tries[0] <= most, "{:?}", tries[1] - tries[0]);
    for pair in tries[1..].windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap + SLACK >= least && gap <= most, "{gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn starts_of_many_lie_all_over_the_interval() {
    const COUNT: u16 = 10_000;
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let started = Instant::now();
    prober.set_targets(targets(&(1..=COUNT).collect::<Vec<_>>()));
    sleep(8 * INTERVAL).await;
    let mut windows = BTreeMap::<u128, u32>::new();
    for at in (1..=COUNT).flat_map(|port| script.tries(port)) {
        *windows.entry((at - started).as_millis() / 100).or_default() += 1;
    }
    // 10 000 in 2 s less half of the jitter are 526 in 100 ms; the first second has the first probes besides.
    let (first, last) = (20, *windows.keys().last().unwrap());
    let calm: Vec<u32> = windows.range(first..last).map(|(_, count)| *count).collect();
    assert!(calm.len() > 100 && calm.iter().all(|count| (300..800).contains(count)), "{calm:?}");
    assert!(windows.values().all(|count| *count < 2500), "{windows:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_standstill_starts_lie_where_they_did() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let ports: Vec<u16> = (1..=1000).collect();
    prober.set_targets(targets(&ports));
    sleep(4 * INTERVAL).await;
    advance(50 * INTERVAL).await;
    sleep(INTERVAL).await;
    let woken = Instant::now();
    sleep(4 * INTERVAL).await;
    let mut windows = BTreeMap::<u128, u32>::new();
    let late = ports.iter().flat_map(|port| script.tries(*port)).filter(|at| *at >= woken);
    late.for_each(|at| *windows.entry((at - woken).as_millis() / 200).or_default() += 1);
    windows.pop_last();
    assert!(windows.len() > 30 && windows.values().all(|count| (50..200).contains(count)), "{windows:?}");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_silent_targets_take_no_turn_of_others() {
    let script = Script::default();
    (1..=1000).for_each(|port| script.set(port, Answer::Silence));
    let prober = Prober::with(script.clone());
    prober.set_targets(targets(&(1..=1010).collect::<Vec<_>>()));
    sleep(10 * INTERVAL).await;
    for port in 1001..=1010 {
        let tries = script.tries(port);
        assert!(tries.len() >= 10, "{port} was tried {} times", tries.len());
        let longest = tries.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest <= Some(INTERVAL + SLACK), "{longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_target_does_not_delay_others() {
    let script = Script::default();
    for port in 1..=50 {
        script.set(port, Answer::Silence);
    }
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    let started = Instant::now();
    prober.set_targets(targets(&(1..=51).collect::<Vec<_>>()));
    until(&mut view, 51, |health| health.status == Status::Up).await;
    assert!(started.elapsed() <= Duration::from_millis(101), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_retimed_target_keeps_its_state_and_follows_the_new_times() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    prober.set_targets(targets(&[1]));
    let before = until(&mut view, 1, |health| health.status == Status::Up).await;

    let fast = Probe { interval: Duration::from_millis(200), fall: 7, ..probe() };
    prober.set_targets([(target(1), fast)].into());
    let after = until(&mut view, 1, |health| health.progress.fall == 7).await;
    assert_eq!((after.status, after.since), (Status::Up, before.since));
    let tried = script.tries(1).len();
    sleep(INTERVAL).await;
    assert!(script.tries(1).len() >= tried + 9, "{} after {tried}", script.tries(1).len());
}

#[tokio::test(start_paused = true)]
async fn a_removed_target_is_no_longer_probed_and_comes_back_unknown() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    prober.set_targets(targets(&[1, 2]));
    until(&mut view, 1, |health| health.status == Status::Up).await;
    script.set(1, Answer::Silence);
    let tries = script.tries(1).len();
    // Away with it in the middle of a probe.
    while script.tries(1).len() == tries {
        advance(Duration::from_millis(10)).await;
        tokio::task::yield_now().await;
    }
    prober.set_targets(targets(&[2]));
    view.wait_for(|view| !view.contains_key(&target(1))).await.unwrap();
    let tries = script.tries(1).len();
    sleep(5 * INTERVAL).await;
    assert_eq!(script.tries(1).len(), tries);

    prober.set_targets(targets(&[1, 2]));
    let health = until(&mut view, 1, |_| true).await;
    assert_eq!((health.status, health.last), (Status::Unknown, None));
    // Results are shown together, so the first may not be shown by itself.
    until(&mut view, 1, |health| health.progress.failures >= 1).await;
}

#[tokio::test(start_paused = true)]
async fn lack_of_descriptors_takes_nothing_down() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    prober.set_targets(targets(&[1]));
    until(&mut view, 1, |health| health.status == Status::Up).await;
    script.set(1, Answer::OutOfFiles);
    sleep(10 * INTERVAL).await;
    let health = until(&mut view, 1, |health| health.last.as_ref().and_then(LastResult::error).is_some()).await;
    assert_eq!(health.status, Status::Up);
    assert_eq!(health.last.unwrap().error(), Some("cannot probe: too many open files"));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_shown_at_once_and_equal_results_are_collected() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    let ports: Vec<u16> = (1..=200).collect();
    prober.set_targets(targets(&ports));
    view.wait_for(|view| view.len() == 200 && view.values().all(|health| health.eligible)).await.unwrap();

    let (mut wakes, end) = (0, Instant::now() + 10 * INTERVAL);
    while timeout_at(end, view.changed()).await.is_ok() {
        wakes += 1;
    }
    assert!(wakes <= 21, "20 s hold 20 windows of 1 s, but readers were woken {wakes} times");

    script.set(7, Answer::Refuse);
    until(&mut view, 7, |health| health.status == Status::Down).await;
    assert_eq!(script.tries(7).last(), Some(&Instant::now()), "shown when the third probe failed, not later");
}

#[tokio::test(start_paused = true)]
async fn probing_ends_with_the_prober() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    prober.set_targets(targets(&[1]));
    until(&mut view, 1, |health| health.status == Status::Up).await;
    drop(prober);
    while view.changed().await.is_ok() {}
    let tries = script.tries(1).len();
    sleep(5 * INTERVAL).await;
    assert_eq!(script.tries(1).len(), tries);
}

#[tokio::test(start_paused = true)]
async fn while_the_health_changes_probes_come_faster() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    let fast_interval = Duration::from_millis(200);
    prober.set_targets([(target(1), Probe { fast_interval, ..probe() })].into());
    until(&mut view, 1, |health| health.status == Status::Up).await;
    sleep(5 * INTERVAL).await;

    script.set(1, Answer::Refuse);
    until(&mut view, 1, |health| health.status == Status::Down).await;
    let tries = script.tries(1);
    let gaps: Vec<Duration> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (calm, changing) = gaps.split_at(gaps.len() - 2);
    let tick = SLACK;
    assert!(calm[1..].iter().all(|gap| *gap + tick >= INTERVAL.mul_f64(0.9)), "{gaps:?}");
    assert!(changing.iter().all(|gap| *gap <= fast_interval + tick), "{gaps:?}");

    let down = *tries.last().unwrap();
    sleep(2 * INTERVAL).await;
    let next = script.tries(1).into_iter().find(|at| *at > down).unwrap();
    assert!(next - down + tick >= INTERVAL.mul_f64(0.9), "down for good: {:?}", next - down);
}

#[tokio::test(start_paused = true)]
async fn what_a_target_says_of_itself_is_shown_at_once() {
    let script = Script::default();
    let prober = Prober::with(script.clone());
    let mut view = prober.subscribe();
    prober.set_targets(targets(&[1]));
    until(&mut view, 1, |health| health.status == Status::Up).await;
    script.set(1, Answer::Weight(30));
    let health = until(&mut view, 1, |health| health.advice.weight_percent == Some(30)).await;
    assert_eq!(script.tries(1).last(), Some(&Instant::now()), "when it was said, not later");
    assert_eq!(health.history.len(), 1, "which is no change of health");
}
