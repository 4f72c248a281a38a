//! Forwarding modes that take backends of either family, in all pairs: nginx, downloads and DNS, through tunnels behind
//! `evenkeel decap`, and paths that take less than the client sends.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{iperf3, iperf3_datagrams},
    content::Content,
    daemon::{Daemon, Paths},
    scenario::{QUICK_PROBE, Service, configuration, nginx_everywhere, wait_for_takers},
    servers::{self, DNS_PORT, IPERF3_PORT},
    topology::{Backend, Topology, VIP4, VIP6},
    translation::Pool,
    wait::{PATIENCE, wait_until},
};

use crate::{
    decapsulator::{at_every_backend, with_sources},
    serving::{SIZE, serves},
};

/// A service in a mode, over backends of either family.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// As the configuration has it.
    pub(crate) mode: &'static str,
    pub(crate) vip: IpAddr,
    pub(crate) backends_v6: bool,
}

impl Case {
    pub(crate) fn all(name: &'static str, mode: &'static str) -> Vec<Self> {
        let vips = [IpAddr::from(VIP4), IpAddr::from(VIP6)];
        vips.into_iter()
            .flat_map(|vip| [false, true].map(|backends_v6| Self { name, mode, vip, backends_v6 }))
            .collect()
    }

    pub(crate) fn name(&self) -> String {
        format!(
            "{} {}→{}",
            self.name,
            if self.vip.is_ipv4() { "v4" } else { "v6" },
            if self.backends_v6 { "v6" } else { "v4" }
        )
    }

    /// The node's configuration with an HTTP and a DNS service.
    pub(crate) fn configuration(&self, topology: &Topology, paths: &Paths) -> String {
        let mut text = configuration(paths, topology, &[]).replace("services:\n", "");
        text = with_sources(&text);
        text += "services:\n";
        // iperf3's two connections have to meet.
        for (name, port, protocol, probe, backends) in [
            ("web", 80, "tcp", QUICK_PROBE, 2),
            ("dns", DNS_PORT, "udp", "probe: none", 2),
            ("iperf", IPERF3_PORT, "tcp", "probe: none", 1),
            ("datagrams", IPERF3_PORT, "udp", "probe: none", 1),
        ] {
            text += &format!(
                "  - name: {name}\n    vip: {}\n    port: {port}\n    protocol: {protocol}\n    mode: {}\n    {probe}\n    backends:\n",
                self.vip, self.mode
            );
            for backend in &topology.backends()[..backends] {
                text += &format!("      - {{name: {}, address: \"{}\"}}\n", backend.name(), self.address(backend));
            }
        }
        text
    }

    /// Where a backend is reached.
    pub(crate) fn address(&self, backend: &Backend) -> IpAddr {
        let addresses = backend.addresses();
        if self.backends_v6 { addresses.v6.into() } else { addresses.v4.into() }
    }

    /// Waits until the daemon works as configured, and its backends take flows.
    pub(crate) fn await_in_force(&self, daemon: &Daemon<'_>) -> Result<()> {
        let vip = self.vip.to_string();
        wait_until(&format!("{} is in force", self.name()), PATIENCE, || {
            daemon.cli(&["--json", "service", "show", "web"]).is_ok_and(|status| {
                let address = status["backends"][0]["address"].as_str().unwrap_or_default().to_owned();
                status["vip"] == vip.as_str() && address.contains(':') == self.backends_v6
            })
        })?;
        wait_for_takers(daemon, "web", &["b1", "b2"]).context(self.name())
    }
}

/// Every pair of families in one daemon's life: each configuration is loaded into the one before, while it serves.
fn check(name: &'static str, mode: &'static str, topology: &Topology) -> Result<()> {
    let content = Content::generate(7, SIZE);
    let _nginx = nginx_everywhere(topology, &[80], Some(&content))?;
    let dns = topology.backends().iter().map(|backend| servers::dns(backend.namespace(), backend.name()));
    let _dns = dns.collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let is_tunnel = mode != "dsr-l2";
    let decapsulators = if is_tunnel { at_every_backend(topology, &bpffs)? } else { Vec::new() };
    let mut daemon: Option<Daemon<'_>> = None;
    for case in Case::all(name, mode) {
        let name = case.name();
        let daemon = match &mut daemon {
            None => {
                daemon.insert(Daemon::start(topology.balancer(), &bpffs, |paths| case.configuration(topology, paths))?)
            }
            Some(daemon) => {
                daemon.configure(|paths| case.configuration(topology, paths))?;
                daemon.hangup()?;
                daemon
            }
        };
        case.await_in_force(daemon)?;
        serves(topology, case.vip, DNS_PORT, &content).context(name.clone())?;
        let _iperf3 = servers::iperf3_at(topology.backends()[0].namespace(), case.vip)?;
        uploads(&case, topology, daemon, is_tunnel).context(name.clone())?;
        datagrams(&case, topology, daemon).context(name.clone())?;
        println!("{name}: 64 MB byte for byte, 400 of 400 connections, DNS from both backends");
    }
    for (decapsulator, backend) in decapsulators.iter().zip(topology.backends()) {
        let status = decapsulator.status()?;
        let dropped = status["dropped"].as_object().context("reasons")?;
        assert!(dropped.values().all(|count| count == 0), "{}: {status}", backend.name());
        println!("{}: unpacked {}", backend.name(), status["unpacked"]);
    }
    Ok(())
}

/// The client sends full segments, which do not fit a tunnel: it has to be told how much does.
fn uploads(case: &Case, topology: &Topology, daemon: &Daemon<'_>, is_tunnel: bool) -> Result<()> {
    wait_for_takers(daemon, "iperf", &["b1"])?;
    let replies = || -> Result<u64> {
        let status = daemon.cli(&["--json", "status"])?;
        status["node"]["counters"]["replies"].as_u64().context("replies")
    };
    let before = replies()?;
    let run = iperf3(topology.client(), case.vip, Duration::from_secs(2))?;
    let told = replies()? - before;
    assert!(run.received > 1_000_000 && (told > 0) == is_tunnel, "{run:?}, told {told} times");
    println!(
        "{}: iperf3 uploaded {} MB after being told {told} times what fits",
        case.name(),
        run.received / 1_000_000
    );
    Ok(())
}

/// Larger than the MTU: the client has learnt by now what fits, and cuts them to that.
fn datagrams(case: &Case, topology: &Topology, daemon: &Daemon<'_>) -> Result<()> {
    wait_for_takers(daemon, "datagrams", &["b1"])?;
    let run = iperf3_datagrams(topology.client(), case.vip, 8192, Duration::from_secs(1))?;
    // A busy machine may lose some; without their later fragments none would arrive.
    assert!(run.sent > 100 && run.lost * 2 < run.sent, "{run:?}");
    println!("{}: {} datagrams of 8192 bytes sent, {} lost", case.name(), run.sent, run.lost);
    Ok(())
}

#[test]
fn dsr_l2_serves_in_all_pairs_of_families() -> Result<()> {
    check("dsr-l2", "dsr-l2", &Topology::one_nic(2)?)
}

#[test]
fn ipip_serves_in_all_pairs_of_families() -> Result<()> {
    check("ipip", "ipip", &Topology::one_nic(2)?)
}

#[test]
fn gue_serves_in_all_pairs_of_families_through_two_nics() -> Result<()> {
    check("gue", "{type: gue, port: 6080}", &Topology::two_nics(2)?)
}

/// Clients come by an interface in one mode of XDP, backends are behind one in the other.
#[test]
fn native_and_generic_interfaces_work_together() -> Result<()> {
    let topology = Topology::two_nics(2)?;
    let content = Content::generate(5, SIZE);
    let _nginx = nginx_everywhere(&topology, &[80], Some(&content))?;
    let dns = topology.backends().iter().map(|backend| servers::dns(backend.namespace(), backend.name()));
    let _dns = dns.collect::<Result<Vec<_>>>()?;
    let pool = Pool::add(&topology)?;
    let bpffs = Bpffs::mount()?;
    let [front, back] = topology.balancer_interfaces() else { panic!("two interfaces") };
    let vips = [(IpAddr::from(VIP4), "dsr-l2"), (VIP6.into(), "full-nat")];
    let services = vips.map(|(vip, mode)| {
        let line = format!("mode: {mode}");
        let name = |kind: &str| format!("{kind}-{mode}");
        [
            Service::tcp(&name("web"), vip, 80, &topology).option(&line),
            Service::udp(&name("dns"), vip, DNS_PORT, &topology).option(&line),
        ]
    });
    let services: Vec<_> = services.into_iter().flatten().collect();
    let mut running: Option<Daemon<'_>> = None;
    for modes in [["native", "generic"], ["generic", "native"]] {
        let interfaces = format!("[{{name: {front}, mode: {}}}, {{name: {back}, mode: {}}}]", modes[0], modes[1]);
        let text = |paths: &Paths| {
            let text = pool.put_into(&configuration(paths, &topology, &services));
            text.replace(&format!("[{front}, {back}]"), &interfaces)
        };
        let daemon = match &mut running {
            None => running.insert(Daemon::start(topology.balancer(), &bpffs, text)?),
            Some(daemon) => {
                daemon.configure(text)?;
                assert!(daemon.terminate()?.success());
                daemon.restart()?;
                daemon
            }
        };
        let status = daemon.cli(&["--json", "status"])?;
        let seen = [0, 1].map(|i| status["node"]["interfaces"][i]["mode"].as_str().unwrap_or_default().to_owned());
        assert_eq!(seen, modes, "{status}");
        for (vip, mode) in vips {
            wait_for_takers(daemon, &format!("web-{mode}"), &["b1", "b2"])?;
            serves(&topology, vip, DNS_PORT, &content).with_context(|| format!("{mode}, {modes:?}"))?;
            println!("{mode}, {modes:?}: 64 MB byte for byte, 400 of 400 connections, DNS from both backends");
        }
    }
    Ok(())
}
