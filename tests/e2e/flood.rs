//! A SYN flood from random sources: 2 000 connections go on, the flow table is not filled, and afterwards all is as before.
//!
//! How long answers take meanwhile is measured by `cargo xtask bench flood`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use anyhow::Result;
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Crowd, SynFlood, connect, connections, who},
    daemon::Daemon,
    scenario::{Service, nginx_everywhere, service_status, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

/// New flows in a second that are remembered.
const THRESHOLD: u64 = 2_000;
/// SYNs that the flood has at least.
const LEAST_SYNS: u64 = 200_000;
/// SYNs of the flood, at most. It ends when every connection was asked.
const SYNS: u64 = 10_000_000;
/// Established connections.
const HELD: usize = 2_000;
/// How many are asked at a time.
const PARALLEL: usize = 8;
/// Connections that are opened in the flood.
const NEWCOMERS: usize = 30;

fn node(daemon: &Daemon<'_>) -> Result<serde_json::Value> {
    Ok(daemon.cli(&["--json", "status"])?["node"].clone())
}

fn entries(daemon: &Daemon<'_>) -> Result<u64> {
    Ok(node(daemon)?["flow_entries_used"].as_u64().expect("a number"))
}

fn check(topology: &Topology, vip: IpAddr, scheduler: &str) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80], None)?;
    let limits = format!("limits: {{flood: {THRESHOLD}}}");
    let options = ["probe: none", &limits, &format!("scheduler: {scheduler}")];
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, &[Service::tcp("web", vip, 80, topology).options(&options)])?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])?;
    let (client, server) = (topology.client(), SocketAddr::new(vip, 80));
    let mut crowd = Crowd::open(client, server, HELD, PARALLEL)?;
    let before = entries(&daemon)?;
    assert!(before >= HELD as u64, "{before} entries");

    let begun = Instant::now();
    let flood = SynFlood::start(client, server, SYNS);
    wait_until("the flood runs", PATIENCE, || flood.sent() >= 5_000)?;
    let asked = crowd.ask_while(|| flood.sent() < LEAST_SYNS && !flood.ended());
    assert!(asked.broken.is_empty(), "{} of {HELD} broke: {:?}", asked.broken.len(), asked.broken);
    for _ in 0..NEWCOMERS {
        // Whoever is no attacker is served, if not remembered.
        let mut stream = connect(client, None, server)?.expect("a connection in the flood");
        who(&mut stream)?;
    }
    assert!(!flood.ended(), "the flood was over before every connection was asked");
    let sent = flood.stop()?;
    let (after, seconds) = (entries(&daemon)?, begun.elapsed().as_secs() + 1);
    // A burst and what comes back: once for SYNs, and once for what follows them.
    let most = before + 2 * THRESHOLD * (seconds + 1);
    assert!(after <= most && most < sent / 4, "{after} entries, {most} at most, {sent} SYNs");
    let forgotten = node(&daemon)?["counters"]["flows_forgotten"].as_u64().expect("a counter");
    assert!(forgotten >= sent - most, "{forgotten} of {sent}");
    assert_eq!(service_status(&daemon, "web")?["limits"]["refused"]["forgotten"], forgotten);
    assert!(daemon.cli_text(&["status"])?.contains("in a flood, by hash and not remembered"));

    let afterwards = crowd.ask_while(|| false);
    assert!(afterwards.broken.is_empty() && crowd.len() == HELD, "after the flood: {:?}", afterwards.broken);
    // New flows are remembered again.
    wait_until("a new connection is remembered", PATIENCE, || {
        let created = |daemon: &Daemon<'_>| node(daemon).map(|node| node["counters"]["flows_created"].as_u64());
        let before = created(&daemon);
        let stream = connect(client, None, server);
        matches!(stream, Ok(Ok(_))) && before.is_ok_and(|before| created(&daemon).is_ok_and(|now| now > before))
    })?;
    let tally = connections(client, server, 100, 1)?;
    assert_eq!(tally.failed(), 0, "{tally:?}");
    println!(
        "{vip}, {scheduler}: {sent} SYNs of a flood, {forgotten} not remembered, {before} entries became {after}; {} \
         requests on {HELD} connections, 0 broken",
        asked.times.len()
    );
    Ok(())
}

#[test]
fn a_flood_breaks_nothing() -> Result<()> {
    check(&Topology::one_nic(3)?, VIP4.into(), "maglev")
}

#[test]
fn a_flood_breaks_nothing_over_ipv6_with_least_connections() -> Result<()> {
    check(&Topology::two_nics(3)?, VIP6.into(), "least-connections")
}
