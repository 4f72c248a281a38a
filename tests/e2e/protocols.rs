//! One service of TCP and UDP, beside services that overlap it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{dig, dig_tcp},
    daemon::Daemon,
    namespace::Namespace,
    scenario::{Service, configuration, service_status, start, wait_for_takers},
    servers::{self, DNS_PORT, Dns, TXT_NAME},
    topology::{Topology, VIP4, VIP6},
};

const LIMIT: Duration = Duration::from_secs(10);
/// Questions over each protocol: that all go to one backend of two is a chance of 2^-39.
const QUESTIONS: usize = 40;

type Ask = fn(&Namespace, IpAddr, u16, &str, &str, Duration) -> Result<Vec<String>>;

/// Who answered how many questions.
fn answers(topology: &Topology, vip: IpAddr, ask: Ask) -> Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for _ in 0..QUESTIONS {
        let said = ask(topology.client(), vip, DNS_PORT, TXT_NAME, "TXT", LIMIT)?;
        let [name] = &said[..] else { anyhow::bail!("{said:?} is no name") };
        *answers.entry(name.clone()).or_default() += 1;
    }
    Ok(answers)
}

fn of_both(name: &str, vip: IpAddr, topology: &Topology) -> Service {
    Service { protocol: "any", ..Service::tcp(name, vip, DNS_PORT, topology) }
}

#[test]
fn dns_over_both_protocols_is_one_service() -> Result<()> {
    for vip in [IpAddr::from(VIP4), VIP6.into()] {
        let topology = Topology::one_nic(2)?;
        let start_dns = |name: usize| {
            let backend = &topology.backends()[name];
            servers::dns(backend.namespace(), backend.name())
        };
        let mut servers: [Dns; 2] = [start_dns(0)?, start_dns(1)?];
        let bpffs = Bpffs::mount()?;
        let daemon = start(&topology, &bpffs, &[of_both("dns", vip, &topology)])?;
        wait_for_takers(&daemon, "dns", &["b1", "b2"])?;
        let (udp, tcp) = (answers(&topology, vip, dig)?, answers(&topology, vip, dig_tcp)?);
        assert!(udp.len() == 2 && tcp.len() == 2, "{udp:?} {tcp:?}");
        let status = service_status(&daemon, "dns")?;
        assert_eq!(status["protocol"], "any");
        // A question over UDP is a flow and a packet, one over TCP a flow and some packets.
        let count = |key: &str| -> u64 {
            let backends = status["backends"].as_array().into_iter().flatten();
            backends.filter_map(|backend| backend[key].as_u64()).sum()
        };
        assert_eq!(count("flows_new"), 2 * QUESTIONS as u64, "{status}");
        assert!(count("packets") > 4 * QUESTIONS as u64, "{status}");
        // The probes ask TCP; a backend that is down for them is so for both.
        servers[0].kill();
        wait_for_takers(&daemon, "dns", &["b2"])?;
        let left = [answers(&topology, vip, dig)?, answers(&topology, vip, dig_tcp)?];
        for answers in left {
            assert_eq!(answers, [("b2".to_owned(), QUESTIONS)].into());
        }
        println!("{vip}: DNS by UDP {udp:?} and by TCP {tcp:?} from one service; without b1 all from b2");
    }
    Ok(())
}

/// What `explain` says of a packet to the VIP's port: the service, and the lines of those that it beats.
fn explained(daemon: &Daemon<'_>, protocol: &str, port: u16) -> Result<(String, Vec<String>)> {
    let (source, destination) = ("192.0.2.200:40000", format!("{VIP4}:{port}"));
    let question = ["explain", "--proto", protocol, "--src", source, "--dst", &destination];
    let json = daemon.cli(&[&["--json"], &question[..]].concat())?;
    let text = daemon.cli_text(&question)?;
    let field = |name: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.strip_prefix(name)?.trim().to_owned())).collect()
    };
    let (service, beaten) = (field("service"), field("beats"));
    let names: Vec<_> = json["beats"].as_array().context("a list")?.iter().map(|beaten| &beaten["service"]).collect();
    ensure!(service.len() == 1 && beaten.len() == names.len(), "{text}\n{json}");
    ensure!(beaten.iter().zip(names).all(|(line, name)| line.starts_with(name.as_str().unwrap_or(" "))), "{text}");
    Ok((service[0].clone(), beaten))
}

#[test]
fn explain_says_which_rules_gave_way() -> Result<()> {
    let topology = Topology::one_nic(1)?;
    let unprobed = |service: Service| service.options(&["probe: none"]);
    let dns = unprobed(of_both("dns", VIP4.into(), &topology));
    let range = unprobed(Service { name: "range".into(), protocol: "udp", ..dns.clone() });
    let wide = unprobed(of_both("wide", VIP4.into(), &topology));
    let bpffs = Bpffs::mount()?;
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| {
        let text = configuration(paths, &topology, &[dns, range, wide]);
        let [head, dns, range, wide] = &text.split("    - name: ").collect::<Vec<_>>()[..] else { panic!("{text}") };
        let range = range.replace("port: 53", "port: 50-59");
        let wide = wide.replace("port: 53", "port: any").replace(&format!("vip: {VIP4}"), &format!("vip: {VIP4}/31"));
        [*head, *dns, &range, &wide].join("    - name: ")
    })?;
    wait_for_takers(&daemon, "dns", &["b1"])?;
    let prefix = "prefix 192.0.2.10/31 gives way to the longer 192.0.2.10/32";
    for (protocol, port, service, beats) in [
        ("tcp", 53, "dns", vec![format!("wide: {prefix}")]),
        ("udp", 53, "dns", vec!["range: range of ports 50-59 gives way to port 53".into(), format!("wide: {prefix}")]),
        ("udp", 54, "range", vec![format!("wide: {prefix}")]),
        ("tcp", 54, "wide", vec![]),
    ] {
        assert_eq!(explained(&daemon, protocol, port)?, (service.to_owned(), beats), "{protocol} {port}");
    }
    println!("explain names the service that a packet is for, and why three rules gave way");
    Ok(())
}
