//! The harness itself, shown without a balancer: the client's route to the VIPs points straight at one backend.
//!
//! Needs root, iproute2, ethtool, nginx, dnsmasq, dig, curl, wrk and iperf3.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Download, Load, Tally, UdpSink, UdpStream, collect, connections, curl, dig, iperf3, wrk},
    content::Content,
    daemon::{Daemon, Paths},
    names::{scratch, sweep},
    namespace::{DIRECTORY, Namespace},
    servers::{self, DNS_PORT, TXT_NAME},
    topology::{Topology, VIP_NETWORK4, VIP_NETWORK6, VIP4, VIP6},
    wait::{PATIENCE, wait_ok, wait_until},
};

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP4), IpAddr::V6(VIP6)];
const LIMIT: Duration = Duration::from_secs(10);

/// Who answers HTTP and DNS on both VIPs must be the backend to which the client's route points.
fn each_backend_answers_alone(topology: &Topology) -> Result<()> {
    let mut servers = Vec::new();
    for backend in topology.backends() {
        let (namespace, name) = (backend.namespace(), backend.name());
        servers.push((servers::nginx(namespace, name, &[80, 8080], None)?, servers::dns(namespace, name)?));
    }
    for backend in topology.backends() {
        topology.route_vips_to_backend(backend)?;
        for vip in VIPS {
            for port in [80, 8080] {
                let url = format!("http://{}/who", SocketAddr::new(vip, port));
                assert_eq!(curl(topology.client(), &url, LIMIT)?, backend.name(), "{url}");
            }
            assert_eq!(dig(topology.client(), vip, DNS_PORT, TXT_NAME, "TXT", LIMIT)?, [backend.name()], "{vip}");
        }
    }
    Ok(())
}

#[test]
fn two_topologies_work_beside_each_other() -> Result<()> {
    thread::scope(|scope| {
        let one = scope.spawn(|| each_backend_answers_alone(&Topology::one_nic(2)?));
        let two = scope.spawn(|| each_backend_answers_alone(&Topology::two_nics(2)?));
        one.join().unwrap().and(two.join().unwrap())
    })?;
    println!("curl and dig got the chosen backend's name on both VIPs, one and two NICs at once");
    Ok(())
}

#[test]
fn the_balancer_passes_nothing_by_itself() -> Result<()> {
    for topology in [Topology::one_nic(1)?, Topology::two_nics(1)?] {
        let _nginx = servers::nginx(topology.backends()[0].namespace(), "b1", &[80], None)?;
        for vip in VIPS {
            let url = format!("http://{}/who", SocketAddr::new(vip, 80));
            let answer = curl(topology.client(), &url, Duration::from_secs(1));
            assert!(answer.is_err(), "{url} was answered without a balancer: {answer:?}");
        }
    }
    println!("without a balancer no VIP is answered");
    Ok(())
}

#[test]
fn backends_answer_no_neighbour_discovery_for_vips() -> Result<()> {
    let topology = Topology::two_nics(2)?;
    let client = topology.client();
    client.ip(&[format!("route replace {VIP_NETWORK4} dev eth0"), format!("route replace {VIP_NETWORK6} dev eth0")])?;
    for vip in VIPS {
        let target = SocketAddr::new(vip, 9);
        let answer = client.enter(|| TcpStream::connect_timeout(&target, PATIENCE))?;
        // A backend whose MAC address were found would refuse the connection.
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::HostUnreachable, "who has {vip}?");
    }
    println!("no backend answered ARP or neighbour solicitations for a VIP");
    Ok(())
}

#[test]
fn every_veth_end_is_ready_for_xdp() -> Result<()> {
    let topology = Topology::two_nics(2)?;
    let mut ends = 0;
    for namespace in topology.namespaces() {
        for line in namespace.exec("ip", ["-brief", "link", "show", "type", "veth"])?.lines() {
            let device = line.split(['@', ' ']).next().context("a name")?;
            let features = namespace.exec("ethtool", ["-k", device])?;
            assert!(features.contains("generic-receive-offload: on"), "{device}: {features}");
            assert!(features.contains("tx-checksumming: off"), "{device}: {features}");
            ends += 1;
        }
    }
    // The client has one cable, the balancer and each backend two.
    assert_eq!(ends, 2 * (1 + 2 + 2 * 2));
    println!("{ends} veth ends have GRO on and checksum offload off");
    Ok(())
}

#[test]
fn a_udp_stream_arrives_entirely() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    for vip in VIPS {
        let target = SocketAddr::new(vip, 4000);
        let sink =
            |backend: &evenkeel_tests::topology::Backend| UdpSink::start(backend.namespace(), backend.name(), target);
        let sinks = topology.backends().iter().map(sink).collect::<Result<Vec<_>>>()?;
        topology.route_vips_to_backend(&topology.backends()[0])?;
        let stream = UdpStream::start(topology.client(), target, 5000, 8)?;
        wait_until("1000 datagrams are sent", PATIENCE, || stream.sent() >= 1000)?;
        topology.route_vips_to_backend(&topology.backends()[1])?;
        let before = sinks[1].received();
        wait_until("the second backend gets some", PATIENCE, || sinks[1].received() >= before + 500)?;
        let sent = stream.stop()?;
        let report = collect(sent, &sinks, PATIENCE);
        assert_eq!((report.sent, report.lost.len(), report.duplicated.len()), (sent.count, 0, 0), "{report:?}");
        assert_eq!(report.by_sink.values().sum::<u64>(), sent.count);
        assert_eq!(report.split.len(), 8, "every flow changed its backend with the route");
        assert_eq!(sinks.iter().map(UdpSink::foreign).sum::<u64>(), 0);
        println!("{vip}: {} datagrams sent, none lost or repeated, the change of backend was seen", sent.count);
    }
    Ok(())
}

#[test]
fn lost_datagrams_are_named() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let backend = &topology.backends()[0];
    let target = SocketAddr::new(VIP4.into(), 4000);
    topology.route_vips_to_backend(backend)?;
    let sinks = [UdpSink::start(backend.namespace(), backend.name(), target)?];
    let stream = UdpStream::start(topology.client(), target, 2000, 1)?;
    wait_until("the first came", PATIENCE, || sinks[0].received() >= 100)?;
    topology.set_cable(backend, false)?;
    let unplugged = stream.sent();
    wait_until("some were sent in vain", PATIENCE, || stream.sent() >= unplugged + 100)?;
    topology.set_cable(backend, true)?;
    let came = sinks[0].received();
    wait_until("they come again", PATIENCE, || sinks[0].received() >= came + 100)?;
    let sent = stream.stop()?;
    let report = collect(sent, &sinks, Duration::from_secs(1));
    assert!(report.lost.len() >= 90, "{} lost", report.lost.len());
    assert_eq!(report.lost.len() as u64 + report.by_sink["b1"], sent.count);
    println!("{} datagrams lost while the cable was out, all named", report.lost.len());
    Ok(())
}

#[test]
fn loads_count_every_connection() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let backend = &topology.backends()[0];
    topology.route_vips_to_backend(backend)?;
    let mut nginx = servers::nginx(backend.namespace(), "b1", &[80], None)?;
    for vip in VIPS {
        let server = SocketAddr::new(vip, 80);
        let tally = connections(topology.client(), server, 2000, 16)?;
        assert_eq!((tally.of("b1"), tally.failed()), (2000, 0), "{tally:?}");
        let run = wrk(topology.client(), &format!("http://{server}/who"), 4, Duration::from_secs(1))?;
        assert!(run.requests > 0 && run.socket_errors == 0 && run.bad_statuses == 0, "{run:?}");
    }
    let load = Load::start(topology.client(), SocketAddr::new(VIP4.into(), 80), 4);
    wait_until("100 connections were served", PATIENCE, || load.completed() >= 100)?;
    nginx.kill();
    let killed = std::time::Instant::now();
    let completed = load.completed();
    wait_until("connections fail", PATIENCE, || load.completed() >= completed + 100)?;
    let attempts = load.stop()?;
    let late = attempts.iter().filter(|attempt| attempt.started > killed && attempt.outcome.is_ok()).count();
    assert_eq!(late, 0, "answers of a dead server");
    let tally: Tally = attempts.iter().collect();
    assert!(tally.of("b1") >= 100 && tally.failed() >= 90, "{tally:?}");
    println!("2000 of 2000 connections answered on each VIP; a killed server was seen as {:?}", tally.errors);
    Ok(())
}

#[test]
fn downloads_are_compared_byte_for_byte() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let backend = &topology.backends()[0];
    topology.route_vips_to_backend(backend)?;
    let (content, other) = (Content::generate(1, 3_000_001), Content::generate(2, 3_000_001));
    let mut nginx = servers::nginx(backend.namespace(), "b1", &[80], Some(&content))?;
    let (client, server) = (topology.client(), SocketAddr::new(VIP6.into(), 80));
    for whole in Download::start_many(3, client, server, &content, None) {
        let report = whole.finish()?;
        assert_eq!((report.backend.as_deref(), report.received, report.outcome), (Some("b1"), 3_000_001, Ok(())));
    }
    let wrong = Download::start(client, server, &other, None).finish()?;
    assert_eq!(wrong.outcome, Err("wrong bytes after byte 0".into()));
    // At this rate it would take 30 s.
    let slow = Download::start(client, server, &content, Some(100_000));
    wait_until("the slow download has begun", PATIENCE, || slow.received() > 0)?;
    assert_eq!((slow.backend(), slow.ended()), (Some("b1"), false));
    nginx.kill();
    let cut = slow.finish()?;
    assert!(cut.outcome.is_err() && cut.received < 3_000_001, "{cut:?}");
    println!("whole downloads were right; a wrong one and a cut one ({:?}) were told", cut.outcome);
    Ok(())
}

#[test]
fn iperf3_runs_over_a_vip() -> Result<()> {
    let topology = Topology::two_nics(1)?;
    let backend = &topology.backends()[0];
    topology.route_vips_to_backend(backend)?;
    let _server = servers::iperf3(backend.namespace())?;
    for vip in VIPS {
        let run = iperf3(topology.client(), vip, Duration::from_secs(1))?;
        assert!(run.received > 0, "{run:?}");
    }
    println!("iperf3 sent over both VIPs");
    Ok(())
}

/// What a topology with running servers leaves behind after `end`.
fn remains(end: impl FnOnce(Topology)) -> Result<(Vec<String>, bool)> {
    let topology = Topology::one_nic(2)?;
    let names: Vec<_> = topology.namespaces().map(|namespace| namespace.name().to_owned()).collect();
    let bpffs = Bpffs::mount()?;
    let mounted = bpffs.path().to_owned();
    // Sees what the test mounted, because only the network is apart.
    let kind = topology.balancer().exec("stat", ["-f", "-c", "%T", &mounted.to_string_lossy()])?;
    ensure!(kind.trim() == "bpf_fs", "{kind}");
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let process = topology.client().spawn(sleep)?;
    let id = process.id();
    let _ = catch_unwind(AssertUnwindSafe(move || {
        let (_bpffs, _process) = (bpffs, process);
        end(topology);
    }));
    let left = names.into_iter().filter(|name| Path::new(DIRECTORY).join(name).exists()).collect();
    Ok((left, mounted.exists() || Path::new(&format!("/proc/{id}")).exists()))
}

#[test]
fn nothing_is_left_after_drop_and_after_panic() -> Result<()> {
    assert_eq!(remains(drop)?, (vec![], false));
    assert_eq!(remains(|_topology| panic!("on purpose"))?, (vec![], false));
    println!("no namespace, process or mount is left after drop and after panic");
    Ok(())
}

#[test]
fn leftovers_of_dead_processes_are_swept() -> Result<()> {
    // Process ids end at 2^22 on Linux: the owner by this name is dead.
    let namespace = Namespace::create(&format!("ek-{}-0-lb", 4_194_304 + std::process::id()))?;
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let mut process = namespace.spawn(sleep)?;
    let ours = Topology::one_nic(1)?;
    sweep();
    process.wait_exit(PATIENCE)?;
    assert!(!Path::new(DIRECTORY).join(namespace.name()).exists());
    assert!(ours.namespaces().all(|namespace| Path::new(DIRECTORY).join(namespace.name()).exists()));
    println!("a dead process's namespace was removed with what ran in it; a living one's stayed");
    Ok(())
}

/// Stands for `evenkeel` (perl-base is on every Debian): the daemon answers every request with its configuration,
/// which it reads again on SIGHUP.
const STAND_IN: &str = r#"#!/usr/bin/perl
use strict;
use IO::Socket::UNIX;
exec 'curl', '--silent', '--fail', '--unix-socket', $ARGV[1], "http://localhost/$ARGV[2]" if $ARGV[0] eq '--socket';
sub load { local (@ARGV, $/) = $ARGV[2]; <> }
my $config = load();
my ($path) = $config =~ /"socket": "([^"]+)"/ or die "no socket in the configuration\n";
$SIG{HUP} = sub { $config = load() };
$SIG{TERM} = sub { exit 0 };
print STDERR "daemon starts\n";
unlink $path;
my $socket = IO::Socket::UNIX->new(Local => $path, Listen => 5) or die "$path: $!";
while (1) {
    my $client = $socket->accept or next;
    while (<$client>) { last if $_ eq "\r\n" }
    print $client "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n$config";
}
"#;

fn stand_in_config(paths: &Paths, generation: u32) -> String {
    format!(r#"{{"socket": "{}", "generation": {generation}}}"#, paths.socket.display())
}

#[test]
fn the_daemon_wrapper_starts_kills_reloads_and_asks() -> Result<()> {
    let (directory, bpffs) = (scratch("stand-in")?, Bpffs::mount()?);
    let binary = directory.path().join("evenkeel");
    fs::write(&binary, STAND_IN)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    let topology = Topology::one_nic(1)?;
    let config = |generation| move |paths: &Paths| stand_in_config(paths, generation);
    let mut daemon = Daemon::start_binary(binary, topology.balancer(), &bpffs, config(1))?;
    assert_eq!(daemon.cli(&["status", "--json"])?["generation"], 1);
    daemon.configure(config(2))?;
    daemon.hangup()?;
    wait_ok("the new configuration is served", PATIENCE, || {
        ensure!(daemon.cli(&["status", "--json"])?["generation"] == 2);
        Ok(())
    })?;
    daemon.kill9();
    assert!(!daemon.is_running() && daemon.cli(&["status", "--json"]).is_err());
    daemon.restart()?;
    assert!(daemon.terminate()?.success() && daemon.hangup().is_err());
    daemon.restart()?;
    assert_eq!(daemon.log().matches("daemon starts").count(), 3);
    daemon.configure(|_| "nonsense".into())?;
    let refused = format!("{:#}", daemon.restart().unwrap_err());
    assert!(refused.contains("no socket in the configuration"), "the log is in the message: {refused}");
    println!("a stand-in daemon was started, asked, reloaded, killed and stopped; its log was kept");
    Ok(())
}
