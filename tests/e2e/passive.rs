//! Passive health: backends whose probes are fine and that do not answer clients.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::Held,
    daemon::{Daemon, Paths},
    http::get_text,
    namespace::Namespace,
    scenario::{
        Service, backend_status, configuration, nginx_everywhere, service_status, start, wait_for_backend,
        wait_for_takers,
    },
    topology::{Backend, Topology, VIP4, VIP6},
    translation::route_client_through_balancer,
    wait::{PATIENCE, wait_ok, wait_until},
};
use serde_json::Value;

/// Where clients are served, and what the tests break.
const PORT: u16 = 80;
/// Where probes ask.
const PROBE: &str = "probe: {type: tcp, port: 8080, interval: 200ms, timeout: 150ms, rise: 2, fall: 3}";
const TIMES: &str = "interval: 1s, min_connections: 10, eject_for: 2s, eject_at_most: 4s";
/// A client that is not answered for so long goes away.
const IMPATIENCE: Duration = Duration::from_millis(300);
const CLIENTS: usize = 8;

/// Clients that come again and again.
struct Crowd {
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Crowd {
    fn gather(namespace: &Namespace, server: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let ends = Arc::clone(&ends);
            namespace.thread(move || {
                while !ends.load(Ordering::Relaxed) {
                    // Who is not answered is what this is about.
                    drop(get_text(server, "/who", IMPATIENCE));
                }
            })
        };
        Self { clients: (0..CLIENTS).map(client).collect(), ends }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            drop(client.join());
        }
    }
}

/// Has a backend do this with SYNs to the service's port; its connections go on, and its probe is answered.
fn break_service(backend: &Backend, verdict: &str) -> Result<()> {
    let nft = |line: &str| backend.namespace().exec("nft", [line]);
    nft("add table inet fault")?;
    nft("add chain inet fault input { type filter hook input priority 0; }")?;
    nft(&format!("add rule inet fault input tcp dport {PORT} tcp flags & (syn|ack) == syn {verdict}"))?;
    Ok(())
}

fn mend(backend: &Backend) -> Result<()> {
    backend.namespace().exec("nft", ["delete table inet fault"]).map(drop)
}

fn watched(vip: IpAddr, mode: &str, topology: &Topology) -> Service {
    let passive = format!("passive_health: {{mode: {mode}, {TIMES}}}");
    Service::tcp("web", vip, PORT, topology).options(&[PROBE, &passive])
}

fn standing(backend: &Value) -> &str {
    backend["passive"]["standing"].as_str().unwrap_or("")
}

fn wait_standing(daemon: &Daemon<'_>, backend: &str, expected: &str) -> Result<()> {
    wait_for_backend(daemon, "web", backend, expected, |status| standing(status) == expected).with_context(|| {
        format!("{:?}", backend_status(daemon, "web", backend).map(|status| status["passive"].clone()))
    })
}

/// Waits until an interval with enough connections has been judged of each of these.
fn wait_judged(daemon: &Daemon<'_>, names: &[&str], fails: impl Fn(f64) -> bool) -> Result<()> {
    for name in names {
        wait_for_backend(daemon, "web", name, "judged", |status| {
            status["passive"]["failure_percent"].as_f64().is_some_and(&fails)
        })
        .with_context(|| format!("{:?}", service_status(daemon, "web")))?;
    }
    Ok(())
}

fn history(daemon: &Daemon<'_>, name: &str) -> Result<Vec<String>> {
    let status = backend_status(daemon, "web", name)?;
    let changes = status["passive"]["history"].as_array().context("a history")?;
    Ok(changes.iter().map(|change| change["standing"].as_str().unwrap_or("").to_owned()).collect())
}

/// One of three backends does this with its clients' SYNs.
fn check_ejection(topology: &Topology, vip: IpAddr, verdict: &str) -> Result<()> {
    let _nginx = nginx_everywhere(topology, &[PORT, 8080], None)?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, &[watched(vip, "eject", topology)])?;
    let all = ["b1", "b2", "b3"];
    wait_for_takers(&daemon, "web", &all)?;
    let (client, server) = (topology.client(), SocketAddr::new(vip, PORT));
    let mut held: Vec<Held> = Vec::new();
    wait_ok("a connection to each is open", PATIENCE, || {
        held.push(Held::open(client, server)?);
        ensure!(all.iter().all(|name| held.iter().any(|held| held.backend() == *name)), "{held:?}");
        Ok(())
    })?;
    let crowd = Crowd::gather(client, server);
    wait_judged(&daemon, &all, |percent| percent < 20.0)?;

    let b1 = &topology.backends()[0];
    break_service(b1, verdict)?;
    wait_standing(&daemon, "b1", "ejected")?;
    wait_for_takers(&daemon, "web", &["b2", "b3"])?;
    let status = backend_status(&daemon, "web", "b1")?;
    ensure!(status["health"] == "up" && status["keeps_flows"] == true, "{status}");
    let told = daemon.cli_text(&["status"])?;
    ensure!(told.contains("b1: clients' packets: ejected") && told.contains("connections were not answered"), "{told}");
    // Those that there are go on, to it and to others.
    for held in &mut held {
        let name = held.backend().to_owned();
        ensure!(held.ask()? == name, "{name}");
    }
    // It comes back, is still at fault, and goes for longer.
    wait_for_backend(&daemon, "web", "b1", "ejected again", |status| {
        status["passive"]["times"].as_u64() >= Some(2) && standing(status) == "ejected"
    })?;
    mend(b1)?;
    wait_standing(&daemon, "b1", "fine")?;
    wait_for_takers(&daemon, "web", &all)?;
    wait_judged(&daemon, &["b1"], |percent| percent < 20.0)?;
    for name in ["b2", "b3"] {
        ensure!(history(&daemon, name)?.is_empty(), "{name}: {:?}", history(&daemon, name));
    }
    for held in &mut held {
        let name = held.backend().to_owned();
        ensure!(held.ask()? == name, "{name}");
    }
    drop(crowd);
    println!("{vip}, SYNs {verdict}: b1 was {:?}; connections went on", history(&daemon, "b1")?);
    Ok(())
}

#[test]
fn a_backend_that_drops_syns_is_ejected_and_comes_back() -> Result<()> {
    check_ejection(&Topology::one_nic(3)?, VIP4.into(), "drop")
}

#[test]
fn a_backend_that_refuses_is_ejected_and_comes_back_over_ipv6_and_two_nics() -> Result<()> {
    check_ejection(&Topology::two_nics(3)?, VIP6.into(), "reject with tcp reset")
}

#[test]
fn observe_only_tells() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _nginx = nginx_everywhere(&topology, &[PORT, 8080], None)?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &[watched(VIP4.into(), "observe", &topology)])?;
    let all = ["b1", "b2", "b3"];
    wait_for_takers(&daemon, "web", &all)?;
    let _crowd = Crowd::gather(topology.client(), SocketAddr::new(VIP4.into(), PORT));
    wait_judged(&daemon, &all, |percent| percent < 20.0)?;
    break_service(&topology.backends()[0], "drop")?;
    wait_standing(&daemon, "b1", "outlier")?;
    wait_ok("the log tells", PATIENCE, || {
        ensure!(daemon.log().contains("passive health changed"), "{}", daemon.log());
        Ok(())
    })?;
    wait_for_takers(&daemon, "web", &all)?;
    mend(&topology.backends()[0])?;
    wait_standing(&daemon, "b1", "fine")?;
    assert_eq!(history(&daemon, "b1")?, ["outlier", "fine"]);
    println!("b1 stood out, which was told, and took flows all the while");
    Ok(())
}

#[test]
fn nobody_is_ejected_if_all_are_at_fault_and_all_may_be_switched_off() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _nginx = nginx_everywhere(&topology, &[PORT, 8080], None)?;
    let bpffs = Bpffs::mount()?;
    let service = |mode: &str| [watched(VIP4.into(), mode, &topology)];
    let mut daemon = start(&topology, &bpffs, &service("eject"))?;
    let all = ["b1", "b2", "b3"];
    wait_for_takers(&daemon, "web", &all)?;
    let features = |daemon: &Daemon<'_>| -> Result<String> {
        Ok(daemon.cli(&["--json", "status"])?["node"]["features"].to_string())
    };
    ensure!(features(&daemon)?.contains("passive-health"), "{}", features(&daemon)?);
    // The fault is there before anybody comes, so that no interval sees a part of it.
    topology.backends().iter().try_for_each(|backend| break_service(backend, "drop"))?;
    let crowd = Crowd::gather(topology.client(), SocketAddr::new(VIP4.into(), PORT));
    wait_judged(&daemon, &all, |percent| percent > 90.0)?;
    // For some intervals.
    for name in all {
        let repeats = || -> Result<bool> {
            ensure!(history(&daemon, name)?.is_empty(), "{name}: {:?}", history(&daemon, name));
            Ok(backend_status(&daemon, "web", name)?["flows_new"].as_u64() > Some(100))
        };
        wait_until(&format!("many came to {name}"), PATIENCE, || repeats().is_ok_and(|many| many))?;
        ensure!(history(&daemon, name)?.is_empty());
    }
    wait_for_takers(&daemon, "web", &all)?;

    // One at fault alone is ejected, and back once nobody looks.
    topology.backends()[1..].iter().try_for_each(mend)?;
    wait_for_takers(&daemon, "web", &["b2", "b3"])?;
    let off = |paths: &Paths| {
        configuration(paths, &topology, &[Service::tcp("web", VIP4.into(), PORT, &topology).options(&[PROBE])])
    };
    daemon.configure(off)?;
    daemon.hangup()?;
    wait_for_takers(&daemon, "web", &all)?;
    ensure!(backend_status(&daemon, "web", "b1")?["passive"].is_null());
    ensure!(!features(&daemon)?.contains("passive-health"), "{}", features(&daemon)?);
    drop(crowd);
    println!("with all three at fault nobody was ejected, with one it was; off let it back");
    Ok(())
}

/// With translation the backend's refusal is seen.
#[test]
fn refusals_are_seen_with_nat() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _nginx = nginx_everywhere(&topology, &[PORT, 8080], None)?;
    route_client_through_balancer(&topology)?;
    let bpffs = Bpffs::mount()?;
    let service = watched(VIP4.into(), "eject", &topology).option("mode: nat");
    let daemon = start(&topology, &bpffs, &[service])?;
    let all = ["b1", "b2", "b3"];
    wait_for_takers(&daemon, "web", &all)?;
    let _crowd = Crowd::gather(topology.client(), SocketAddr::new(VIP4.into(), PORT));
    wait_judged(&daemon, &all, |percent| percent < 20.0)?;
    break_service(&topology.backends()[0], "reject with tcp reset")?;
    wait_for_takers(&daemon, "web", &["b2", "b3"])?;
    let status = backend_status(&daemon, "web", "b1")?;
    let reasons = status["passive"]["history"].to_string();
    ensure!(reasons.contains(" refused"), "{reasons}");
    mend(&topology.backends()[0])?;
    wait_for_takers(&daemon, "web", &all)?;
    println!("nat: {reasons}");
    Ok(())
}
