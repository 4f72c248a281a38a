//! Starting, stopping and uninstalling: what is refused leaves forwarding as it is, and `detach` leaves nothing.

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{connections, curl},
    daemon::{Daemon, find_binary},
    names::scratch,
    scenario::{Service, configuration, nginx_everywhere, start, wait_for_takers},
    servers::nginx,
    topology::{Topology, VIP4, VIP6},
    wait::PATIENCE,
};

const LIMIT: Duration = Duration::from_secs(10);

/// How `evenkeel ARGUMENTS… FILE` ends on this configuration: exit code, and what it says on standard error.
fn ends(topology: &Topology, arguments: &[&str], text: &str) -> Result<(i32, String)> {
    let directory = scratch("refused")?;
    let (file, log) = (directory.path().join("evenkeel.yaml"), directory.path().join("log"));
    fs::write(&file, text)?;
    let mut command = Command::new(find_binary()?);
    command.args(arguments).arg(&file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
    // Not awaited without a limit: a daemon that is not refused runs on.
    let status = topology.balancer().spawn(command)?.wait_exit(PATIENCE)?;
    Ok((status.code().context("an exit code")?, fs::read_to_string(&log)?))
}

/// A start that must be refused with these words, and harm nobody.
fn check_refused(topology: &Topology, vip: IpAddr, text: &str, words: &[&str]) -> Result<()> {
    let (code, said) = ends(topology, &["run", "--config"], text)?;
    assert_eq!(code, 1, "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    let tally = connections(topology.client(), SocketAddr::new(vip, 80), 200, 8)?;
    assert_eq!((tally.failed(), tally.answered()), (0, 200), "{tally:?}");
    Ok(())
}

/// The balancer's interfaces that have an XDP program.
fn with_xdp(topology: &Topology) -> Result<Vec<String>> {
    let text = topology.balancer().exec("ip", ["-json", "link"])?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    let links = links.as_array().context("links")?.iter().filter(|link| !link["xdp"].is_null());
    links.map(|link| Ok(link["ifname"].as_str().context("a name")?.to_owned())).collect()
}

fn check_detach(topology: &Topology, vip: IpAddr) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80], None)?;
    let prefix = if vip.is_ipv4() { "32" } else { "128 nodad" };
    topology.balancer().ip(&[format!("addr add {vip}/{prefix} dev lo")])?;
    let _host = nginx(topology.balancer(), "host", &[80], None)?;
    let url = format!("http://{}/who", SocketAddr::new(vip, 80));
    let answer = || curl(topology.client(), &url, LIMIT);
    assert_eq!(answer()?, "host", "nothing is attached yet");

    let bpffs = Bpffs::mount()?;
    let mut daemon = start(topology, &bpffs, &[Service::tcp("web", vip, 80, topology)])?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    let file = daemon.paths().config.to_string_lossy().into_owned();
    let refused = daemon.command(&["detach", "--config", &file])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("the daemon is running"), "{said}");
    assert!(answer()?.starts_with('b'));
    assert!(daemon.terminate()?.success());
    assert!(answer()?.starts_with('b'), "forwarding goes on without the daemon");
    assert_eq!(with_xdp(topology)?, topology.balancer_interfaces());

    let said = daemon.cli_text(&["detach", "--config", &file])?;
    for interface in topology.balancer_interfaces() {
        assert!(said.contains(&format!("detached from {interface}")), "{said}");
    }
    assert_eq!(answer()?, "host");
    assert!(with_xdp(topology)?.is_empty());
    assert!(!daemon.paths().pins.exists(), "something is pinned");
    assert!(daemon.cli_text(&["detach", "--config", &file])?.contains("nothing is attached"));
    println!("{vip}: detach was refused beside the daemon; after it packets went to the host, nothing was left");
    Ok(())
}

#[test]
fn detach_leaves_nothing() -> Result<()> {
    check_detach(&Topology::two_nics(2)?, VIP4.into())
}

#[test]
fn detach_leaves_nothing_over_ipv6_and_one_nic() -> Result<()> {
    check_detach(&Topology::one_nic(2)?, VIP6.into())
}

#[test]
fn what_does_not_fit_the_pins_is_refused_and_forwarding_goes_on() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(2)?, IpAddr::from(VIP6));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let services = [Service::tcp("web", vip, 80, &topology)];
    let mut daemon = start(&topology, &bpffs, &services)?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    let text = configuration(daemon.paths(), &topology, &services);
    check_refused(&topology, vip, &text, &["another daemon runs with state directory"])?;
    assert!(daemon.is_running());
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;

    assert!(daemon.terminate()?.success());
    let larger = text.replace("limits: {services: 64,", "limits: {services: 128,");
    check_refused(&topology, vip, &larger, &["SERVICE_BUCKETS", "nothing was changed", "evenkeel detach"])?;
    let other_secret = text.replace("node:\n", "node:\n  hash_secret: \"not the one of these tables\"\n");
    check_refused(&topology, vip, &other_secret, &["another hash secret", "evenkeel detach"])?;
    daemon.restart()?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    println!("{vip}: a second daemon, another table size and another secret were refused, forwarding went on");
    Ok(())
}

#[test]
fn two_daemons_never_share_pins() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(2)?, IpAddr::from(VIP4));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let services = [Service::tcp("web", vip, 80, &topology)];
    let with_secret = |text: String| text.replace("node:\n", "node:\n  hash_secret: \"the same for both of them\"\n");
    let daemon =
        Daemon::start(topology.balancer(), &bpffs, |paths| with_secret(configuration(paths, &topology, &services)))?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    let other = scratch("other")?;
    let mut paths = daemon.paths().clone();
    (paths.state, paths.socket) = (other.path().to_owned(), other.path().join("api.sock"));
    let text = with_secret(configuration(&paths, &topology, &services));
    check_refused(&topology, vip, &text, &["another daemon", &paths.pins.to_string_lossy()])?;
    println!("{vip}: a second daemon with its own state directory was refused the pins of the first");
    Ok(())
}

#[test]
fn a_restart_changes_the_mode_of_an_interface() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(2)?, IpAddr::from(VIP4));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let services = [Service::tcp("web", vip, 80, &topology)];
    let mut daemon = start(&topology, &bpffs, &services)?;
    for mode in ["native", "generic", "native"] {
        let interfaces = format!("[{{name: eth0, mode: {mode}}}]");
        daemon.configure(|paths| configuration(paths, &topology, &services).replace("[eth0]", &interfaces))?;
        assert!(daemon.terminate()?.success());
        daemon.restart()?;
        wait_for_takers(&daemon, "web", &["b1", "b2"])?;
        assert_eq!(daemon.cli(&["--json", "status"])?["node"]["interfaces"][0]["mode"], mode);
        let tally = connections(topology.client(), SocketAddr::new(vip, 80), 200, 8)?;
        assert_eq!((tally.failed(), tally.answered()), (0, 200), "{mode}: {tally:?}");
    }
    println!("{vip}: native, generic and native again after restarts, 600 of 600 connections answered");
    Ok(())
}

#[test]
fn bad_files_end_with_2_and_their_place() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let text = "version: 1\nnode:\n  interfaces: [eth0]\nservices:\n  - name: web\n    vip: 192.0.2.10\n    \
                port: 80\n    protocol: tcp\n    weihgt: 3\n    backends: [10.0.0.11]\n";
    for arguments in [["run", "--config"].as_slice(), &["check"]] {
        let (code, said) = ends(&topology, arguments, text)?;
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("evenkeel.yaml:9:5: ") && said.contains("weihgt"), "{said}");
        let (code, said) = ends(&topology, arguments, "version: 1\nnode: [\n")?;
        assert!(code == 2 && said.contains("evenkeel.yaml:"), "{code}: {said}");
    }
    assert!(with_xdp(&topology)?.is_empty());
    println!("run and check ended with 2 and named file, line and column");
    Ok(())
}

#[test]
fn without_a_daemon_commands_end_with_3() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let directory = scratch("nobody")?;
    let socket = directory.path().join("api.sock");
    for arguments in [["status"].as_slice(), &["service", "list"], &["backend", "drain", "web", "b1"], &["flows"]] {
        let mut command = Command::new(find_binary()?);
        command.arg("--socket").arg(&socket).args(arguments);
        let output = topology.balancer().run(command)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains(&*socket.to_string_lossy()), "{said}");
    }
    println!("without a daemon commands ended with 3 and named the socket");
    Ok(())
}
