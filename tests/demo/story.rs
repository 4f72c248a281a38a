//! The steps of the demo, in their order. Each does something to the balancer, shows what comes of it and judges it.

use std::time::{Duration, Instant};

use anyhow::Result;
use evenkeel_tests::{
    clients::{Attempt, Download},
    content::Content,
    scenario::backend,
    servers::{Nginx, nginx},
    topology::Topology,
};

use crate::{
    PORT, SERVICE, VIP,
    stage::Stage,
    verdict::{self, Change, ENOUGH, Finding},
};

/// How many steps there are.
pub(crate) const STEPS: u32 = 5;

/// The probe of the service, in the configuration's words and in ours.
pub(crate) const PROBE: &str = "probe: {type: tcp, interval: 500ms, timeout: 500ms, rise: 2, fall: 3}";
/// fall × interval + timeout.
const DOWN_BOUND: Duration = Duration::from_millis(3 * 500 + 500);
/// rise × interval + timeout.
const UP_BOUND: Duration = Duration::from_millis(2 * 500 + 500);
/// An operator's command is applied before it returns. What is left is for the next connection to come.
const COMMAND_BOUND: Duration = Duration::from_secs(1);

/// The backend that dies, and its place in the list.
const VICTIM: (&str, usize) = ("b2", 1);
/// The longest that the first step counts connections, on a machine too busy for [`ENOUGH`] in less.
const COUNTING: Duration = Duration::from_secs(25);
/// How long a result is looked at, so that it can be seen.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes of the download, and how many it gets a second: it takes six.
pub(crate) const DOWNLOAD: (usize, u64) = (3_000_000, 500_000);

/// What the demo is about.
#[derive(Debug)]
pub(crate) struct Cast<'a> {
    /// The network.
    pub(crate) topology: &'a Topology,
    /// The servers, one a backend.
    pub(crate) servers: &'a mut [Nginx],
    /// Names and weights of the backends.
    pub(crate) weights: &'a [(String, u16)],
    /// What can be downloaded.
    pub(crate) content: &'a Content,
}

/// Plays all steps.
///
/// # Errors
/// When something breaks, or the demo is interrupted; what was not as it should be is in the findings.
pub(crate) fn play(stage: &mut Stage<'_>, cast: &mut Cast<'_>) -> Result<Vec<Finding>> {
    let began = Instant::now();
    let mut findings = spread(stage, cast)?;
    let (death, left) = die(stage, cast)?;
    findings.extend(left);
    findings.extend(come_back(stage, cast)?);
    let (drained, avoided) = drain(stage, cast)?;
    findings.extend(avoided);
    findings.extend(enable(stage, &drained)?);
    let all_in_all = [verdict::no_other_errors(&stage.traffic.since(began), death)];
    stage.screen.say("")?;
    stage.report(&all_in_all)?;
    findings.extend(all_in_all);
    Ok(findings)
}

fn spread(stage: &mut Stage<'_>, cast: &Cast<'_>) -> Result<Vec<Finding>> {
    stage.announce(1, "New connections are spread by weight.")?;
    let began = Instant::now();
    let traffic = stage.traffic;
    stage.watch(|| traffic.since(began).len() as u64 >= ENOUGH || began.elapsed() > COUNTING)?;
    let attempts = traffic.since(began);
    let mut findings = vec![verdict::without_errors(&attempts)];
    findings.extend(verdict::shares(&attempts, cast.weights));
    stage.report(&findings)?;
    Ok(findings)
}

fn die(stage: &mut Stage<'_>, cast: &mut Cast<'_>) -> Result<(Change<'static>, Vec<Finding>)> {
    let (name, index) = VICTIM;
    stage.announce(2, &format!("{name}'s nginx is killed (probes: every 500 ms, 3 failures take it down)."))?;
    let death = Change { backend: name, at: Instant::now(), bound: DOWN_BOUND };
    cast.servers[index].kill();
    stage.watch_until(death.at + DOWN_BOUND + LOOK)?;
    let findings = verdict::leaves(&ended_since(stage, death.at), death);
    stage.report(&findings)?;
    Ok((death, findings))
}

fn come_back(stage: &mut Stage<'_>, cast: &mut Cast<'_>) -> Result<Vec<Finding>> {
    let (name, index) = VICTIM;
    stage.announce(3, &format!("{name}'s nginx is started again (2 successes bring it up)."))?;
    let began = Instant::now();
    let namespace = backend(cast.topology, name).namespace();
    cast.servers[index] = nginx(namespace, name, &[PORT], Some(cast.content))?;
    let up = Change { backend: name, at: Instant::now(), bound: UP_BOUND };
    stage.watch_until(up.at + UP_BOUND + LOOK)?;
    let attempts = stage.traffic.since(began);
    let findings = vec![verdict::returns(&attempts, up), verdict::without_errors(&attempts)];
    stage.report(&findings)?;
    Ok(findings)
}

fn drain(stage: &mut Stage<'_>, cast: &Cast<'_>) -> Result<(String, Vec<Finding>)> {
    let (size, rate) = DOWNLOAD;
    let download = Download::start(cast.topology.client(), VIP, cast.content, Some(rate));
    stage.watch(|| download.backend().is_some() || download.ended())?;
    // A download that nobody answers is judged below like one that breaks.
    let name = download.backend().unwrap_or(VICTIM.0).to_owned();
    stage.announce(4, &format!("{name} is drained while a long download goes on through it."))?;
    stage.daemon.cli_text(&["backend", "drain", SERVICE, &name])?;
    let (drained, before) = (Instant::now(), download.received());
    stage.watch(|| download.ended())?;
    stage.watch_until(drained + LOOK)?;
    let attempts = stage.traffic.since(drained);
    let findings = vec![
        verdict::completed(&download.finish()?, &name, size as u64, before),
        verdict::avoided(&attempts, &name),
        verdict::without_errors(&attempts),
    ];
    stage.report(&findings)?;
    Ok((name, findings))
}

fn enable(stage: &mut Stage<'_>, name: &str) -> Result<Vec<Finding>> {
    stage.announce(5, &format!("{name} is enabled again."))?;
    stage.daemon.cli_text(&["backend", "enable", SERVICE, name])?;
    let enabled = Change { backend: name, at: Instant::now(), bound: COMMAND_BOUND };
    stage.watch_until(enabled.at + COMMAND_BOUND + LOOK)?;
    let attempts = stage.traffic.since(enabled.at);
    let findings = vec![verdict::returns(&attempts, enabled), verdict::without_errors(&attempts)];
    stage.report(&findings)?;
    Ok(findings)
}

/// Connections that were open at a moment or opened later.
fn ended_since(stage: &Stage<'_>, moment: Instant) -> Vec<Attempt> {
    let mut attempts = stage.traffic.since(moment.checked_sub(COUNTING).unwrap_or(moment));
    attempts.retain(|attempt| attempt.ended >= moment);
    attempts
}
