//! No action of the control plane costs a packet: in each forwarding mode a numbered UDP stream, long TCP transfers and new
//! connections go on over each action, and what was lost or broken is counted and printed as a table.
//!
//! Schedulers are round-robin: a flow whose entry were lost would go to another backend, and be seen.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Echoes, UdpSink, UdpStream, collect},
    daemon::{Daemon, Paths, find_binary},
    effort::either,
    scenario::{QUICK_PROBE, configuration, wait_for_takers},
    servers::{Echo, echo},
    topology::{Topology, VIP4, VIP6},
    translation::{Pool, route_client_through_balancer},
    wait::{PATIENCE, wait_until},
};
use serde::Serialize;

use crate::decapsulator::{at_every_backend, with_sources};

const ECHO: u16 = 7000;
const STREAM: u16 = 4000;
/// Source ports of the stream.
const FLOWS: u32 = 64;
const NAMES: [&str; 3] = ["b1", "b2", "b3"];
const FLOW_ENTRIES: u32 = 65536;
/// When the daemon is aborted, after it was told to read another configuration: somewhere in its planning and publishing.
const ABORTED_AFTER: [Duration; 4] =
    [Duration::from_millis(5), Duration::from_millis(25), Duration::from_millis(40), Duration::from_millis(55)];

/// What goes on all the time.
struct Effort {
    datagrams_per_second: u32,
    transfers: usize,
    connections_per_second: u32,
}

impl Effort {
    fn of_this_test() -> Self {
        Self {
            datagrams_per_second: either(4000, 20_000) as u32,
            transfers: either(100, 500),
            connections_per_second: either(50, 200) as u32,
        }
    }
}

/// A line of the report: what happened from the action before to some time after this one.
#[derive(Clone, Debug, Default, Serialize)]
struct Row {
    mode: &'static str,
    action: &'static str,
    /// Datagrams.
    sent: u64,
    lost: u64,
    duplicated: u64,
    /// Packets that sockets and virtual cables dropped for want of room: of any kind, not only datagrams.
    no_room: u64,
    transfers: usize,
    broken: usize,
    new: u64,
    failed: usize,
    /// Of the stream's flows, those that changed their backend in any of the windows: in the mode's last line.
    moved: usize,
}

/// A mode with everything that it needs, and the load.
struct Scene<'a> {
    mode: &'static str,
    /// As the configuration has it.
    setting: &'static str,
    topology: &'a Topology,
    pool: Option<Pool>,
    flow_entries: u32,
    /// Further services.
    more: String,
}

impl Scene<'_> {
    fn configuration(&self, paths: &Paths) -> String {
        let mut text = configuration(paths, self.topology, &[]).replace("services:\n", "");
        let entries = format!("flow_table: {{entries: {}}}", self.flow_entries);
        text = with_sources(&text).replace(&format!("flow_table: {{entries: {FLOW_ENTRIES}}}"), &entries);
        if let Some(pool) = &self.pool {
            text = pool.put_into(&text);
        }
        text += "services:\n";
        text += &self.service("echo", VIP4.into(), &ECHO.to_string(), "tcp", QUICK_PROBE);
        text += &self.service("stream", VIP4.into(), &STREAM.to_string(), "udp", "probe: none");
        text + &self.more
    }

    fn service(&self, name: &str, vip: IpAddr, port: &str, protocol: &str, probe: &str) -> String {
        let mut text = format!(
            "  - name: {name}\n    vip: {vip}\n    port: {port}\n    protocol: {protocol}\n    mode: {}\n    \
             scheduler: round-robin\n    {probe}\n    backends:\n",
            self.setting
        );
        for backend in self.topology.backends() {
            let address = backend.addresses().like(vip);
            writeln!(text, "      - {{name: {}, address: \"{address}\"}}", backend.name()).expect("a string");
        }
        text
    }

    fn put(&self, daemon: &Daemon<'_>) -> Result<()> {
        daemon.configure(|paths| self.configuration(paths))
    }

    fn reload(&self, daemon: &mut Daemon<'_>) -> Result<()> {
        let reloads = |daemon: &Daemon<'_>| daemon.log().matches("configuration reloaded").count();
        let before = reloads(daemon);
        self.put(daemon)?;
        daemon.hangup()?;
        wait_until("the configuration is reloaded", PATIENCE, || reloads(daemon) > before)
    }

    /// Packets that were dropped for want of room, by sockets and by cables.
    fn no_room(&self) -> Result<u64> {
        let mut dropped = 0;
        for namespace in self.topology.namespaces() {
            let text = namespace.exec("ip", ["-json", "-statistics", "link", "show", "type", "veth"])?;
            let links: serde_json::Value = serde_json::from_str(&text)?;
            for link in links.as_array().context("links")? {
                for way in ["rx", "tx"] {
                    dropped += link["stats64"][way]["dropped"].as_u64().context("a number")?;
                }
            }
            dropped += datagrams_without_room(&namespace.exec("cat", ["/proc/net/snmp"])?)?;
        }
        Ok(dropped)
    }
}

/// `RcvbufErrors` of `/proc/net/snmp`.
fn datagrams_without_room(snmp: &str) -> Result<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let at = names.split(' ').position(|name| name == "RcvbufErrors").context("RcvbufErrors")?;
    Ok(values.split(' ').nth(at).context("a value")?.parse()?)
}

/// The load of a mode.
struct Load {
    stream: UdpStream,
    echoes: Echoes,
    effort: Effort,
    /// Of each window: datagrams and new connections by its end, and packets without room.
    ends: Vec<(&'static str, u64, u64, u64)>,
}

impl Load {
    fn start(topology: &Topology) -> Result<Self> {
        let effort = Effort::of_this_test();
        let to = |port| SocketAddr::new(VIP4.into(), port);
        let echoes = Echoes::start(topology.client(), to(ECHO), effort.transfers, effort.connections_per_second);
        let stream = UdpStream::start(topology.client(), to(STREAM), effort.datagrams_per_second, FLOWS)?;
        Ok(Self { stream, echoes, effort, ends: Vec::new() })
    }

    /// Waits until there were half a second's datagrams and new connections, and every transfer had bytes back.
    fn goes_on(&self) -> Result<()> {
        let (sent, completed, received) = (self.stream.sent(), self.echoes.completed(), self.echoes.received());
        let datagrams = sent + u64::from(self.effort.datagrams_per_second / 2);
        let connections = completed + u64::from(self.effort.connections_per_second / 2);
        wait_until("everything goes on", PATIENCE, || {
            self.stream.sent() >= datagrams && self.echoes.completed() >= connections && self.echoes.went_on(&received)
        })
    }

    /// Everything goes on over an action.
    fn over(&mut self, scene: &Scene<'_>, action: &'static str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        self.echoes.set_window(self.ends.len());
        act().context(action)?;
        self.goes_on().context(action)?;
        self.ends.push((action, self.stream.sent(), self.echoes.completed(), scene.no_room()?));
        Ok(())
    }

    fn rows(self, scene: &Scene<'_>, sinks: &[UdpSink], no_room: u64) -> Result<Vec<Row>> {
        let echoes = self.echoes.finish()?;
        let stream = collect(self.stream.stop()?, sinks, PATIENCE);
        let mut before = ("", 0, 0, no_room);
        let mut rows = Vec::new();
        for (window, &end) in self.ends.iter().enumerate() {
            // The last window has what came after it.
            let last = if window + 1 == self.ends.len() { stream.sent } else { end.1 };
            rows.push(Row {
                mode: scene.mode,
                action: end.0,
                sent: last - before.1,
                lost: stream.lost.range(before.1..last).count() as u64,
                duplicated: stream.duplicated.range(before.1..last).count() as u64,
                no_room: end.3 - before.3,
                transfers: self.effort.transfers,
                broken: echoes.broken.iter().filter(|failure| failure.window == window).count(),
                new: end.2 - before.2,
                failed: echoes.failed.iter().filter(|failure| failure.window == window).count(),
                moved: if window + 1 == self.ends.len() { stream.split.len() } else { 0 },
            });
            before = end;
        }
        for failure in echoes.broken.iter().chain(&echoes.failed).take(10) {
            println!("{}: window {}: connection {}: {}", scene.mode, failure.window, failure.number, failure.error);
        }
        Ok(rows)
    }
}

fn restarted(daemon: &mut Daemon<'_>) -> Result<()> {
    daemon.restart()?;
    ["echo", "stream"].iter().try_for_each(|service| wait_for_takers(daemon, service, &NAMES))
}

/// All actions in one mode.
fn run(mode: &'static str, setting: &'static str, topology: &Topology) -> Result<Vec<Row>> {
    let servers = topology.backends().iter().map(|backend| echo(backend.namespace(), ECHO));
    let _servers = servers.collect::<Result<Vec<Echo>>>()?;
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), STREAM);
    let sinks = topology.backends().iter().map(|backend| UdpSink::start(backend.namespace(), backend.name(), any));
    let sinks = sinks.collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let _decapsulators = if ["ipip", "gue"].contains(&mode) { at_every_backend(topology, &bpffs)? } else { Vec::new() };
    let pool = mode.ends_with("nat").then(|| Pool::add(topology)).transpose()?;
    if mode == "nat" {
        route_client_through_balancer(topology)?;
    }
    let mut scene = Scene { mode, setting, topology, pool, flow_entries: FLOW_ENTRIES, more: String::new() };
    let mut daemon = Daemon::start(topology.balancer(), &bpffs, |paths| scene.configuration(paths))?;
    ["echo", "stream"].iter().try_for_each(|service| wait_for_takers(&daemon, service, &NAMES))?;
    let no_room = scene.no_room()?;
    let mut load = Load::start(topology)?;
    load.goes_on()?;
    load.over(&scene, "nothing", || Ok(()))?;
    load.over(&scene, "stop", || daemon.terminate().map(drop))?;
    load.over(&scene, "start", || restarted(&mut daemon))?;
    load.over(&scene, "SIGKILL, start", || {
        daemon.kill9();
        restarted(&mut daemon)
    })?;
    let services =
        (0..40).map(|i| scene.service(&format!("s{i}"), VIP4.into(), &(5000 + i).to_string(), "udp", "probe: none"));
    let many = services.collect::<String>();
    for (round, delay) in ABORTED_AFTER.into_iter().enumerate() {
        scene.more = if round % 2 == 0 { many.clone() } else { String::new() };
        load.over(&scene, "SIGABRT while publishing, start", || {
            scene.put(&daemon)?;
            daemon.hangup()?;
            std::thread::sleep(delay);
            daemon.abort()?;
            restarted(&mut daemon)
        })?;
    }
    load.over(&scene, "restart", || {
        ensure!(daemon.terminate()?.success());
        restarted(&mut daemon)
    })?;
    scene.more = scene.service("more", VIP4.into(), "4001", "udp", "probe: none");
    load.over(&scene, "reload, another service", || scene.reload(&mut daemon))?;
    let features =
        |daemon: &Daemon<'_>| daemon.cli(&["--json", "status"]).map(|mut status| status["node"]["features"].take());
    let few = features(&daemon)?;
    scene.more = scene.service("six", VIP6.into(), "90-99", "udp", "probe: none");
    load.over(&scene, "reload, other features", || {
        scene.reload(&mut daemon)?;
        ensure!(features(&daemon)? != few, "the program is the same: {few}");
        Ok(())
    })?;
    for (action, entries) in [("larger flow table", 4 * FLOW_ENTRIES), ("smaller flow table", FLOW_ENTRIES)] {
        scene.flow_entries = entries;
        load.over(&scene, action, || {
            scene.put(&daemon)?;
            ensure!(daemon.terminate()?.success());
            restarted(&mut daemon)?;
            let status = daemon.cli(&["--json", "status"])?;
            ensure!(status["node"]["flow_entries"] == entries, "{status}");
            Ok(())
        })?;
    }
    let killed = [("SIGKILL before tables change, start", "FLOWS_next"), ("SIGKILL after it, start", "FLOWS_before_")];
    for (action, pin) in killed {
        scene.flow_entries *= 2;
        load.over(&scene, action, || {
            scene.put(&daemon)?;
            ensure!(daemon.terminate()?.success());
            kill_at(&daemon, topology, pin)?;
            restarted(&mut daemon)
        })?;
    }
    upgrade(&mut load, &scene, &mut daemon)?;
    load.rows(&scene, &sinks, no_room)
}

/// Starts the daemon and kills it as soon as there is a pin of a map whose name begins so, or when it has moved the flows.
fn kill_at(daemon: &Daemon<'_>, topology: &Topology, pin: &str) -> Result<()> {
    let maps = daemon.paths().pins.join("layout-7/maps");
    let is_there = || -> Result<bool> {
        let names = fs::read_dir(&maps)?.map(|entry| Ok(entry?.file_name().to_string_lossy().starts_with(pin)));
        Ok(names.collect::<Result<Vec<_>>>()?.contains(&true))
    };
    let moved = || daemon.log().matches("flows moved").count();
    let (before, began) = (moved(), Instant::now());
    let mut command = Command::new(find_binary()?);
    command.arg("run").arg("--config").arg(&daemon.paths().config);
    let log = File::options().append(true).open(&daemon.paths().log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut process = topology.balancer().spawn(command)?;
    // Without a pause: the pin is there for some milliseconds.
    while !is_there()? {
        ensure!(began.elapsed() < PATIENCE && process.is_running(), "it ended, or never came there: {}", daemon.log());
        if moved() > before {
            println!("flows had moved before the daemon could be killed at {pin}");
            break;
        }
    }
    process.kill();
    Ok(())
}

/// To a binary with a newer layout of the tables, and not back.
fn upgrade(load: &mut Load, scene: &Scene<'_>, daemon: &mut Daemon<'_>) -> Result<()> {
    let this = find_binary()?;
    let newer = this.with_file_name("evenkeel-next-layout");
    ensure!(
        newer.is_file(),
        "{} is missing; `cargo build -p evenkeel --features next-layout --bin evenkeel-next-layout` builds it",
        newer.display()
    );
    let layouts = |daemon: &Daemon<'_>| -> Result<Vec<String>> {
        let names =
            fs::read_dir(&daemon.paths().pins)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    };
    let (before, moved) = (layouts(daemon)?, daemon.log().matches("flows moved").count());
    load.over(scene, "newer layout", || {
        daemon.set_binary(newer.clone());
        ensure!(daemon.terminate()?.success());
        restarted(daemon)?;
        ensure!(layouts(daemon)? == ["layout-8"] && before == ["layout-7"], "{before:?}, {:?}", layouts(daemon)?);
        ensure!(daemon.log().matches("flows moved").count() > moved, "flows did not move: {}", daemon.log());
        Ok(())
    })?;
    load.over(scene, "older layout, refused", || {
        ensure!(daemon.terminate()?.success());
        let touchable = |daemon: &Daemon<'_>| -> Result<String> {
            let pins = scene.topology.balancer().exec("find", [daemon.paths().pins.as_os_str()])?;
            // With the ids of programs.
            Ok(pins + &scene.topology.balancer().exec("ip", ["-details", "link", "show"])?)
        };
        let before = touchable(daemon)?;
        daemon.set_binary(this.clone());
        let refused = format!("{:#}", daemon.restart().err().context("an older version takes newer tables")?);
        for words in ["layout-8 holds tables of a newer version", "nothing was changed", "evenkeel detach"] {
            ensure!(refused.contains(words), "no {words:?} in {refused}");
        }
        ensure!(touchable(daemon)? == before, "something was changed");
        daemon.set_binary(newer.clone());
        restarted(daemon)
    })
}

/// Prints the rows and checks that nothing was harmed.
fn check(rows: &[Row]) -> Result<()> {
    let mut table = format!(
        "{:<36} {:<9} {:>8} {:>5} {:>8} {:>10} {:>7} {:>6} {:>7}\n",
        "action", "mode", "sent", "lost", "no room", "transfers", "broken", "new", "failed"
    );
    for Row { mode, action, sent, lost, no_room, transfers, broken, new, failed, .. } in rows {
        writeln!(
            table,
            "{action:<36} {mode:<9} {sent:>8} {lost:>5} {no_room:>8} {transfers:>10} {broken:>7} {new:>6} {failed:>7}"
        )?;
    }
    println!("{table}{}", serde_json::to_string(rows)?);
    let mut by_action = BTreeMap::new();
    for row in rows {
        // A datagram that a socket or a cable had no room for is not the balancer's.
        let unexplained = row.lost.saturating_sub(row.no_room);
        if unexplained + row.duplicated > 0 || row.broken + row.failed + row.moved > 0 {
            by_action.insert((row.mode, row.action), row);
        }
    }
    ensure!(by_action.is_empty(), "harmed: {by_action:#?}\n{table}");
    Ok(())
}

#[test]
fn lossless_dsr_l2() -> Result<()> {
    check(&run("dsr-l2", "dsr-l2", &Topology::one_nic(3)?)?)
}

#[test]
fn lossless_ipip() -> Result<()> {
    check(&run("ipip", "ipip", &Topology::one_nic(3)?)?)
}

#[test]
fn lossless_gue() -> Result<()> {
    check(&run("gue", "{type: gue, port: 6080}", &Topology::two_nics(3)?)?)
}

#[test]
fn lossless_nat() -> Result<()> {
    check(&run("nat", "nat", &Topology::one_nic(3)?)?)
}

#[test]
fn lossless_full_nat() -> Result<()> {
    check(&run("full-nat", "full-nat", &Topology::two_nics(3)?)?)
}
