//! `evenkeel import`: rules of the real `ipvsadm`, the samples of keepalived's package, and an imported file that serves.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::connections,
    daemon::{Daemon, Paths, find_binary},
    namespace::Namespace,
    scenario::{nginx_everywhere, wait_for_takers},
    topology::{Topology, VIP4},
};
use serde_json::Value;
use tempfile::TempDir;

/// What a run of `evenkeel import` gave.
struct Run {
    configuration: String,
    report: Value,
}

/// Runs `evenkeel --json import WORDS`, and `evenkeel check` on what it writes.
fn import(run: impl Fn(Command) -> Result<Output>, directory: &Path, words: &[&str]) -> Result<Run> {
    let path = directory.join("made.yaml");
    let mut command = Command::new(find_binary()?);
    command.args(["--json", "import"]).args(words).args(["--force", "--output"]).arg(&path);
    let output = run(command)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "evenkeel import {words:?}: {told}{}", String::from_utf8_lossy(&output.stdout));
    let mut check = Command::new(find_binary()?);
    check.arg("check").arg(&path);
    let checked = run(check)?;
    ensure!(checked.status.success(), "{}\n{}", fs::read_to_string(&path)?, String::from_utf8_lossy(&checked.stderr));
    let report = serde_json::from_str(&told).with_context(|| format!("no JSON: {told}"))?;
    Ok(Run { configuration: fs::read_to_string(&path)?, report })
}

fn here(mut command: Command) -> Result<Output> {
    command.output().context("cannot run evenkeel")
}

fn count(report: &Value, key: &str) -> Result<u64> {
    report["counts"][key].as_u64().with_context(|| format!("no {key} in {report}"))
}

/// The samples, where the package is installed or can be fetched; nothing is installed.
fn samples(directory: &Path) -> Result<Option<PathBuf>> {
    const PLACE: &str = "usr/share/doc/keepalived/samples";
    let installed = Path::new("/").join(PLACE);
    if installed.is_dir() {
        return Ok(Some(installed));
    }
    let fetched = Command::new("apt-get").args(["-qq", "download", "keepalived"]).current_dir(directory).output();
    if !fetched.is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    let packages = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = packages.into_iter().find(|path| path.extension().is_some_and(|name| name == "deb"));
    let package = package.context("apt-get wrote no package")?;
    let unpacked = Command::new("dpkg").arg("-x").arg(package).arg(directory).status()?;
    ensure!(unpacked.success(), "dpkg -x: {unpacked}");
    Ok(Some(directory.join(PLACE)))
}

#[test]
fn samples_of_keepalived_are_accounted_for() -> Result<()> {
    let directory = TempDir::new()?;
    let Some(place) = samples(directory.path())? else {
        println!("skipped: keepalived is not installed, and apt-get cannot fetch it");
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(place)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("keepalived.conf")));
    paths.sort();
    ensure!(paths.len() >= 20, "only {} samples", paths.len());
    let (mut all, mut services) = (0, 0);
    for path in &paths {
        let text = fs::read_to_string(path)?;
        let made = import(here, directory.path(), &["keepalived", &path.display().to_string()])
            .with_context(|| path.display().to_string())?;
        let lines = text.lines().count() as u64;
        let parts = ["taken", "changed", "no_counterpart", "not_ours", "blank"];
        let sum: u64 = parts.iter().map(|part| count(&made.report, part)).sum::<Result<u64>>()?;
        let rows = made.report["rows"].as_array().context("rows")?;
        ensure!((lines, lines) == (sum, rows.len() as u64), "{}: {sum} of {lines} lines", path.display());
        for row in rows {
            let (note, outcome) = (row["note"].as_str().context("a note")?, &row["outcome"]);
            ensure!(!note.starts_with("not known here"), "{}: nobody knows {row}", path.display());
            ensure!(!note.is_empty() || outcome != "no-counterpart", "{}: no reason: {row}", path.display());
        }
        // What is for marks alone is no service here.
        let is_served = |line: &str| line.trim().starts_with("virtual_server ") && !line.contains("fwmark");
        let has_server = text.lines().any(is_served);
        let made_services = made.report["services"].as_u64().context("services")?;
        ensure!((made_services > 0) == has_server, "{}: {made_services} services", path.display());
        all += lines;
        services += made_services;
    }
    println!("{} samples: each of {all} lines has a row, and {services} services are good", paths.len());
    Ok(())
}

/// What this machine lacks for rules of its own.
fn lacking(namespace: &Namespace) -> Option<&'static str> {
    let mut list = Command::new("ipvsadm");
    list.arg("--list");
    match namespace.run(list) {
        Ok(output) if output.status.success() => None,
        Ok(_) => Some("the kernel has no IPVS"),
        Err(_) => Some("there is no ipvsadm"),
    }
}

/// Each is a command of `ipvsadm`.
const RULES: &str = "\
-A -t 192.0.2.10:80 -s wlc -p 600 -M 255.255.255.0
-a -t 192.0.2.10:80 -r 10.0.0.1:8080 -m -w 3 -x 100 -y 50
-a -t 192.0.2.10:80 -r 10.0.0.2:80 -g -w 1
-A -u 192.0.2.10:53 -s sh -b sh-port,sh-fallback
-a -u 192.0.2.10:53 -r 10.0.0.1:53 -i -w 2
-a -u 192.0.2.10:53 -r 10.0.0.2:53 -i -w 2 --tun-type gue --tun-port 6080
-A -t [2001:db8::10]:443 -s mh -b mh-port
-a -t [2001:db8::10]:443 -r [2001:db8:1::1]:443 -g -w 0
-A -t 192.0.2.11:0 -s rr -p 60
-a -t 192.0.2.11:0 -r 10.0.0.3:0 -g -w 1
-A -u 192.0.2.12:5060 -s wrr -p 300 --pe sip
-a -u 192.0.2.12:5060 -r 10.0.0.4:5060 -m -w 1
-A -u 192.0.2.13:53 -s rr --ops
-a -u 192.0.2.13:53 -r 10.0.0.4:53 -m -w 1
-A -f 7 -s wlc
-a -f 7 -r 10.0.0.5:0 -g -w 1
";

#[test]
fn rules_of_the_real_ipvsadm_are_taken() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let namespace = topology.balancer();
    if let Some(what) = lacking(namespace) {
        println!("skipped: {what}; `cargo xtask test kernels` runs this on kernels with all of it");
        return Ok(());
    }
    for line in RULES.lines() {
        namespace.exec("ipvsadm", line.split(' ')).with_context(|| line.to_owned())?;
    }
    let saved = namespace.exec("ipvsadm", ["-S", "-n"])?;
    println!("ipvsadm -S -n:\n{saved}");
    let directory = TempDir::new()?;
    let words = ["ipvsadm", "--interface", "eth0", "--tunnel-source", "10.66.0.0/16"];
    let made = import(|command| namespace.run(command), directory.path(), &words)?;
    println!("{}", made.configuration);
    ensure!(count(&made.report, "lines")? == saved.lines().count() as u64, "{}", made.report);
    let services = made.report["services"].as_u64();
    ensure!((services, count(&made.report, "no_counterpart")?) == (Some(6), 2), "{}", made.report);
    for expected in [
        "scheduler: least-connections",
        "affinity: {type: client-ip, timeout: 10m, prefix_ipv4: 24}",
        "{address: 10.0.0.1, port: 8080, weight: 3, max_connections: 100}",
        "mode: ipip",
        "{type: gue, port: 6080}",
        "scheduler: maglev",
        "{address: \"2001:db8:1::1\", weight: 0}",
        "port: any",
    ] {
        ensure!(made.configuration.contains(expected), "no `{expected}` in\n{}", made.configuration);
    }
    // What was saved and what is asked for are the same, but for the thresholds, which are not saved.
    let file = directory.path().join("rules");
    fs::write(&file, &saved)?;
    let name = file.display().to_string();
    let words = ["ipvsadm", &name, "--interface", "eth0", "--tunnel-source", "10.66.0.0/16"];
    let from_file = import(here, directory.path(), &words)?;
    let body = |text: &str| text.split_once('\n').map(|(_, body)| body.to_owned());
    let without = made.configuration.replace(", max_connections: 100", "");
    ensure!(body(&from_file.configuration) == body(&without), "{}", from_file.configuration);
    ensure!(from_file.report["added"].to_string().contains("--thresholds"), "{}", from_file.report["added"]);
    Ok(())
}

#[test]
fn without_ipvs_the_command_says_what_to_do() -> Result<()> {
    let directory = TempDir::new()?;
    // A PATH without the program.
    let mut command = Command::new(find_binary()?);
    command.args(["import", "ipvsadm"]).env("PATH", directory.path());
    let output = here(command)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    ensure!(told.contains("ipvsadm cannot be started") && told.contains("or give a FILE"), "{told}");
    println!("{}", told.trim());
    Ok(())
}

/// Where the daemon of a test has its things; an import knows nothing of that.
fn placed(configuration: &str, paths: &Paths) -> String {
    let node = format!(
        "node:\n  flow_table: {{entries: 65536}}\n  api: {{socket: {}}}\n  pin_directory: {}\n  state_directory: {}\n  \
         limits: {{services: 64, backends: 256, slots: 262144}}\n",
        paths.socket.display(),
        paths.pins.display(),
        paths.state.display(),
    );
    configuration.replacen("node:\n", &node, 1)
}

#[test]
fn an_imported_file_serves() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let mut servers = nginx_everywhere(&topology, &[80], None)?;
    let address = |index: usize| topology.backends()[index].addresses().like(VIP4.into());
    let directory = TempDir::new()?;
    let include = "real_server ${NET} 80 {\n  weight 1\n  HTTP_GET {\n    url {\n      path /\n      status_code 200-404\n    }\n  }\n}\n";
    fs::write(directory.path().join("server.conf"), include)?;
    let text = format!(
        "global_defs {{\n  router_id test\n}}\n\
         virtual_server {VIP4} 80 {{\n  delay_loop 0.3\n  delay_before_retry 0.1\n  connect_timeout 0.2\n  retry 1\n  alpha\n  \
         lb_algo wrr\n  lb_kind DR\n  protocol TCP\n  sorry_server {} 80\n$NET={}\ninclude server.conf\n$NET={}\n\
         include *.conf.none\ninclude server.conf\n}}\n",
        address(2),
        address(0),
        address(1),
    );
    let file = directory.path().join("keepalived.conf");
    fs::write(&file, text)?;
    let interface = topology.balancer_interfaces().join(",");
    let words = ["keepalived", &file.display().to_string(), "--interface", &interface];
    let made = import(here, directory.path(), &words)?;
    ensure!(count(&made.report, "no_counterpart")? == 0 && count(&made.report, "changed")? == 0, "{}", made.report);

    let bpffs = Bpffs::mount()?;
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| placed(&made.configuration, paths))?;
    let name = format!("tcp-{VIP4}-80");
    let at = |index: usize| address(index).to_string();
    wait_for_takers(&daemon, &name, &[&at(0), &at(1)])?;
    let server = SocketAddr::new(VIP4.into(), 80);
    let served = |takers: [bool; 3]| -> Result<()> {
        let tally = connections(topology.client(), server, 40, 4)?;
        let found = ["b1", "b2", "b3"].map(|name| tally.of(name));
        // Each CPU takes turns of its own, so parts are not exact.
        let all = takers.iter().zip(found).all(|(takes, count)| (count >= 10) == *takes && (*takes || count == 0));
        ensure!(tally.failed() == 0 && all && found.iter().sum::<u64>() == 40, "{found:?}, {} failed", tally.failed());
        println!("40 connections: {found:?}");
        Ok(())
    };
    served([true, true, false])?;
    servers[0].kill();
    wait_for_takers(&daemon, &name, &[&at(1)])?;
    served([false, true, false])?;
    // The sorry server.
    servers[1].kill();
    wait_for_takers(&daemon, &name, &[&at(2)])?;
    served([false, false, true])
}
