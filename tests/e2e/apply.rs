//! `apply`, `export` and `--if-version`: a document becomes what runs, all of it or nothing.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    process::Output,
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Load, Tally, connections},
    daemon::Daemon,
    scenario::{Service, backend, configuration, nginx_everywhere, service_status, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

const TWO: [&str; 2] = ["b1", "b2"];

/// What a command came to: exit code, what it printed, and what it complained of.
fn run(daemon: &Daemon<'_>, arguments: &[&str]) -> Result<(i32, String, String)> {
    let Output { status, stdout, stderr } = daemon.command(arguments)?;
    Ok((status.code().context("a code")?, String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

/// Applies a document.
fn apply(daemon: &Daemon<'_>, document: &str, more: &[&str]) -> Result<(i32, String, String)> {
    let file = daemon.paths().config.with_file_name("document.yaml");
    fs::write(&file, document)?;
    run(daemon, &[&["apply", "-f", file.to_str().context("a path")?], more].concat())
}

fn version(daemon: &Daemon<'_>) -> Result<u64> {
    daemon.cli(&["status", "--json"])?["config_version"].as_u64().context("a version")
}

/// The exported document without the line that tells its version.
fn exported(daemon: &Daemon<'_>) -> Result<String> {
    let text = daemon.cli_text(&["export"])?;
    Ok(text.split_once('\n').context("two lines")?.1.to_owned())
}

/// A document with a service on these backends.
fn document(topology: &Topology, vip: IpAddr, name: &str, backends: &[(&str, u16)], option: &str) -> String {
    let item = |(name, weight): &(&str, u16)| {
        let address = backend(topology, name).addresses().like(vip);
        format!("    - {{name: {name}, address: '{address}', weight: {weight}}}\n")
    };
    let backends: String = backends.iter().map(item).collect();
    format!(
        "version: 1\nservices:\n- name: {name}\n  vip: '{vip}'\n  port: 80\n  protocol: tcp\n  {option}\n  \
         probe: {{type: tcp, interval: 200ms, timeout: 150ms, rise: 2, fall: 3}}\n  backends:\n{backends}"
    )
}

#[test]
fn a_document_becomes_what_runs_and_survives_a_restart() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let (file_vip, vip) = (IpAddr::from(VIP4), IpAddr::from(VIP6));
    let mut daemon = start(&topology, &bpffs, &[Service::tcp("web", file_vip, 80, &topology).only(&TWO)])?;
    wait_for_takers(&daemon, "web", &TWO)?;
    let load = Load::start(topology.client(), SocketAddr::new(file_vip, 80), 4);

    let first = document(&topology, vip, "more", &[("b1", 1), ("b2", 1)], "scheduler: maglev");
    let before = version(&daemon)?;
    let (code, out, _) = apply(&daemon, &first, &["--dry-run"])?;
    ensure!(
        code == 6 && out.contains("+ service more: tcp 2001:db8:") && out.contains("nothing done: 1 to add"),
        "{out}"
    );
    ensure!(version(&daemon)? == before && service_status(&daemon, "more").is_err(), "a dry run changed something");
    let (code, out, error) = apply(&daemon, &first, &["--if-version", &before.to_string()])?;
    ensure!(code == 0 && out.contains("applied: 1 to add"), "{out}{error}");
    ensure!(version(&daemon)? == before + 1);
    wait_for_takers(&daemon, "more", &TWO)?;
    let server = SocketAddr::new(vip, 80);
    let tally = connections(topology.client(), server, 200, 4)?;
    ensure!(tally.failed() == 0 && tally.of("b2") > 30, "{tally:?}");

    let (code, out, _) = apply(&daemon, &first, &["--dry-run"])?;
    ensure!(code == 0 && out.contains("nothing to change"), "{out}");
    let second = document(&topology, vip, "more", &[("b1", 3), ("b3", 1)], "scheduler: random");
    let (code, out, error) = apply(&daemon, &second, &["--if-version", &before.to_string()])?;
    ensure!(code == 5 && out.is_empty(), "{out}");
    ensure!(error.contains(&format!("has version {}, not {before}", before + 1)), "{error}");
    let (code, out, error) = apply(&daemon, &second, &[])?;
    for line in [
        "~ service more: scheduler maglev -> random",
        "  ~ backend b1 of more: weight 1 -> 3",
        "  + backend b3 of more",
        "  - backend b2 of more",
    ] {
        ensure!(code == 0 && out.contains(line), "no {line:?} in {out}{error}");
    }
    ensure!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    wait_until("b2 has left", PATIENCE, || wait_for_takers(&daemon, "more", &["b1", "b3"]).is_ok())?;
    let tally = connections(topology.client(), server, 200, 4)?;
    ensure!((tally.failed(), tally.of("b2")) == (0, 0), "{tally:?}");

    let kept = exported(&daemon)?;
    daemon.kill9();
    daemon.restart()?;
    ensure!(exported(&daemon)? == kept, "{}", exported(&daemon)?);
    ensure!(version(&daemon)? == before + 2, "a restart is no change");
    wait_for_takers(&daemon, "more", &["b1", "b3"])?;
    let status = service_status(&daemon, "more")?;
    ensure!(status["origin"] == "runtime" && status["place"].is_null(), "{status}");
    let status = service_status(&daemon, "web")?;
    let place = status["place"].as_str().context("a place")?;
    ensure!(status["origin"] == "file" && place.ends_with("evenkeel.yaml:10"), "{status}");

    let text = daemon.cli_text(&["status"])?;
    ensure!(text.contains("applied at run time") && text.contains(&format!("from {place}")), "{text}");

    let (code, out, error) = apply(&daemon, "version: 1\nservices: []\n", &["--prune"])?;
    ensure!(code == 0 && out.contains("- service more"), "{out}{error}");
    ensure!(service_status(&daemon, "more").is_err() && service_status(&daemon, "web").is_ok());
    let tally: Tally = load.stop()?.iter().collect();
    ensure!(tally.failed() == 0 && tally.answered() > 100, "{tally:?}");
    println!(
        "a service was applied, changed, kept over SIGKILL and pruned; {} connections of another one beside it, none failed",
        tally.answered()
    );
    Ok(())
}

#[test]
fn an_export_is_accepted_and_changes_nothing() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP4));
    let bpffs = Bpffs::mount()?;
    let service = Service::tcp("web", vip, 80, &topology).only(&TWO).option("scheduler: random");
    let daemon = start(&topology, &bpffs, &[service])?;
    let added = backend(&topology, "b3").addresses().like(vip).to_string();
    let other = document(&topology, VIP6.into(), "more", &[("b1", 1)], "drain_timeout: 1m 30s");
    ensure!(apply(&daemon, &other, &[])?.0 == 0);
    for change in [
        ["backend", "add", "web", &added, "--name", "b3", "--weight", "5"].as_slice(),
        &["backend", "weight", "web", "b1", "7"],
        &["backend", "drain", "web", "b2"],
        &["backend", "disable", "more", "b1"],
    ] {
        daemon.cli_text(change)?;
    }
    let text = daemon.cli_text(&["export"])?;
    let file = daemon.paths().config.with_file_name("exported.yaml");
    fs::write(&file, &text)?;
    let file = file.to_str().context("a path")?;
    let (code, out, error) = run(&daemon, &["check", file])?;
    ensure!(code == 0 && out.contains("services: 2, backends: 4"), "{out}{error}\n{text}");
    let before = version(&daemon)?;
    let (code, out, error) = run(&daemon, &["apply", "-f", file, "--prune"])?;
    ensure!(code == 0 && out.contains("nothing to change"), "{out}{error}\n{text}");
    ensure!(version(&daemon)? == before);

    // What a document leaves unsaid of a service is another thing than what was changed at run time.
    let (code, out, error) = run(&daemon, &["apply", "-f", &daemon.paths().config.display().to_string(), "--prune"])?;
    for line in [
        "~ backend b1 of web: weight 7 -> 1",
        "~ backend b2 of web: admin_state draining -> enabled",
        "- backend b3 of web",
        "- service more",
    ] {
        ensure!(code == 0 && out.contains(line), "no {line:?} in {out}{error}");
    }
    let b1 = &service_status(&daemon, "web")?["backends"][0];
    ensure!(b1["weight"] == 1 && b1["runtime_changes"] == serde_json::json!([]), "{b1}");
    println!(
        "an export of 4 changed backends was accepted and changed nothing; the file's own document took all of them back"
    );
    Ok(())
}

#[test]
fn drop_ins_are_read_and_a_service_of_the_file_takes_the_place_of_an_applied_one() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(2)?, IpAddr::from(VIP6));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let mut daemon = start(&topology, &bpffs, &[Service::tcp("web", VIP4.into(), 80, &topology)])?;
    let applied = document(&topology, vip, "more", &[("b1", 1)], "scheduler: random");
    ensure!(apply(&daemon, &applied, &[])?.0 == 0);
    let drop_ins = daemon.paths().config.with_extension("yaml.d");
    fs::create_dir(&drop_ins)?;
    fs::write(drop_ins.join("10-more.yaml"), document(&topology, vip, "more", &[("b2", 1)], "scheduler: maglev"))?;
    daemon.hangup()?;
    wait_until("the drop-in is in force", PATIENCE, || {
        service_status(&daemon, "more").is_ok_and(|status| status["origin"] == "file")
    })?;
    wait_for_takers(&daemon, "more", &["b2"])?;
    let status = service_status(&daemon, "more")?;
    ensure!(status["place"].as_str().is_some_and(|place| place.ends_with("10-more.yaml:3")), "{status}");
    let tally = connections(topology.client(), SocketAddr::new(vip, 80), 100, 4)?;
    ensure!(tally.failed() == 0 && tally.of("b2") == 100, "{tally:?}");
    let (code, _, error) = apply(&daemon, &applied, &[])?;
    ensure!(code == 1 && error.contains("10-more.yaml:3") && error.contains("edit that file and reload"), "{error}");

    // A bad drop-in leaves everything as it was, and is told by its own name.
    let before = exported(&daemon)?;
    fs::write(drop_ins.join("20-bad.yaml"), "services:\n- name: x\n  vip: nowhere\n")?;
    daemon.hangup()?;
    wait_until("the reload is refused", PATIENCE, || daemon.log().contains("20-bad.yaml:3:8: `vip`"))?;
    ensure!(exported(&daemon)? == before);
    println!("a drop-in took the place of an applied service at a reload; a bad one was refused by name");
    Ok(())
}

/// Documents and arguments that are refused: exit code, a part of the message, the document, the arguments.
fn refused<'a>(file: &'a str, b1: &str, b3: &str) -> Vec<(i32, &'a str, String, Vec<&'static str>)> {
    let of = |services: &str| format!("version: 1\nservices:\n{services}");
    let new = |more: &str| of(&format!("- {{name: new, vip: 192.0.2.77, port: 80, protocol: tcp{more}}}\n"));
    let web = |more: &str, backends: &str| {
        of(&format!("- {{name: web, vip: {VIP4}, port: 80, protocol: tcp{more}, backends: [{backends}]}}\n"))
    };
    let one = format!(", backends: [{b3}]");
    let named = format!("{{name: b1, address: {b1}}}");
    let quick = ", probe: {type: tcp, interval: 200ms, timeout: 150ms, rise: 2, fall: 3}";
    vec![
        (2, "the file is empty", String::new(), vec![]),
        (2, "expected a map", "[]".to_owned(), vec![]),
        (2, "not YAML", "services: [".to_owned(), vec![]),
        (2, "`version` is missing", "services: []\n".to_owned(), vec![]),
        (2, "`version` 2 is not known", "version: 2\nservices: []\n".to_owned(), vec![]),
        (2, "`services` is missing", "version: 1\n".to_owned(), vec![]),
        (2, "unknown key `servces`; did you mean `services`?", "version: 1\nservces: []\n".to_owned(), vec![]),
        (2, "expected a list", "version: 1\nservices: web\n".to_owned(), vec![]),
        (2, "more than one YAML document", "version: 1\n---\nservices: []\n".to_owned(), vec![]),
        (2, "`include` in what is applied", "version: 1\ninclude: [x.yaml]\nservices: []\n".to_owned(), vec![]),
        (
            2,
            ":2:1: `node` is not what the daemon runs with",
            "version: 1\nnode: {interfaces: [lo]}\nservices: []\n".to_owned(),
            vec![],
        ),
        (
            2,
            "`defaults` is not what the daemon runs with",
            "version: 1\ndefaults: {mode: ipip}\nservices: []\n".to_owned(),
            vec![],
        ),
        (2, "`name` is missing", of("- {vip: 192.0.2.77, port: 80, protocol: tcp, backends: [10.0.0.1]}\n"), vec![]),
        (2, "`backends` is missing", new(""), vec![]),
        (2, "no backends", new(", backends: []"), vec![]),
        (
            2,
            "unknown key `wieght`; did you mean `weight`?",
            new(", backends: [{address: 10.0.0.1, wieght: 1}]"),
            vec![],
        ),
        (2, "`weight` 70000 is out of range", new(", backends: [{address: 10.0.0.1, weight: 70000}]"), vec![]),
        (2, "`wrr` is a scheduler of IPVS; use `weighted-round-robin`", new(&format!(", scheduler: wrr{one}")), vec![]),
        (2, "two services are named `new`", new(&one) + &new(&one)[of("").len()..], vec![]),
        (2, "is given twice", new(&one).replace("version: 1", "version: 1\nversion: 1"), vec![]),
        (2, "overlaps service `web`", new(&one).replace("192.0.2.77", &VIP4.to_string()), vec![]),
        (2, "a duration without a unit", new(&format!(", drain_timeout: 5{one}")), vec![]),
        (2, "10.0.0.300", new(", backends: [10.0.0.300]"), vec![]),
        (2, "did you mean `http`?", new(&format!(", probe: {{type: htpp}}{one}")), vec![]),
        (1, "web is the configuration file's (", web(&format!("{quick}, scheduler: random"), &named), vec![]),
        (
            1,
            "scheduler unset -> random; edit that file and reload",
            web(&format!("{quick}, scheduler: random"), &named),
            vec!["--dry-run"],
        ),
        (1, "port 80 -> 81", web(quick, &named).replace("port: 80", "port: 81"), vec![]),
        (
            1,
            "backend b1 of service web is the configuration file's",
            web(quick, &format!("{{name: b1, address: {b1}, priority: 3}}")),
            vec![],
        ),
        (1, "name b1 -> other", web(quick, &format!("{{name: other, address: {b1}}}")), vec![]),
        (5, "has version", new(&one), vec!["--if-version", "999999"]),
        (2, "invalid value 'x' for '--if-version", new(&one), vec!["--if-version", "x"]),
        (2, "unexpected argument '--purne'", new(&one), vec!["--purne"]),
        (2, "cannot be used multiple times", new(&one), vec!["-f", "-"]),
        (
            2,
            "node.limits.services",
            (1..=70).fold(of(""), |text, n| {
                text + &format!("- {{name: s{n}, vip: 192.0.2.77, port: {n}, protocol: tcp, probe: none{one}}}\n")
            }),
            vec![],
        ),
        (1, file, web(&format!("{quick}, on_no_backend: reject"), &named), vec![]),
    ]
}

#[test]
fn what_is_refused_changes_nothing() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(3)?, IpAddr::from(VIP4));
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &[Service::tcp("web", vip, 80, &topology).only(&["b1"])])?;
    let address = |name| backend(&topology, name).addresses().like(vip).to_string();
    let before = daemon.cli_text(&["export"])?;
    let place = format!("{}:10", daemon.paths().config.display());
    let cases = refused(&place, &address("b1"), &address("b3"));
    let mut wrong = Vec::new();
    for (code, fragment, document, arguments) in &cases {
        let (is, out, error) = apply(&daemon, document, arguments)?;
        if is != *code || !error.contains(fragment) || !out.is_empty() {
            wrong.push(format!("{is} and not {code}, or no {fragment:?} in: {error}{out}of: {document}"));
        }
        if daemon.cli_text(&["export"])? != before {
            wrong.push(format!("changed by {document}"));
        }
    }
    for (arguments, code, fragment) in [
        (["apply", "-f", "/nowhere/x.yaml"].as_slice(), 2, "/nowhere/x.yaml cannot be read"),
        (&["apply"], 2, "--file <FILE>"),
        (&["status", "--if-version", "1"], 2, "for commands that change something"),
        (&["export", "--if-version", "1"], 2, "for commands that change something"),
        (&["backend", "weight", "web", "b1", "9", "--if-version", "77"], 5, "not 77"),
        (&["backend", "drain", "web", "b1", "--if-version", "77"], 5, "not 77"),
        (&["server", "disable", &address("b1"), "--if-version", "77"], 5, "not 77"),
        (&["backend", "add", "web", &address("b3"), "--if-version", "77"], 5, "not 77"),
        (&["backend", "remove", "web", "b1", "--now", "--if-version", "77"], 5, "not 77"),
        (&["verify", "--if-version", "77"], 2, "for commands that change something"),
    ] {
        let (is, _, error) = run(&daemon, arguments)?;
        if is != code || !error.contains(fragment) {
            wrong.push(format!("{arguments:?}: {is} and not {code}, or no {fragment:?} in: {error}"));
        }
    }
    ensure!(daemon.cli_text(&["export"])? == before, "something was changed");
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len() + 10, wrong.join("\n---\n"));
    let text = configuration(daemon.paths(), &topology, &[]) + "  []\n";
    ensure!(apply(&daemon, &text, &["--dry-run"])?.0 == 0, "the node may be said if it is the same");
    println!("{} bad inputs were refused with a reason, and nothing was changed", cases.len() + 10);
    Ok(())
}
