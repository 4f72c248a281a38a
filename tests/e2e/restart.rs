//! The daemon is killed, stopped, and told to read its configuration again, under load that must not notice.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Download, Load, Tally, UdpSink, UdpStream, collect, connections},
    content::Content,
    daemon::Daemon,
    scenario::{Service, backend_status, configuration, nginx_everywhere, service_status, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

const SIZE: usize = 3_000_000;
/// Bytes per second: a download takes about 4 s.
const RATE: u64 = 750_000;
const UDP_PORT: u16 = 4000;
const DOWNLOADS: usize = 6;

/// A network with servers on all backends.
struct Bench<'a> {
    topology: &'a Topology,
    vip: IpAddr,
    content: Content,
    sinks: Vec<UdpSink>,
}

impl<'a> Bench<'a> {
    fn new(topology: &'a Topology, vip: IpAddr, content: Content) -> Result<Self> {
        let at = SocketAddr::new(vip, UDP_PORT);
        let sinks = topology.backends().iter().map(|b| UdpSink::start(b.namespace(), b.name(), at));
        Ok(Self { topology, vip, content, sinks: sinks.collect::<Result<_>>()? })
    }

    /// A TCP and a UDP service over these backends.
    fn services(&self, names: &[&str]) -> [Service; 2] {
        [
            Service::tcp("web", self.vip, 80, self.topology).only(names),
            Service::udp("stream", self.vip, UDP_PORT, self.topology).only(names),
        ]
    }

    /// A numbered stream, downloads and new connections go on while `act` happens; none of them is harmed.
    fn unharmed(&self, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let (client, web) = (self.topology.client(), SocketAddr::new(self.vip, 80));
        let stream = UdpStream::start(client, SocketAddr::new(self.vip, UDP_PORT), 2000, 8)?;
        let downloads = Download::start_many(DOWNLOADS, client, web, &self.content, Some(RATE));
        let load = Load::start(client, web, 2);
        let ran = || stream.sent() >= 500 && load.completed() >= 200 && downloads.iter().all(|d| d.received() > 0);
        wait_until("everything runs", PATIENCE, ran)?;
        assert!(downloads.iter().all(|download| !download.ended()));
        act()?;
        let (sent, completed) = (stream.sent(), load.completed());
        let went_on = || stream.sent() >= sent + 500 && load.completed() >= completed + 200;
        wait_until("everything goes on", PATIENCE, went_on)?;
        let tally: Tally = load.stop()?.iter().collect();
        assert_eq!(tally.failed(), 0, "{what}: {tally:?}");
        let report = collect(stream.stop()?, &self.sinks, PATIENCE);
        assert!(
            report.lost.is_empty() && report.duplicated.is_empty() && report.split.is_empty(),
            "{what}: {report:?}"
        );
        for download in downloads {
            let report = download.finish()?;
            assert_eq!((report.received, &report.outcome), (SIZE as u64, &Ok(())), "{what}: {report:?}");
        }
        println!(
            "{}, {what}: 0 of {} datagrams lost, 0 of {DOWNLOADS} downloads broken, 0 of {} new connections failed",
            self.vip,
            report.sent,
            tally.answered()
        );
        Ok(())
    }
}

/// Lines of the log that say how many writes a reload took.
fn reloads(daemon: &Daemon<'_>) -> Vec<String> {
    let log = daemon.log();
    log.lines().filter_map(|line| line.split_once("configuration reloaded ")).map(|(_, end)| end.to_owned()).collect()
}

fn reload(daemon: &mut Daemon<'_>) -> Result<String> {
    let before = reloads(daemon).len();
    daemon.hangup()?;
    wait_until("the configuration is reloaded", PATIENCE, || reloads(daemon).len() > before)?;
    Ok(reloads(daemon).remove(before))
}

/// What the program can do.
fn features(daemon: &Daemon<'_>) -> Result<Vec<String>> {
    let status = daemon.cli(&["--json", "status"])?;
    Ok(serde_json::from_value(status["node"]["features"].clone())?)
}

fn check_restarts(topology: &Topology, vip: IpAddr) -> Result<()> {
    let bench = Bench::new(topology, vip, Content::generate(1, SIZE))?;
    let _servers = nginx_everywhere(topology, &[80], Some(&bench.content))?;
    let bpffs = Bpffs::mount()?;
    let mut daemon = start(topology, &bpffs, &bench.services(&["b1", "b2", "b3"]))?;
    for service in ["web", "stream"] {
        wait_for_takers(&daemon, service, &["b1", "b2", "b3"])?;
    }
    bench.unharmed("SIGKILL and start", || {
        daemon.kill9();
        daemon.restart()?;
        wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])
    })?;
    bench.unharmed("SIGTERM and start", || {
        assert!(daemon.terminate()?.success());
        daemon.restart()?;
        wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])
    })?;
    bench.unharmed("SIGHUP with the same configuration, nothing written", || {
        assert_eq!(reload(&mut daemon)?, "writes=0");
        Ok(())
    })?;
    let changed = bench.services(&["b1", "b2", "b3", "b4"]).map(|service| service.weights(&[1, 3, 1, 1]));
    bench.unharmed("SIGHUP with a backend more and another weight", || {
        daemon.configure(|paths| configuration(paths, topology, &changed))?;
        assert_ne!(reload(&mut daemon)?, "writes=0");
        wait_for_takers(&daemon, "web", &["b1", "b2", "b3", "b4"])
    })?;
    assert_eq!(backend_status(&daemon, "web", "b2")?["weight"], 3);
    let few = features(&daemon)?;
    let other: IpAddr = if vip.is_ipv4() { VIP6.into() } else { VIP4.into() };
    let more = [Service::udp("other", other, 81, topology), Service::udp("range", vip, 90, topology)];
    let more: Vec<Service> = changed.iter().cloned().chain(more).collect();
    bench.unharmed("SIGHUP with another family and a range, a program that can do more", || {
        daemon.configure(|paths| configuration(paths, topology, &more).replace("port: 90\n", "port: 90-99\n"))?;
        assert_ne!(reload(&mut daemon)?, "writes=0");
        let many = features(&daemon)?;
        for name in ["ipv4", "ipv6", "prefixes-or-ranges"] {
            assert!(many.iter().any(|feature| feature == name), "no {name} in {many:?}");
        }
        wait_for_takers(&daemon, "range", &["b1", "b2", "b3", "b4"])
    })?;
    bench.unharmed("SIGHUP without them, a program that can do less", || {
        daemon.configure(|paths| configuration(paths, topology, &changed))?;
        assert_ne!(reload(&mut daemon)?, "writes=0");
        assert_eq!(features(&daemon)?, few);
        Ok(())
    })?;
    let tally = connections(topology.client(), SocketAddr::new(vip, 80), 600, 8)?;
    assert!(tally.failed() == 0 && tally.share("b2") > 0.4 && tally.of("b4") > 50, "{tally:?}");
    Ok(())
}

#[test]
fn nothing_is_lost_when_the_daemon_restarts_or_reloads() -> Result<()> {
    check_restarts(&Topology::one_nic(4)?, VIP4.into())
}

#[test]
fn nothing_is_lost_over_ipv6_and_two_nics() -> Result<()> {
    check_restarts(&Topology::two_nics(4)?, VIP6.into())
}

#[test]
fn a_bad_configuration_changes_nothing() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(2)?, IpAddr::from(VIP4));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let services = [Service::tcp("web", vip, 80, &topology)];
    let mut daemon = start(&topology, &bpffs, &services)?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    let good = configuration(daemon.paths(), &topology, &services);
    daemon.configure(|_| good.replace("      port: 80\n", "      port: 80000\n"))?;
    daemon.hangup()?;
    wait_until("the reload is refused", PATIENCE, || error_of(&daemon).is_ok_and(|error| error.is_string()))?;
    let line = 1 + good.lines().position(|line| line == "      port: 80").expect("a port");
    let place = format!("{}:{line}:13: ", daemon.paths().config.display());
    let text = error_of(&daemon)?;
    assert!(text.as_str().is_some_and(|text| text.starts_with(&place)), "no {place} in {text}");
    let shown = daemon.cli_text(&["status"])?;
    assert!(shown.contains("the last reload was refused") && shown.contains(&place), "{shown}");
    assert_eq!(service_status(&daemon, "web")?["port"], "80");
    let tally = connections(topology.client(), SocketAddr::new(vip, 80), 300, 8)?;
    assert_eq!((tally.failed(), tally.answered()), (0, 300), "{tally:?}");
    for (from, to) in [("api.sock", "other.sock"), ("[eth0]", "[{name: eth0, mode: generic}]")] {
        daemon.configure(|_| good.replace(from, to))?;
        daemon.hangup()?;
        let fixed = |error: serde_json::Value| error.as_str().is_some_and(|text| text.contains("cannot change while"));
        wait_until("it is refused", PATIENCE, || error_of(&daemon).is_ok_and(fixed))?;
        daemon.configure(|_| good.clone())?;
        assert_eq!(reload(&mut daemon)?, "writes=0");
        assert!(error_of(&daemon)?.is_null());
    }
    println!("a reload was refused with its place in the file, 300 of 300 connections went on as before");
    Ok(())
}

/// Why the last reload was refused; null if it was not.
fn error_of(daemon: &Daemon<'_>) -> Result<serde_json::Value> {
    Ok(daemon.cli(&["--json", "status"])?["reload_error"].take())
}
