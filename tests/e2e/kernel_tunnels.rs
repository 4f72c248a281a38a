//! Backends with the kernel's own tunnel devices, behind Evenkeel and behind IPVS: two balancers, the same clients and backends.
//!
//! ```text
//!                     evenkeel    IPVS         b1, b2
//!   client            balancer     b3     ek44 ek64 ek6, GUE on 6080
//!    eth0               eth0      eth0         eth0
//!   ──┴──────────────────┴─────────┴────────────┴── front
//! ```
//!
//! The client routes IPVS's VIPs to `b3`, the others to Evenkeel. The backends are set up with the commands of
//! `docs/backends.md`, as they stand there. `cargo xtask test kernels` runs this where the kernel has what it takes.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    panic::resume_unwind,
    process::Command,
    thread,
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    content::Content,
    daemon::{Daemon, Paths},
    namespace::Namespace,
    servers::{self, DNS_PORT},
    topology::{Backend, Topology},
    wait::{PATIENCE, wait_ok},
};
use serde_json::Value;

use crate::{modes::Case, serving::serves_some};

/// Bytes of each download. A CPU that is emulated takes seconds for it.
const SIZE: usize = 16_000_000;
/// Connections besides, at each balancer.
const CONNECTIONS: u64 = 100;
/// How the manual is to be read: its addresses, and the commands between headings.
const MANUAL: &str = include_str!("../../docs/backends.md");
const HEADINGS: [&str; 2] = ["## The kernel's own devices", "## What has been tried"];

/// A VIP of IPVS, of a family, and after `earlier` others: IPVS keeps connections of services that are gone.
fn ipvs_vip(like: IpAddr, earlier: usize) -> IpAddr {
    let last = 20 + earlier as u8;
    match like {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, last).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, last.into()).into(),
    }
}

/// The shell commands of the manual's sections on kernel devices.
fn commands() -> String {
    let section = MANUAL.split_once(HEADINGS[0]).and_then(|(_, rest)| rest.split_once(HEADINGS[1]));
    let (section, _) = section.expect("the manual has these headings");
    let blocks = section.split("```sh\n").skip(1).filter_map(|block| block.split_once("```"));
    blocks.map(|(commands, _)| commands).collect()
}

/// Does at a backend what the manual says, with our addresses in place of its own and `vip` as its VIPs.
fn set_up(backend: &Backend, topology: &Topology, ipvs: &Backend) -> Result<()> {
    let (own, client, director) = (backend.addresses(), topology.client_addresses(), ipvs.addresses());
    let mut script = format!("set -e\n{}", commands());
    for (theirs, ours) in [
        ("192.0.2.101", own.v4.to_string()),
        ("2001:db8::101", own.v6.to_string()),
        ("192.0.2.1 ", format!("{} ", client.v4)),
        ("2001:db8::1 ", format!("{} ", client.v6)),
        ("198.51.100.0/24", format!("{{ 10.66.0.0/16, {} }}", director.v4)),
        ("2001:db8:a::/64", format!("{{ 2001:db8:66::/64, {} }}", director.v6)),
        ("203.0.113.10", ipvs_vip(own.v4.into(), 0).to_string()),
        ("2001:db8:ff::10", ipvs_vip(own.v6.into(), 0).to_string()),
    ] {
        ensure!(script.contains(theirs), "the manual has no {theirs} any more");
        script = script.replace(theirs, &ours);
    }
    // As strict as some distributions are; the manual says where it has to be looser.
    backend.namespace().sysctl(&[("net/ipv4/conf/all/rp_filter", "1")])?;
    let said = backend.namespace().exec("sh", ["-c", &script]);
    said.map(drop).with_context(|| format!("the manual's commands:\n{script}"))
}

/// What this machine lacks for these tests.
fn lacking(namespace: &Namespace) -> Result<Option<&'static str>> {
    for kind in ["ipip local 192.0.2.101", "sit local 192.0.2.101", "ip6tnl local 2001:db8::101"] {
        let known = namespace.ip(&[format!("link add probe type {kind} remote any"), "link del probe".to_owned()]);
        match known {
            Err(error) if format!("{error:#}").contains("Unknown device type") => {
                return Ok(Some("the kernel has no tunnel devices"));
            }
            other => other?,
        }
    }
    let mut list = Command::new("ipvsadm");
    list.arg("--list");
    Ok(match namespace.run(list) {
        Ok(output) if output.status.success() => None,
        Ok(_) => Some("the kernel has no IPVS"),
        Err(_) => Some("there is no ipvsadm"),
    })
}

/// IPVS's services for a case: HTTP and DNS on `vip`, with these words for how each backend is reached.
fn direct(ipvs: &Backend, vip: IpAddr, backends: &[IpAddr], method: &[&str]) -> Result<()> {
    let with_port = |address: IpAddr, port: u16| SocketAddr::new(address, port).to_string();
    for (protocol, port) in [("--tcp-service", 80), ("--udp-service", DNS_PORT)] {
        let service = with_port(vip, port);
        ipvs.namespace().exec("ipvsadm", ["--add-service", protocol, &service, "--scheduler", "rr"])?;
        for backend in backends {
            let backend = with_port(*backend, port);
            let words = ["--add-server", protocol, &service, "--real-server", &backend];
            ipvs.namespace().exec("ipvsadm", words.iter().chain(method))?;
        }
    }
    Ok(())
}

/// Packets that IPVS has sent on: the second number of `/proc/net/ip_vs_stats`, hexadecimal.
fn sent_by_ipvs(ipvs: &Backend) -> Result<u64> {
    let stats = ipvs.namespace().enter(|| fs::read_to_string("/proc/thread-self/net/ip_vs_stats"))??;
    let total = stats.lines().nth(2).context("a line of sums")?;
    let packets = total.split_whitespace().nth(1).context("packets")?;
    u64::from_str_radix(packets, 16).with_context(|| format!("{packets} is no number"))
}

fn node_counters(daemon: &Daemon<'_>) -> Result<Value> {
    Ok(daemon.cli(&["--json", "status"])?["node"]["counters"].clone())
}

fn sent_by_evenkeel(daemon: &Daemon<'_>) -> Result<u64> {
    let counters = node_counters(daemon)?;
    let count = |name: &str| counters[name].as_u64().with_context(|| format!("no {name} in {counters}"));
    Ok(count("transmitted")? + count("redirected")? - count("replies")?)
}

/// What a tunnel device of the backends has unpacked.
fn unpacked(backends: &[Backend], device: &str) -> Result<Vec<u64>> {
    let count = |backend: &Backend| {
        let text = backend.namespace().exec("ip", ["-statistics", "-json", "link", "show", "dev", device])?;
        let links: Value = serde_json::from_str(&text)?;
        links[0]["stats64"]["rx"]["packets"].as_u64().with_context(|| format!("no packets in {text}"))
    };
    backends.iter().map(count).collect()
}

/// Every case at both balancers at once. `method` is IPVS's for the mode; `devices` says whether the kernel's devices unpack.
fn check(cases: &[Case], method: &[&str], devices: bool) -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let [backends @ .., ipvs] = topology.backends() else { unreachable!("there are three") };
    if let Some(what) = lacking(ipvs.namespace())? {
        println!("skipped: {what}; `cargo xtask test kernels` runs this on kernels with all of it");
        return Ok(());
    }
    backends.iter().try_for_each(|backend| set_up(backend, &topology, ipvs))?;
    let content = Content::generate(7, SIZE);
    let nginx = backends.iter().map(|b| servers::nginx(b.namespace(), b.name(), &[80], Some(&content)));
    let _nginx = nginx.collect::<Result<Vec<_>>>()?;
    let dns = backends.iter().map(|backend| servers::dns(backend.namespace(), backend.name()));
    let _dns = dns.collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let configuration = |paths: &Paths| cases[0].configuration(&topology, paths);
    let mut daemon = Daemon::start(topology.balancer(), &bpffs, configuration)?;
    for (i, case) in cases.iter().enumerate() {
        daemon.configure(|paths| case.configuration(&topology, paths))?;
        daemon.hangup()?;
        case.await_in_force(&daemon)?;
        let earlier = cases[..i].iter().filter(|earlier| earlier.vip == case.vip).count();
        let vip = ipvs_vip(case.vip, earlier);
        if earlier > 0 {
            backends.iter().try_for_each(|backend| backend.add_vip(vip))?;
        }
        ipvs.add_vip(vip)?;
        direct(ipvs, vip, &backends.iter().map(|backend| case.address(backend)).collect::<Vec<_>>(), method)?;
        topology.client().ip(&[format!("route replace {vip} via {} dev eth0", ipvs.addresses().like(vip))])?;
        let both = || both_serve(case.vip, vip, &topology, &content);
        if devices { all_unpacked(case, backends, &daemon, ipvs, both) } else { both() }
            .with_context(|| case.name())?;
        println!("{}: Evenkeel and IPVS served the same clients at once", case.name());
    }
    let counters = node_counters(&daemon)?;
    let dropped = counters["dropped"].as_object().context("reasons")?;
    assert!(dropped.values().all(|count| count == 0), "{counters}");
    Ok(())
}

/// Evenkeel's VIP and IPVS's, at the same time.
fn both_serve(ours: IpAddr, theirs: IpAddr, topology: &Topology, content: &Content) -> Result<()> {
    thread::scope(|scope| {
        let serve =
            |vip, who| scope.spawn(move || serves_some(topology, vip, DNS_PORT, content, CONNECTIONS).context(who));
        let both = [serve(ours, "Evenkeel"), serve(theirs, "IPVS")];
        both.into_iter().try_for_each(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Sees to it that every packet that the balancers send meanwhile comes out of the backends' devices.
fn all_unpacked(
    case: &Case,
    backends: &[Backend],
    daemon: &Daemon<'_>,
    ipvs: &Backend,
    meanwhile: impl Fn() -> Result<()>,
) -> Result<()> {
    let device = match (case.vip, case.backends_v6) {
        (_, true) => "ek6",
        (IpAddr::V4(_), false) => "ek44",
        (IpAddr::V6(_), false) => "ek64",
    };
    let counts = || -> Result<_> { Ok((sent_by_evenkeel(daemon)?, sent_by_ipvs(ipvs)?, unpacked(backends, device)?)) };
    let before = counts()?;
    meanwhile()?;
    // The last packets of a connection may be under way.
    let (ours, theirs, devices) = wait_ok("all packets have come out", PATIENCE, || {
        let now = counts()?;
        let (ours, theirs) = (now.0 - before.0, now.1 - before.1);
        let devices: Vec<_> = now.2.iter().zip(&before.2).map(|(now, before)| now - before).collect();
        ensure!(devices.iter().sum::<u64>() == ours + theirs, "{device}: {devices:?} of {ours} and {theirs}");
        Ok((ours, theirs, devices))
    })?;
    assert!(ours > 500 && theirs > 500 && devices.iter().all(|count| *count > 200), "{devices:?}");
    println!("{}: of {ours} packets by Evenkeel and {theirs} by IPVS, {device} unpacked {devices:?}", case.name());
    Ok(())
}

#[test]
fn ipip_devices_serve_beside_ipvs() -> Result<()> {
    check(&Case::all("ipip", "ipip"), &["--ipip"], true)
}

#[test]
fn gue_ports_serve_beside_ipvs() -> Result<()> {
    let method = ["--ipip", "--tun-type", "gue", "--tun-port", "6080"];
    check(&Case::all("gue", "{type: gue, port: 6080}"), &method, true)
}

#[test]
fn direct_return_serves_beside_ipvs() -> Result<()> {
    let mut cases = Case::all("dsr-l2", "dsr-l2");
    // IPVS has only one family here.
    cases.retain(|case| case.vip.is_ipv6() == case.backends_v6);
    check(&cases, &["--gatewaying"], false)
}
