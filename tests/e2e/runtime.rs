//! Changes at run time: backends are added, weighted and removed, and a restart keeps that.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Download, Load, Tally, connections},
    content::Content,
    daemon::Daemon,
    namespace::Namespace,
    scenario::{
        Service, backend, backend_status, nginx_everywhere, service_status, start, wait_for_backend, wait_for_takers,
    },
    servers::nginx,
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

const SIZE: usize = 3_000_000;
/// Bytes per second: a download takes about 3 s.
const RATE: u64 = 1_000_000;

/// A download that comes from this backend; others are given up.
fn download_from(client: &Namespace, server: SocketAddr, content: &Content, name: &str) -> Result<Download> {
    for _ in 0..200 {
        let download = Download::start(client, server, content, Some(RATE));
        wait_until("it has begun", PATIENCE, || download.received() > 0)?;
        if download.backend() == Some(name) {
            return Ok(download);
        }
    }
    anyhow::bail!("none of 200 downloads came from {name}")
}

fn check_add_and_remove(topology: &Topology, vip: IpAddr) -> Result<()> {
    let content = Content::generate(1, SIZE);
    let mut servers = nginx_everywhere(topology, &[80], Some(&content))?;
    servers.pop().context("four servers")?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, &[Service::tcp("web", vip, 80, topology).only(&["b1", "b2", "b3"])])?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])?;
    let (client, server) = (topology.client(), SocketAddr::new(vip, 80));
    let downloads = Download::start_many(9, client, server, &content, Some(RATE));
    wait_until("all downloads have begun", PATIENCE, || downloads.iter().all(|download| download.received() > 0))?;
    let load = Load::start(client, server, 4);

    let added = backend(topology, "b4");
    let address = added.addresses().like(vip).to_string();
    daemon.cli_text(&["backend", "add", "web", &address, "--name", "b4"])?;
    assert!(daemon.cli_text(&["backend", "add", "web", &address]).is_err(), "what is there already cannot be added");
    wait_for_backend(&daemon, "web", "b4", "its probe fails", |status| status["last_probe"]["error"].is_string())?;
    let status = backend_status(&daemon, "web", "b4")?;
    assert_eq!((&status["takes_flows"], &status["origin"]), (&false.into(), &"runtime".into()), "{status}");
    let _b4 = nginx(added.namespace(), "b4", &[80], Some(&content))?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3", "b4"])?;
    let before = load.completed();
    wait_until("1000 more have ended", PATIENCE, || load.completed() >= before + 1000)?;
    let tally: Tally = load.stop()?.iter().collect();
    assert!(tally.failed() == 0 && tally.of("b4") > 100, "{tally:?}");
    for download in downloads {
        let report = download.finish()?;
        assert_eq!((report.received, &report.outcome), (SIZE as u64, &Ok(())), "{report:?}");
    }

    let last = download_from(client, server, &content, "b4")?;
    daemon.cli_text(&["backend", "remove", "web", "b4"])?;
    assert_eq!(backend_status(&daemon, "web", "b4")?["leaving"], true);
    let tally = connections(client, server, 300, 8)?;
    assert_eq!((tally.failed(), tally.of("b4")), (0, 0), "{tally:?}");
    let report = last.finish()?;
    assert_eq!((report.received, &report.outcome), (SIZE as u64, &Ok(())), "{report:?}");
    wait_until("b4 has left", PATIENCE, || backend_status(&daemon, "web", "b4").is_err())?;
    removed_at_once(&daemon, client, server, &content)?;
    println!("{vip}: b4 added without harm to 9 downloads, removed after its last one; b3 removed at once was cut off");
    Ok(())
}

/// Without a drain the flows move to others, which know nothing of them.
fn removed_at_once(daemon: &Daemon<'_>, client: &Namespace, server: SocketAddr, content: &Content) -> Result<()> {
    let cut = download_from(client, server, content, "b3")?;
    daemon.cli_text(&["backend", "remove", "web", "b3", "--now"])?;
    wait_until("b3 has left", PATIENCE, || backend_status(daemon, "web", "b3").is_err())?;
    let report = cut.finish()?;
    assert!(report.outcome.is_err(), "{report:?}");
    let tally = connections(client, server, 300, 8)?;
    assert_eq!((tally.failed(), tally.of("b3")), (0, 0), "{tally:?}");
    Ok(())
}

#[test]
fn backends_are_added_and_removed() -> Result<()> {
    check_add_and_remove(&Topology::two_nics(4)?, VIP4.into())
}

/// Slots by backend, which must follow the weights to one slot.
fn check_slots(daemon: &Daemon<'_>, weights: &[(&str, u64)]) -> Result<()> {
    let status = service_status(daemon, "web")?;
    let size = status["slots"].as_u64().context("slots")?;
    let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
    for (name, weight) in weights {
        let slots = backend_status(daemon, "web", name)?["slots"].as_u64().context("slots")?;
        assert!((slots * sum).abs_diff(weight * size) <= sum, "{name} has {slots} of {size} slots: {status}");
    }
    Ok(())
}

/// What was changed, as `status` tells it.
fn check_marks(daemon: &Daemon<'_>, text: &str) -> Result<()> {
    check_slots(daemon, &[("b1", 3), ("b2", 0), ("b4", 2)])?;
    let b = |name| backend_status(daemon, "web", name);
    let [b1, b2, b4] = [b("b1")?, b("b2")?, b("b4")?];
    assert_eq!((&b1["weight"], &b1["runtime_changes"]), (&3.into(), &serde_json::json!(["weight"])), "{b1}");
    assert_eq!((&b2["admin_state"], &b2["runtime_changes"]), (&"draining".into(), &serde_json::json!(["admin_state"])));
    assert_eq!((&b4["weight"], &b4["origin"]), (&2.into(), &"runtime".into()), "{b4}");
    assert!(b("b3").is_err(), "b3 was removed");
    for mark in ["b1: changed at run time: weight", "b2: changed at run time: admin_state", "b4: added at run time"] {
        assert!(text.contains(mark), "no {mark:?} in: {text}");
    }
    Ok(())
}

#[test]
fn runtime_changes_survive_restarts_and_are_marked() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(4)?, IpAddr::from(VIP6));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let mut daemon = start(&topology, &bpffs, &[Service::tcp("web", vip, 80, &topology).only(&["b1", "b2", "b3"])])?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])?;
    check_slots(&daemon, &[("b1", 1), ("b2", 1), ("b3", 1)])?;
    let address = backend(&topology, "b4").addresses().like(vip).to_string();
    for command in [
        ["weight", "web", "b1", "3"].as_slice(),
        &["drain", "web", "b2"],
        &["remove", "web", "b3", "--now"],
        &["add", "web", &address, "--name", "b4", "--weight", "2"],
    ] {
        daemon.cli_text(&[&["backend"], command].concat())?;
    }
    for end in [None, Some(Daemon::kill9 as fn(&mut _)), Some(|daemon: &mut Daemon<'_>| drop(daemon.terminate()))] {
        if let Some(end) = end {
            end(&mut daemon);
            daemon.restart()?;
        }
        wait_for_takers(&daemon, "web", &["b1", "b4"])?;
        check_marks(&daemon, &daemon.cli_text(&["status"])?)?;
    }
    println!("{vip}: weight, drain, removal and addition were marked and outlived SIGKILL and SIGTERM");
    Ok(())
}
