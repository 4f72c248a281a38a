//! A network of one client, one balancer and some backends, in namespaces.
//!
//! ```text
//!   one_nic                                     two_nics
//!
//!   client   balancer   b1 … bn                 client   balancer     b1 … bn
//!    eth0      eth0    eth0 eth0                 eth0   front  back  back front
//!     │         │       │    │                    │       │      │    │     │
//!   ──┴─────────┴───────┴────┴── front          ──┴───────┴──────┼────┼─────┴── front
//!                                               ─────────────────┴────┴──────── back
//! ```
//!
//! *front* is 10.0.0.0/24 and 2001:db8:1::/64, *back* 10.0.1.0/24 and 2001:db8:2::/64. The client routes the VIPs'
//! networks to the balancer. Backends hold the VIPs on `lo`, without ARP or neighbour discovery for them, and answer the
//! client over *front*, past the balancer (direct server return).

mod address;
mod link;
mod settings;
mod xdp_pass;

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::Once,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

pub use address::{Addresses, MAX_BACKENDS, Subnet, VIP_NETWORK4, VIP_NETWORK6, VIP4, VIP6};
use address::{BALANCER, CLIENT, Host};
use link::Leg;
pub use xdp_pass::attach_program;

use crate::{
    names::{sweep, unique},
    namespace::Namespace,
    wait::{PATIENCE, wait_ok},
};

/// The network. Dropping it removes the namespaces and kills what runs in them.
#[derive(Debug)]
pub struct Topology {
    client: Namespace,
    balancer: Namespace,
    backends: Vec<Backend>,
    switch: Namespace,
    serving: Subnet,
    /// Programs at the other ends of the balancer's cables.
    _passing: Vec<OwnedFd>,
}

/// A backend's machine.
#[derive(Debug)]
pub struct Backend {
    name: String,
    namespace: Namespace,
    host: Host,
    serving: Subnet,
}

/// Port of the discard service (RFC 863), which nobody runs: whoever is there refuses it at once.
const CLOSED_PORT: u16 = 9;

impl Topology {
    /// The balancer has one interface, `eth0`: frames leave where they came in.
    ///
    /// # Errors
    /// When not root, when `ip` or `ethtool` is missing, or with 0 or more than [`MAX_BACKENDS`] backends.
    pub fn one_nic(backends: usize) -> Result<Self> {
        Self::build(backends, Subnet::Front)
    }

    /// The balancer has two interfaces, `front` towards the client and `back` towards the backends.
    ///
    /// # Errors
    /// As [`Self::one_nic`].
    pub fn two_nics(backends: usize) -> Result<Self> {
        Self::build(backends, Subnet::Back)
    }

    /// All namespaces: the switch, the client, the balancer and the backends.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        let backends = self.backends.iter().map(Backend::namespace);
        [&self.switch, &self.client, &self.balancer].into_iter().chain(backends)
    }

    /// The client's namespace.
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// The balancer's namespace.
    pub fn balancer(&self) -> &Namespace {
        &self.balancer
    }

    /// The balancer's interfaces: `eth0`, or `front` and `back`.
    pub fn balancer_interfaces(&self) -> &'static [&'static str] {
        match self.serving {
            Subnet::Front => &["eth0"],
            Subnet::Back => &["front", "back"],
        }
    }

    /// The balancer's addresses on the client's link.
    pub fn balancer_addresses(&self) -> Addresses {
        BALANCER.on(Subnet::Front)
    }

    /// The client's addresses.
    pub fn client_addresses(&self) -> Addresses {
        CLIENT.on(Subnet::Front)
    }

    /// The backends, `b1` first.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Puts one more VIP on every backend. It should lie in [`VIP_NETWORK4`] or [`VIP_NETWORK6`].
    ///
    /// # Errors
    /// When a backend has it already.
    pub fn add_vip(&self, vip: IpAddr) -> Result<()> {
        self.backends.iter().try_for_each(|backend| backend.add_vip(vip))
    }

    /// Sends the client's traffic for VIPs to the balancer, as at the start.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn route_vips_to_balancer(&self) -> Result<()> {
        self.route_vips(BALANCER)
    }

    /// Sends the client's traffic for VIPs straight to one backend, past the balancer.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn route_vips_to_backend(&self, backend: &Backend) -> Result<()> {
        self.route_vips(backend.host)
    }

    /// Takes the carrier of a backend's cables away, or gives it back: a machine that is off answers nothing at all.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn set_cable(&self, backend: &Backend, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        let line = |&(_, subnet): &(_, Subnet)| format!("link set {} {state}", link::port(subnet, backend.host));
        self.switch.ip(&legs(self.serving).iter().map(line).collect::<Vec<_>>())
    }

    /// Sets the MTU of every link.
    ///
    /// # Errors
    /// When an interface refuses it.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        let hosts = self.backends.iter().map(|backend| (&backend.namespace, backend.host));
        let balancer = [(&self.balancer, BALANCER)];
        for (machine, host) in hosts.chain(balancer) {
            for &(device, subnet) in legs(self.serving) {
                machine.ip(&[format!("link set {device} mtu {mtu}")])?;
                self.switch.ip(&[format!("link set {} mtu {mtu}", link::port(subnet, host))])?;
            }
        }
        self.client.ip(&[format!("link set eth0 mtu {mtu}")])?;
        self.switch.ip(&[format!("link set {} mtu {mtu}", link::port(Subnet::Front, CLIENT))])
    }

    fn build(backends: usize, serving: Subnet) -> Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        ensure!((1..=MAX_BACKENDS).contains(&backends), "{backends} backends; 1 to {MAX_BACKENDS} are possible");
        let prefix = unique();
        let switch = Namespace::create(&format!("{prefix}-switch"))?;
        settings::switch(&switch)?;
        for (_, subnet) in legs(serving) {
            link::add_bridge(&switch, *subnet)?;
        }
        let client = machine(&switch, &format!("{prefix}-client"), CLIENT, &[("eth0", Subnet::Front)])?;
        settings::client(&client)?;
        let balancer = machine(&switch, &format!("{prefix}-lb"), BALANCER, legs(serving))?;
        let pass = |&(_, subnet): &(_, Subnet)| xdp_pass::attach(&switch, &link::port(subnet, BALANCER));
        let passing = legs(serving).iter().map(pass).collect::<Result<_>>()?;
        let backends = (0..backends).map(|index| Backend::build(&switch, &prefix, index, serving));
        let backends = backends.collect::<Result<_>>()?;
        let topology = Self { backends, client, balancer, switch, serving, _passing: passing };
        topology.route_vips_to_balancer()?;
        topology.await_links().context("the network does not come up")?;
        Ok(topology)
    }

    fn route_vips(&self, host: Host) -> Result<()> {
        let Addresses { v4, v6 } = host.on(Subnet::Front);
        self.client.ip(&[
            format!("route replace {VIP_NETWORK4} via {v4} dev eth0"),
            format!("route replace {VIP_NETWORK6} via {v6} dev eth0"),
        ])
    }

    /// Waits until everyone answers everyone that it talks to, then lets the balancer forget its
    /// neighbours: finding them is the daemon's work.
    fn await_links(&self) -> Result<()> {
        for backend in &self.backends {
            answers(&self.client, backend.front())?;
            answers(&self.balancer, backend.addresses())?;
        }
        answers(&self.client, self.balancer_addresses())?;
        self.balancer.exec("ip", ["neigh", "flush", "all"]).map(drop)
    }
}

impl Backend {
    /// Its name: `b1`, `b2`, …
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The addresses under which the balancer knows it.
    pub fn addresses(&self) -> Addresses {
        self.host.on(self.serving)
    }

    /// Puts a VIP on its `lo`.
    ///
    /// # Errors
    /// When it has it already.
    pub fn add_vip(&self, vip: IpAddr) -> Result<()> {
        let line = match vip {
            IpAddr::V4(vip) => format!("addr add {vip}/32 dev lo"),
            IpAddr::V6(vip) => format!("addr add {vip}/128 dev lo nodad"),
        };
        self.namespace.ip(&[line])
    }

    /// Its addresses on the client's link.
    fn front(&self) -> Addresses {
        self.host.on(Subnet::Front)
    }

    fn build(switch: &Namespace, prefix: &str, index: usize, serving: Subnet) -> Result<Self> {
        let name = format!("b{}", index + 1);
        let host = Host::backend(index);
        let namespace = machine(switch, &format!("{prefix}-{name}"), host, legs(serving))?;
        settings::backend(&namespace)?;
        let backend = Self { name, namespace, host, serving };
        backend.add_vip(VIP4.into())?;
        backend.add_vip(VIP6.into())?;
        Ok(backend)
    }
}

/// The interfaces of the balancer and of the backends.
fn legs(serving: Subnet) -> &'static [(&'static str, Subnet)] {
    match serving {
        Subnet::Front => &[("eth0", Subnet::Front)],
        Subnet::Back => &[("front", Subnet::Front), ("back", Subnet::Back)],
    }
}

fn machine(switch: &Namespace, name: &str, host: Host, legs: &[(&str, Subnet)]) -> Result<Namespace> {
    let namespace = Namespace::create(name)?;
    settings::machine(&namespace)?;
    for &(device, subnet) in legs {
        link::attach(switch, &namespace, &Leg { device, subnet, host })?;
    }
    Ok(namespace)
}

/// Waits until a machine refuses a connection on both its addresses: links, routes and neighbours work both ways.
fn answers(from: &Namespace, to: Addresses) -> Result<()> {
    for address in to.both() {
        let what = format!("{address} answers {}", from.name());
        wait_ok(&what, PATIENCE, || from.enter(|| refused(SocketAddr::new(address, CLOSED_PORT)))?)?;
    }
    Ok(())
}

fn refused(target: SocketAddr) -> Result<()> {
    match TcpStream::connect_timeout(&target, Duration::from_secs(1)) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("someone listens on {target}"),
    }
}
