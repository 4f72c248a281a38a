//! Priorities: servers of the first die and come back, and new connections go where the shares of the groups say.
//!
//! ```text
//! priority 0: b1 b2     priority 1: b3 b4     backup: b5
//! ```

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Attempt, Held, Tally, attempts, connections},
    daemon::Daemon,
    scenario::{Service, backend, configuration, nginx_everywhere, service_status, wait_for_takers},
    servers::{Nginx, nginx, slow},
    topology::{Topology, VIP4},
    wait::{PATIENCE, wait_ok},
};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(VIP4), 80);
/// Of priority 0 with half of its weight, at the default threshold of 70 %.
const HALF: f64 = 0.5 / 0.7;

fn start<'a>(topology: &'a Topology, bpffs: &Bpffs, options: &[&str]) -> Result<Daemon<'a>> {
    let service = options.iter().fold(Service::tcp("web", VIP4.into(), 80, topology), |all, one| all.option(one));
    Daemon::start(topology.balancer(), bpffs, |paths| {
        let text = configuration(paths, topology, &[service]);
        [("b3", "priority: 1"), ("b4", "priority: 1"), ("b5", "backup: true")]
            .iter()
            .fold(text, |text, (name, what)| {
                text.replace(&format!("{{name: {name}, "), &format!("{{name: {name}, {what}, "))
            })
    })
}

/// Each backend's share is within ±3 % of all connections of what it should be.
fn check(tally: &Tally, expected: &[(&str, f64)], what: &str) {
    assert_eq!(tally.failed(), 0, "{what}: {tally:?}");
    for (name, expected) in expected {
        let share = tally.share(name);
        assert!((share - expected).abs() < 0.03, "{what}: {name} has {share:.3}, not {expected:.3}: {tally:?}");
    }
    let sum: f64 = expected.iter().map(|(name, _)| tally.share(name)).sum();
    assert!(sum > 0.9999, "{what}: {tally:?}");
    let shares: Vec<String> = expected.iter().map(|(name, _)| format!("{name} {:.3}", tally.share(name))).collect();
    println!("{what}: {} of {}", shares.join(", "), tally.answered());
}

/// Shares of priority 0, of priority 1 and of the backups in `status`, in percent, and why.
fn groups(daemon: &Daemon<'_>) -> Result<(Vec<f64>, Option<String>)> {
    let status = service_status(daemon, "web")?;
    let groups = status["groups"].as_array().expect("groups").iter();
    let shares = groups.map(|group| group["share_percent"].as_f64().expect("a share")).collect();
    Ok((shares, status["groups_note"].as_str().map(str::to_owned)))
}

/// `status` says so, in lines that fit.
fn check_status(daemon: &Daemon<'_>, expected: &[f64], because: Option<&str>) -> Result<()> {
    let (shares, note) = groups(daemon)?;
    assert_eq!(shares, expected, "{note:?}");
    assert_eq!(note.is_some(), because.is_some(), "{note:?}");
    assert!(note.iter().zip(because).all(|(note, because)| note.contains(because)), "{note:?}");
    let text = daemon.cli_text(&["status"])?;
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains(&format!("priority 0: {:.1}% of ", expected[0])), "{text}");
    Ok(())
}

fn revive(topology: &Topology, servers: &mut [Nginx], index: usize) -> Result<()> {
    let b = &topology.backends()[index];
    servers[index] = nginx(b.namespace(), b.name(), &[80], None)?;
    Ok(())
}

#[test]
fn priorities_take_over_step_by_step_and_give_back() -> Result<()> {
    let topology = Topology::one_nic(5)?;
    let mut servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &["on_no_backend: backup"])?;
    let client = topology.client();
    let tally = |count| connections(client, SERVER, count, 16);

    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    check(&tally(6000)?, &[("b1", 0.5), ("b2", 0.5)], "all up");
    check_status(&daemon, &[100.0, 0.0, 0.0], None)?;
    let mut held = Held::open_many(20, client, SERVER)?;
    held.retain(|held| held.backend() == "b1");
    ensure!(!held.is_empty(), "of 20 connections none is b1's");

    servers[1].kill();
    wait_for_takers(&daemon, "web", &["b1", "b3", "b4"])?;
    let rest = (1.0 - HALF) / 2.0;
    check(&tally(6000)?, &[("b1", HALF), ("b3", rest), ("b4", rest)], "b2 down");
    check_status(&daemon, &[71.4, 28.6, 0.0], Some("less than 70% of priority 0"))?;
    held.iter_mut().try_for_each(Held::check)?;
    let mut lower = Held::open_many(40, client, SERVER)?;
    lower.retain(|held| held.backend() == "b4");
    ensure!(!lower.is_empty(), "of 40 connections none is b4's");

    servers[0].kill();
    wait_for_takers(&daemon, "web", &["b3", "b4"])?;
    check(&tally(6000)?, &[("b3", 0.5), ("b4", 0.5)], "b1 and b2 down");
    lower.iter_mut().try_for_each(Held::check)?;

    servers[2].kill();
    wait_for_takers(&daemon, "web", &["b4"])?;
    check(&tally(500)?, &[("b4", 1.0)], "b1, b2 and b3 down");
    check_status(&daemon, &[0.0, 100.0, 0.0], Some("less than 70% of priority 0"))?;
    lower.iter_mut().try_for_each(Held::check)?;

    servers[3].kill();
    wait_for_takers(&daemon, "web", &["b5"])?;
    check(&tally(500)?, &[("b5", 1.0)], "all but the backup down");
    check_status(&daemon, &[0.0, 0.0, 100.0], Some("no other backend is able"))?;

    // Whatever its probes say, it is better than nobody: `on_no_backend: backup`.
    servers[4].kill();
    wait_ok("the backup is down and takes flows", PATIENCE, || {
        let (shares, note) = groups(&daemon)?;
        let is_sorry = note.as_ref().is_some_and(|note| note.contains("up or down"));
        ensure!(shares == [0.0, 0.0, 100.0] && is_sorry, "{shares:?} {note:?}");
        Ok(())
    })?;
    wait_for_takers(&daemon, "web", &["b5"])?;

    revive(&topology, &mut servers, 0)?;
    wait_for_takers(&daemon, "web", &["b1"])?;
    check(&tally(500)?, &[("b1", 1.0)], "b1 is back alone");
    revive(&topology, &mut servers, 3)?;
    wait_for_takers(&daemon, "web", &["b1", "b4"])?;
    check(&tally(6000)?, &[("b1", HALF), ("b4", 1.0 - HALF)], "b1 and b4 are back, each half of its group");
    let mut held = Held::open_many(20, client, SERVER)?;
    revive(&topology, &mut servers, 1)?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    check(&tally(6000)?, &[("b1", 0.5), ("b2", 0.5)], "b1 and b2 are back");
    check_status(&daemon, &[100.0, 0.0, 0.0], None)?;
    // What the lower group has, it keeps.
    held.iter_mut().try_for_each(Held::check)
}

/// Each backend's part of the time that connections were open: what schedulers by score go by.
fn busy(attempts: &[Attempt], names: &[&str]) -> Vec<f64> {
    let of = |name: &&str| -> f64 {
        let own = attempts.iter().filter(|attempt| attempt.outcome.as_deref() == Ok(*name));
        own.map(|attempt| attempt.ended.duration_since(attempt.started).as_secs_f64()).sum()
    };
    let times: Vec<f64> = names.iter().map(of).collect();
    let all: f64 = times.iter().sum();
    times.into_iter().map(|time| time / all).collect()
}

#[test]
fn live_flows_are_shared_by_priority_with_least_connections() -> Result<()> {
    let topology = Topology::two_nics(5)?;
    let each = ["b1", "b2", "b3", "b4", "b5"].iter();
    let delay = std::time::Duration::from_millis(20);
    let mut servers = each
        .map(|name| slow(backend(&topology, name).namespace(), name, 80, delay).map(Some))
        .collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &["scheduler: least-connections"])?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    let run = |names: &[&str], expected: &[f64], what: &str| -> Result<()> {
        let attempts = attempts(topology.client(), SERVER, 6000, 160)?;
        let tally: Tally = attempts.iter().collect();
        assert_eq!(tally.failed(), 0, "{what}: {tally:?}");
        let parts = busy(&attempts, names);
        println!("least-connections, {what}: busy {names:?} {parts:.3?}");
        for (part, expected) in parts.iter().zip(expected) {
            assert!((part - expected).abs() < 0.03, "{what}: {parts:.3?} instead of {expected:.3?}");
        }
        Ok(())
    };
    run(&["b1", "b2"], &[0.5, 0.5], "all up")?;
    servers[1] = None;
    wait_for_takers(&daemon, "web", &["b1", "b3", "b4"])?;
    let rest = (1.0 - HALF) / 2.0;
    run(&["b1", "b3", "b4"], &[HALF, rest, rest], "b2 down")?;
    check_status(&daemon, &[71.4, 28.6, 0.0], Some("less than 70% of priority 0"))?;
    for index in [0, 2, 3] {
        servers[index] = None;
    }
    wait_for_takers(&daemon, "web", &["b5"])?;
    run(&["b5"], &[1.0], "all but the backup down")?;
    servers[1] = Some(slow(backend(&topology, "b2").namespace(), "b2", 80, delay)?);
    wait_for_takers(&daemon, "web", &["b2"])?;
    run(&["b2"], &[1.0], "b2 is back")
}

/// A server that registers itself says whose turn it is; one that is drained is missing in its group.
#[test]
fn priorities_of_registered_and_drained_backends() -> Result<()> {
    let topology = Topology::one_nic(5)?;
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let service = Service::tcp("web", VIP4.into(), 80, &topology).only(&["b1"]).option("overflow_threshold: 100");
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| configuration(paths, &topology, &[service]))?;
    for (name, priority) in [("b2", "0"), ("b3", "5")] {
        let address = backend(&topology, name).addresses().like(VIP4.into()).to_string();
        let add = ["backend", "add", "web", &address, "--name", name, "--priority", priority];
        daemon.cli_text(&add)?;
        // The same again is no change, another priority is one.
        daemon.cli_text(&add)?;
    }
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    daemon.cli_text(&["backend", "drain", "web", "b2"])?;
    wait_for_takers(&daemon, "web", &["b1", "b3"])?;
    let tally = connections(topology.client(), SERVER, 6000, 16)?;
    check(&tally, &[("b1", 0.5), ("b3", 0.5)], "b2 is drained");
    let address = backend(&topology, "b3").addresses().like(VIP4.into()).to_string();
    let other = daemon.command(&["backend", "add", "web", &address, "--name", "b3", "--priority", "6"])?;
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("priority 5, not 6"), "{said}");
    let wrong = daemon.command(&["backend", "add", "web", "10.9.9.9", "--priority", "1", "--backup"])?;
    assert!(!wrong.status.success(), "{wrong:?}");
    Ok(())
}
