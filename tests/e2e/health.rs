//! Probes of each kind against real servers on the backends: one that fails takes its backend down, and only that one, and
//! `status` says why.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::connections,
    daemon::Daemon,
    names,
    namespace::Namespace,
    process::Process,
    scenario::{
        Service, backend_status, configuration, nginx_everywhere, service_status, start, wait_for_backend,
        wait_for_takers,
    },
    servers::{DNS_PORT, TXT_NAME, dns, nginx},
    topology::{Topology, VIP4},
    wait::{PATIENCE, wait_ok},
};
use serde_json::Value;

/// The times of the probes; what is special to a kind goes in front.
const TIMES: &str = "interval: 200ms, timeout: 150ms, rise: 2, fall: 2";

/// A service whose probe has these options.
fn probed(name: &str, port: u16, probe: &str, topology: &Topology) -> Service {
    let line = format!("probe: {{{probe}, {TIMES}}}");
    Service::tcp(name, VIP4.into(), port, topology).options(&[&line])
}

fn probed_udp(name: &str, port: u16, probe: &str, topology: &Topology) -> Service {
    Service { protocol: "udp", ..probed(name, port, probe, topology) }
}

/// Waits until `b1` is down for this reason, and nobody else is.
fn wait_down(daemon: &Daemon<'_>, service: &str, reason: &str) -> Result<()> {
    let says = |status: &Value| {
        let holds = |value: &Value| value.as_str().is_some_and(|text| text.contains(reason));
        status["health"] == "down" && (holds(&status["health_reason"]) || holds(&status["last_probe"]["error"]))
    };
    wait_for_backend(daemon, service, "b1", &format!("down because of {reason:?}"), says)
        .with_context(|| format!("{:?}", backend_status(daemon, service, "b1")))?;
    wait_for_takers(daemon, service, &["b2"])?;
    let other = backend_status(daemon, service, "b2")?;
    ensure!(other["health"] == "up" && other["health_history"].as_array().map(Vec::len) == Some(1), "{other}");
    Ok(())
}

fn wait_both(daemon: &Daemon<'_>, service: &str) -> Result<()> {
    wait_for_takers(daemon, service, &["b1", "b2"])
}

/// nginx that serves a directory on port 80, and with a certificate for a name on 443.
fn web(namespace: &Namespace, directory: &Path, name: &str) -> Result<Process> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let place = directory.display();
    fs::write(directory.join("certificate.pem"), made.cert.pem())?;
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem())?;
    fs::write(
        directory.join("nginx.conf"),
        format!(
            "daemon off;\nmaster_process off;\npid {place}/pid;\nevents {{ }}\nhttp {{\n  access_log off;\n  \
             client_body_temp_path {place}/t1;\n  proxy_temp_path {place}/t2;\n  fastcgi_temp_path {place}/t3;\n  \
             uwsgi_temp_path {place}/t4;\n  scgi_temp_path {place}/t5;\n  server {{\n    listen 80;\n    \
             listen 443 ssl;\n    ssl_certificate {place}/certificate.pem;\n    ssl_certificate_key {place}/key.pem;\n    \
             root {place}/www;\n  }}\n}}\n"
        ),
    )?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf")).arg("-e").arg(directory.join("log"));
    let mut process = namespace.spawn(command)?;
    process.wait_ready("nginx listens", PATIENCE, || {
        namespace.enter(|| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, 443)))??;
        Ok(())
    })?;
    Ok(process)
}

#[test]
fn http_and_https_by_status_body_and_certificate() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    let directories = [names::scratch("web")?, names::scratch("web")?];
    let mut servers = Vec::new();
    for (backend, directory) in topology.backends().iter().zip(&directories) {
        fs::create_dir(directory.path().join("www"))?;
        fs::write(directory.path().join("www/healthz"), "all well\n")?;
        servers.push(web(backend.namespace(), directory.path(), "www.example")?);
    }
    // Both certificates, each its own authority.
    let pems: Vec<String> = directories
        .iter()
        .map(|place| fs::read_to_string(place.path().join("certificate.pem")))
        .collect::<Result<_, _>>()?;
    let authorities = directories[0].path().join("authorities.pem");
    fs::write(&authorities, pems.concat())?;

    let bpffs = Bpffs::mount()?;
    let secure = format!("type: https, path: /healthz, server_name: www.example, ca_file: {}", authorities.display());
    let services = [
        probed("plain", 80, "type: http, path: /healthz, body_matches: ^all (well|good)", &topology),
        probed("secure", 443, &secure, &topology),
    ];
    let daemon = start(&topology, &bpffs, &services)?;
    wait_both(&daemon, "plain")?;
    wait_both(&daemon, "secure")?;

    let file = directories[0].path().join("www/healthz");
    fs::write(&file, "disk is full\n")?;
    wait_down(&daemon, "plain", "the body holds nothing that matches `^all (well|good)`")?;
    wait_both(&daemon, "secure")?;
    fs::remove_file(&file)?;
    wait_down(&daemon, "plain", "status 404, expected 200-299")?;
    wait_down(&daemon, "secure", "status 404, expected 200-299")?;
    fs::write(&file, "all good\n")?;
    wait_both(&daemon, "plain")?;
    wait_both(&daemon, "secure")?;

    servers[0].kill();
    wait_down(&daemon, "plain", "connection refused")?;
    // It comes back with a certificate that nobody signed whom the probe trusts.
    servers[0] = web(topology.backends()[0].namespace(), directories[0].path(), "mail.example")?;
    wait_both(&daemon, "plain")?;
    wait_down(&daemon, "secure", "TLS: invalid peer certificate")?;
    println!("http and https: down by body, status, refusal and certificate, each with its reason, and only b1");
    Ok(())
}

#[test]
fn dns_by_its_answer() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    let mut servers = topology.backends().iter().map(|b| dns(b.namespace(), b.name())).collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let probe = format!("type: dns, query: {TXT_NAME}, query_type: TXT");
    let absent = "type: dns, query: nobody.example, rcode: NXDOMAIN";
    let named = format!("{probe}, answer: b2");
    let services = [
        probed_udp("dns", DNS_PORT, &probe, &topology),
        Service { port: 54, ..probed_udp("named", 54, &format!("{named}, port: {DNS_PORT}"), &topology) },
        Service { port: 55, ..probed_udp("absent", 55, &format!("{absent}, port: {DNS_PORT}"), &topology) },
    ];
    let daemon = start(&topology, &bpffs, &services)?;
    wait_both(&daemon, "dns")?;
    wait_both(&daemon, "absent")?;
    wait_down(&daemon, "named", "answered b1, expected b2")?;
    servers[0].kill();
    wait_down(&daemon, "dns", "port unreachable")?;
    servers[0] = dns(topology.backends()[0].namespace(), "b1")?;
    wait_both(&daemon, "dns")?;
    println!("dns: b1 down when dnsmasq was gone, up with it; a record and NXDOMAIN were looked for too");
    Ok(())
}

#[test]
fn udp_by_icmp_unreachable_alone() -> Result<()> {
    const PORT: u16 = 5000;
    let topology = Topology::one_nic(2)?;
    // They never answer.
    let open = |index: usize| {
        let namespace = topology.backends()[index].namespace();
        namespace.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))?.context("cannot bind")
    };
    let mut servers = [Some(open(0)?), Some(open(1)?)];
    let bpffs = Bpffs::mount()?;
    // A host sends one ICMP unreachable a second.
    let line = "probe: {type: udp, send_hex: '00ff', interval: 1200ms, timeout: 800ms, rise: 1, fall: 2}";
    let service = Service::udp("syslog", VIP4.into(), PORT, &topology).options(&[line]);
    let daemon = start(&topology, &bpffs, &[service])?;
    wait_both(&daemon, "syslog")?;
    servers[0] = None;
    wait_down(&daemon, "syslog", "port unreachable")?;
    servers[0] = Some(open(0)?);
    wait_both(&daemon, "syslog")?;

    // An error that comes later: the kernel looks for the MAC address for 3 × 100 ms, by default 3 × 1 s.
    for interface in topology.balancer_interfaces() {
        let key = format!("net/ipv4/neigh/{interface}/retrans_time_ms");
        topology.balancer().sysctl(&[(key.as_str(), "100")])?;
    }
    topology.set_cable(&topology.backends()[0], false)?;
    wait_down(&daemon, "syslog", "no route to host")?;
    println!("udp: silence is good; ICMP port unreachable took b1 down, and so did a host without a MAC address");
    Ok(())
}

#[test]
fn icmp_by_echo() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &[probed("ping", 80, "type: icmp", &topology)])?;
    wait_both(&daemon, "ping")?;
    let deaf = |yes: &str| topology.backends()[0].namespace().sysctl(&[("net/ipv4/icmp_echo_ignore_all", yes)]);
    // With a raw socket, then with one that needs no rights.
    for range in ["1 0", "0 1000"] {
        topology.balancer().sysctl(&[("net/ipv4/ping_group_range", range)])?;
        deaf("1")?;
        wait_down(&daemon, "ping", "timed out after 150 ms")?;
        deaf("0")?;
        wait_both(&daemon, "ping")?;
    }
    println!("icmp: b1 down while it ignored echo requests");
    Ok(())
}

#[test]
fn exec_by_its_end() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    let directory = names::scratch("exec")?;
    let script = directory.path().join("check");
    let marks = directory.path().display();
    fs::write(
        &script,
        format!(
            "#!/bin/sh\nmark={marks}/$EVENKEEL_ADDRESS\n[ ! -e $mark.slow ] || sleep 1000\n\
             [ ! -e $mark ] || {{ echo \"$1 $EVENKEEL_ADDRESS:$EVENKEEL_PORT\"; exit 7; }}\n"
        ),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let bpffs = Bpffs::mount()?;
    let probe = format!("type: exec, command: [{}, \"maintenance of\"]", script.display());
    let daemon = start(&topology, &bpffs, &[probed("exec", 80, &probe, &topology)])?;
    wait_both(&daemon, "exec")?;
    let address = topology.backends()[0].addresses().v4;
    let mark = directory.path().join(address.to_string());
    fs::write(&mark, "")?;
    wait_down(&daemon, "exec", &format!("ended with 7: maintenance of {address}:80"))?;
    fs::remove_file(&mark)?;
    wait_both(&daemon, "exec")?;
    fs::write(directory.path().join(format!("{address}.slow")), "")?;
    wait_down(&daemon, "exec", "timed out after 150 ms")?;

    let text = daemon.cli_text(&["backend", "show", "exec", "b1"])?;
    for part in [
        "health: down for",
        "last probe: ",
        "ended with 7: maintenance of",
        "changes, the newest first:",
        "up: 2 successes in a row",
    ] {
        ensure!(text.contains(part), "no {part:?} in\n{text}");
    }
    println!("exec: b1 down by exit code and by time-out; its history:\n{text}");
    Ok(())
}

/// An agent that says a line to whoever connects.
struct Agent(Arc<Mutex<String>>);

impl Agent {
    const PORT: u16 = 9000;

    /// Starts one; its thread ends with the test's process.
    fn start(namespace: &Namespace) -> Result<Self> {
        let listener = namespace.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, Self::PORT)))??;
        let line = Arc::new(Mutex::new("up".to_owned()));
        let said = Arc::clone(&line);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let line = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let _ = stream.and_then(|mut stream| writeln!(stream, "{line}"));
            }
        });
        Ok(Self(line))
    }

    fn says(&self, line: &str) {
        line.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Waits until the weight in the slot table is this share of both.
fn wait_share(daemon: &Daemon<'_>, share: f64) -> Result<()> {
    wait_ok(&format!("b1 has {share} of the slots"), PATIENCE, || {
        let slots = |name: &str| -> Result<f64> {
            backend_status(daemon, "web", name)?["slots"].as_f64().context("a number of slots")
        };
        let (one, other) = (slots("b1")?, slots("b2")?);
        ensure!((one / (one + other) - share).abs() < 0.02, "{one} and {other}");
        Ok(())
    })
}

#[test]
fn agents_drain_weigh_and_take_down() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let agents = topology.backends().iter().map(|b| Agent::start(b.namespace())).collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let probe = format!("type: agent, port: {}", Agent::PORT);
    let daemon = start(&topology, &bpffs, &[probed("web", 80, &probe, &topology).weights(&[100, 100])])?;
    wait_both(&daemon, "web")?;
    wait_share(&daemon, 0.5)?;
    let (client, server) = (topology.client(), SocketAddr::new(IpAddr::from(VIP4), 80));

    agents[0].says("drain");
    wait_for_takers(&daemon, "web", &["b2"])?;
    let drained = backend_status(&daemon, "web", "b1")?;
    ensure!(drained["health"] == "up" && drained["wants"] == "drain" && drained["keeps_flows"] == true, "{drained}");
    let tally = connections(client, server, 200, 4)?;
    ensure!(tally.failed() == 0 && tally.of("b1") == 0, "{tally:?}");

    agents[0].says("maint");
    wait_for_backend(&daemon, "web", "b1", "keeps no flows", |status| status["keeps_flows"] == false)?;
    // What is not spoken of stays as it was.
    agents[0].says("50%");
    wait_for_backend(&daemon, "web", "b1", "50 %", |status| status["weight_percent"] == 50)?;
    ensure!(backend_status(&daemon, "web", "b1")?["wants"] == "maint");
    agents[0].says("ready");
    wait_both(&daemon, "web")?;
    wait_share(&daemon, 1.0 / 3.0)?;
    let tally = connections(client, server, 300, 4)?;
    ensure!(tally.failed() == 0 && tally.of("b1") > 0, "{tally:?}");

    agents[0].says("down # disk is full");
    wait_down(&daemon, "web", "the agent says down: disk is full")?;
    println!("agent: b1 drained, in maintenance, at half its weight and down as its agent said");
    Ok(())
}

/// Waits until a service's status says this of its quorum.
fn wait_quorum(daemon: &Daemon<'_>, service: &str, state: &str, able: u64) -> Result<()> {
    wait_ok(&format!("the quorum of {service} is {state} with {able}"), PATIENCE, || {
        let quorum = service_status(daemon, service)?["quorum"].clone();
        ensure!(quorum["state"] == state && quorum["able"] == able, "{quorum}");
        Ok(())
    })
}

#[test]
fn who_flaps_is_held_down() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    let mut servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let held = "damping: {flaps: 1, stable: 1h, hold: 1h, max_hold: 1h}";
    let with = |damping: &str| [probed("web", 80, &format!("type: tcp, {damping}"), &topology)];
    let mut daemon = start(&topology, &bpffs, &with(held))?;
    wait_both(&daemon, "web")?;
    servers[0].kill();
    wait_down(&daemon, "web", "held down for 1h, as 1 time it was up for less than 1h")?;
    servers[0] = nginx(topology.backends()[0].namespace(), "b1", &[80], None)?;
    wait_for_backend(&daemon, "web", "b1", "answers and is down", |status| {
        let answers = status["last_probe"]["error"].is_null() && !status["last_probe"]["latency_us"].is_null();
        answers && status["health"] == "down" && !status["held_until"].is_null()
    })?;
    wait_for_takers(&daemon, "web", &["b2"])?;
    let text = daemon.cli_text(&["backend", "show", "web", "b1"])?;
    ensure!(text.contains("held down for flapping: 59m"), "{text}");

    let without = with("rise: 2").map(|service| service.options(&[&format!("probe: {{type: tcp, {TIMES}}}")]));
    daemon.configure(|paths| configuration(paths, &topology, &without))?;
    daemon.hangup()?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;

    let brief = with("damping: {flaps: 1, stable: 1h, hold: 1s}");
    daemon.configure(|paths| configuration(paths, &topology, &brief))?;
    daemon.hangup()?;
    servers[0].kill();
    wait_for_backend(&daemon, "web", "b1", "held down", |status| !status["held_until"].is_null())?;
    servers[0] = nginx(topology.backends()[0].namespace(), "b1", &[80], None)?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    println!("damping: b1 answered again and stayed down until its hold was taken back, or over");
    Ok(())
}

#[test]
fn quorums_are_lost_and_met_and_hooks_are_told() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let mut servers = nginx_everywhere(&topology, &[80], None)?;
    let directory = names::scratch("hooks")?;
    let (script, told) = (directory.path().join("hook"), directory.path().join("told"));
    let line = "$1 $EVENKEEL_EVENT $EVENKEEL_SERVICE $EVENKEEL_BACKEND $EVENKEEL_BEFORE-$EVENKEEL_STATE";
    let more = "$EVENKEEL_UP/$EVENKEEL_BACKENDS $EVENKEEL_VIP:$EVENKEEL_PORT/$EVENKEEL_PROTOCOL $EVENKEEL_REASON";
    fs::write(&script, format!("#!/bin/sh\necho \"{line} {more}\" >> {}\n", told.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let says = |part: &str| {
        wait_ok(&format!("a hook was told {part:?}"), PATIENCE, || {
            let text = fs::read_to_string(&told)?;
            ensure!(text.lines().any(|line| line.contains(part)), "{text}");
            Ok(())
        })
    };

    let bpffs = Bpffs::mount()?;
    let path = script.display();
    let hooks = format!("hooks: {{quorum: [{path}, tell], backend: [{path}, tell], timeout: 5s}}");
    let hanging = "hooks: {quorum: [/bin/sleep, '3600'], backend: [/bin/sleep, '3600'], timeout: 10m}";
    let failing = "hooks: {quorum: [/bin/sh, '-c', 'echo out of luck; exit 3']}";
    let services = [
        probed("web", 80, "type: tcp", &topology).option("quorum: {up: 3, down: 2}").option(&hooks),
        probed("hangs", 81, "type: tcp, port: 80", &topology).option("quorum: {up: 100%}").option(hanging),
        probed("fails", 82, "type: tcp, port: 80", &topology).option("quorum: {up: 40%}").option(failing),
    ];
    let daemon = start(&topology, &bpffs, &services)?;
    wait_quorum(&daemon, "web", "met", 3)?;
    says("tell quorum web  unknown-met 3/3 10.1.0.1:80/tcp".replace("10.1.0.1", &VIP4.to_string()).as_str())?;
    says("tell backend web b1 unknown-up")?;

    // One less changes nothing here, two less do; one more does not bring it back, two more do.
    servers[0].kill();
    wait_quorum(&daemon, "web", "met", 2)?;
    wait_quorum(&daemon, "hangs", "lost", 2)?;
    says("tell backend web b1 up-down")?;
    servers[1].kill();
    wait_quorum(&daemon, "web", "lost", 1)?;
    wait_quorum(&daemon, "fails", "lost", 1)?;
    says("tell quorum web  met-lost 1/3")?;
    says("2 failures in a row: connection refused")?;
    wait_ok("the failure of a hook is logged", PATIENCE, || {
        ensure!(daemon.log().contains("hook failed: ended with 3") && daemon.log().contains("out of luck"));
        Ok(())
    })?;
    servers[0] = nginx(topology.backends()[0].namespace(), "b1", &[80], None)?;
    wait_quorum(&daemon, "web", "lost", 2)?;
    wait_quorum(&daemon, "fails", "met", 2)?;
    let text = daemon.cli_text(&["service", "show", "web"])?;
    ensure!(text.contains("2 of 3 backends can take flows, 66% of the weight; met with 3, lost below 2"), "{text}");
    servers[1] = nginx(topology.backends()[1].namespace(), "b2", &[80], None)?;
    wait_quorum(&daemon, "web", "met", 3)?;
    says("tell quorum web  lost-met 3/3")?;
    // What the operator takes away counts as well.
    daemon.cli_text(&["backend", "drain", "web", "b1"])?;
    daemon.cli_text(&["backend", "drain", "web", "b2"])?;
    wait_quorum(&daemon, "web", "lost", 1)?;
    println!(
        "quorum: lost and met with hysteresis, by health and by drain; hooks were told:\n{}",
        fs::read_to_string(&told)?
    );
    Ok(())
}
