//! Draining: present downloads finish, nothing new arrives, and `status` says when it is over.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use anyhow::Result;
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Download, Load, Tally, connections},
    content::Content,
    scenario::{Service, backend_status, nginx_everywhere, start, wait_for_backend, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

const SIZE: usize = 3_000_000;
/// Bytes per second: a download takes about 3 s.
const RATE: u64 = 1_000_000;

fn check_drain(topology: &Topology, vip: IpAddr) -> Result<()> {
    let content = Content::generate(1, SIZE);
    let _servers = nginx_everywhere(topology, &[80], Some(&content))?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, &[Service::tcp("web", vip, 80, topology)])?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])?;
    let (client, server) = (topology.client(), SocketAddr::new(vip, 80));
    let downloads = Download::start_many(12, client, server, &content, Some(RATE));
    wait_until("all downloads have begun", PATIENCE, || downloads.iter().all(|download| download.received() > 0))?;
    let from_b1 = downloads.iter().filter(|download| download.backend() == Some("b1")).count();
    assert!(from_b1 > 0, "none of 12 downloads is b1's");
    let load = Load::start(client, server, 4);
    wait_until("the load runs", PATIENCE, || load.completed() >= 300)?;

    daemon.cli_text(&["backend", "drain", "web", "b1"])?;
    let drained = Instant::now();
    let status = backend_status(&daemon, "web", "b1")?;
    assert_eq!((&status["admin_state"], &status["drain"]["empty"]), (&"draining".into(), &false.into()), "{status}");
    assert!(daemon.cli_text(&["status"])?.contains("draining"));
    let before = load.completed();
    wait_until("1000 more have ended", PATIENCE, || load.completed() >= before + 1000)?;
    let attempts = load.stop()?;
    let all: Tally = attempts.iter().collect();
    let late: Tally = attempts.iter().filter(|attempt| attempt.started > drained).collect();
    assert_eq!((all.failed(), late.of("b1")), (0, 0), "{late:?}, of all {all:?}");
    for download in downloads {
        let report = download.finish()?;
        assert_eq!((report.received, &report.outcome), (SIZE as u64, &Ok(())), "{report:?}");
    }
    wait_for_backend(&daemon, "web", "b1", "is empty", |status| status["drain"]["empty"] == true)?;
    assert!(daemon.cli_text(&["status"])?.contains("b1: drained: no flow is left"));

    daemon.cli_text(&["backend", "enable", "web", "b1"])?;
    assert!(backend_status(&daemon, "web", "b1")?["drain"].is_null());
    let tally = connections(client, server, 600, 8)?;
    assert!(tally.failed() == 0 && tally.of("b1") > 100, "{tally:?}");
    println!(
        "{vip}: b1 drained: its {from_b1} downloads were whole, none of {} new connections came to it, then it was \
         empty; enabled, it got {} of 600",
        late.answered(),
        tally.of("b1")
    );
    Ok(())
}

#[test]
fn a_drained_backend_finishes_and_gets_nothing_new() -> Result<()> {
    check_drain(&Topology::one_nic(3)?, VIP4.into())
}

#[test]
fn a_drained_backend_finishes_over_ipv6_and_two_nics() -> Result<()> {
    check_drain(&Topology::two_nics(3)?, VIP6.into())
}
