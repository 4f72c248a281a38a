//! A subject at work: servers on all backends, the balancer in its place.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    daemon::Daemon,
    http::get_text,
    namespace::Namespace,
    process::Process,
    scenario::{self, Service, nginx_everywhere, wait_for_takers},
    servers::Nginx,
    topology::{Topology, VIP4},
    wait::{PATIENCE, wait_ok},
};
use tempfile::TempDir;

use super::{proxies, responders::Responders, subject::Subject, translation};

/// HTTP.
pub(super) const HTTP: u16 = 80;
/// What is sent comes back.
pub(super) const ECHO: u16 = 7001;
/// What is sent is counted.
pub(super) const BULK: u16 = 7002;
/// Datagrams are counted.
pub(super) const DATAGRAMS: u16 = 7003;
/// All that TCP is balanced for.
pub(super) const TCP_PORTS: [u16; 3] = [HTTP, ECHO, BULK];

/// Probes that cost next to nothing.
const PROBE: &str = "probe: {type: tcp, interval: 2s, timeout: 1s, rise: 1, fall: 3}";

/// Ports in `TIME_WAIT` are used again: the machines open more connections than there are ports.
const MANY_CONNECTIONS: &[(&str, &str)] =
    &[("net/ipv4/tcp_tw_reuse", "1"), ("net/ipv4/ip_local_port_range", "1024 65000")];

/// The network with everything in it. What runs in it ends when it is dropped.
pub(super) struct Stage<'a> {
    pub(super) subject: Subject,
    pub(super) responders: Responders,
    topology: &'a Topology,
    _balancer: Balancer<'a>,
    _servers: Vec<Nginx>,
}

/// What keeps the balancer running; nobody looks at it.
#[expect(dead_code, reason = "they are guards")]
enum Balancer<'a> {
    /// None, or in the kernel of the namespace.
    Kernel,
    Daemon(Box<Daemon<'a>>, Bpffs),
    Proxy(Process, TempDir),
}

impl<'a> Stage<'a> {
    /// Sets everything up and waits until the client is served.
    pub(super) fn start(subject: Subject, topology: &'a Topology) -> Result<Self> {
        let servers = nginx_everywhere(topology, &[HTTP], None)?;
        let responders = Responders::start(topology.backends().iter().map(|backend| backend.namespace()))?;
        for machine in [topology.client(), topology.balancer()] {
            machine.sysctl(MANY_CONNECTIONS)?;
        }
        let balancer = match subject {
            Subject::Direct => {
                topology.route_vips_to_backend(&topology.backends()[0])?;
                Balancer::Kernel
            }
            Subject::Nftables => {
                translation::set_up(topology)?;
                Balancer::Kernel
            }
            Subject::Haproxy | Subject::Nginx => {
                let (process, directory) = proxies::start(subject, topology)?;
                Balancer::Proxy(process, directory)
            }
            Subject::Evenkeel => start_daemon(topology)?,
        };
        let stage = Self { subject, responders, topology, _balancer: balancer, _servers: servers };
        stage.wait_until_served()?;
        Ok(stage)
    }

    /// Where the client is.
    pub(super) fn client(&self) -> &Namespace {
        self.topology.client()
    }

    fn wait_until_served(&self) -> Result<()> {
        let server = SocketAddr::new(VIP4.into(), HTTP);
        wait_ok("the client is served", PATIENCE, || {
            let name = self.client().enter(|| get_text(server, "/who", Duration::from_secs(1)))??;
            ensure!(name.starts_with('b'), "{name} answers");
            Ok(())
        })
    }
}

fn start_daemon(topology: &Topology) -> Result<Balancer<'_>> {
    let vip = VIP4.into();
    let mut services: Vec<Service> = TCP_PORTS
        .iter()
        .map(|port| Service::tcp(&format!("tcp-{port}"), vip, *port, topology).options(&[PROBE]))
        .collect();
    services.push(Service::udp("datagrams", vip, DATAGRAMS, topology));
    let bpffs = Bpffs::mount()?;
    let daemon = scenario::start(topology, &bpffs, &services).context("Evenkeel's daemon")?;
    let names: Vec<&str> = topology.backends().iter().map(|backend| backend.name()).collect();
    for service in &services {
        wait_for_takers(&daemon, &service.name, &names)?;
    }
    Ok(Balancer::Daemon(Box::new(daemon), bpffs))
}
