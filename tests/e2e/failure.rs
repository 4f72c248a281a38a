//! A backend dies under load: new connections avoid it in time, connections to the others do not notice.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::Result;
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Attempt, Download, DownloadReport, Load, Tally, connections},
    content::Content,
    scenario::{Service, nginx_everywhere, start, wait_for_takers},
    servers::nginx,
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

/// fall × interval + time-out of `QUICK_PROBE`, and what detection may take beyond them.
const DETECTION: Duration = Duration::from_millis(3 * 200 + 150 + 500);
const SIZE: usize = 4_000_000;
/// Bytes per second: a download takes about 4 s.
const RATE: u64 = 1_000_000;

/// Downloads of `b1` are cut with it; all others must be whole.
fn check_downloads(reports: &[DownloadReport]) -> usize {
    let others: Vec<_> = reports.iter().filter(|report| report.backend.as_deref() != Some("b1")).collect();
    for report in &others {
        assert_eq!((report.received, &report.outcome), (SIZE as u64, &Ok(())), "{report:?}");
    }
    others.len()
}

/// Connections that started once the failure must have been noticed.
fn check_late(attempts: &[Attempt], killed: Instant) -> u64 {
    let late: Tally = attempts.iter().filter(|attempt| attempt.started > killed + DETECTION).collect();
    assert_eq!((late.failed(), late.of("b1")), (0, 0), "{late:?}");
    assert!(late.answered() >= 900, "{late:?}");
    late.answered()
}

fn check_failure(topology: &Topology, vip: IpAddr) -> Result<()> {
    let content = Content::generate(1, SIZE);
    let mut servers = nginx_everywhere(topology, &[80], Some(&content))?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, &[Service::tcp("web", vip, 80, topology)])?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])?;
    let (client, server) = (topology.client(), SocketAddr::new(vip, 80));
    let downloads = Download::start_many(12, client, server, &content, Some(RATE));
    wait_until("all downloads have begun", PATIENCE, || downloads.iter().all(|download| download.received() > 0))?;
    let load = Load::start(client, server, 4);
    wait_until("the load runs", PATIENCE, || load.completed() >= 500)?;

    let killed = Instant::now();
    servers[0].kill();
    wait_until("the failure must have been noticed", PATIENCE, || killed.elapsed() > DETECTION)?;
    let before = load.completed();
    wait_until("1000 more have ended", PATIENCE, || load.completed() >= before + 1000)?;
    let late = check_late(&load.stop()?, killed);
    wait_for_takers(&daemon, "web", &["b2", "b3"])?;
    let reports = downloads.into_iter().map(Download::finish).collect::<Result<Vec<_>>>()?;
    let whole = check_downloads(&reports);
    assert!(whole > 0, "{reports:?}");

    let b1 = &topology.backends()[0];
    servers[0] = nginx(b1.namespace(), b1.name(), &[80], None)?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])?;
    let tally = connections(client, server, 900, 8)?;
    assert!(tally.failed() == 0 && tally.of("b1") > 200, "{tally:?}");
    println!(
        "{vip}: b1 killed: none of {late} connections begun {DETECTION:?} later failed, {whole} downloads from others \
         were whole; b1 came back and got {} of 900",
        tally.of("b1")
    );
    Ok(())
}

#[test]
fn a_killed_backend_is_avoided_in_time() -> Result<()> {
    check_failure(&Topology::one_nic(3)?, VIP4.into())
}

#[test]
fn a_killed_backend_is_avoided_in_time_over_ipv6_and_two_nics() -> Result<()> {
    check_failure(&Topology::two_nics(3)?, VIP6.into())
}
