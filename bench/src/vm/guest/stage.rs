//! The machines of the picture in [`super`].

use std::net::Ipv4Addr;

use anyhow::Result;
use evenkeel_tests::{names, namespace::Namespace};

/// The service.
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Its port.
pub(super) const PORT: u16 = 80;
/// The backends, which are all one machine: only the balancer's work counts.
pub(super) const BACKENDS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 0, 1, 11),
    Ipv4Addr::new(10, 0, 1, 12),
    Ipv4Addr::new(10, 0, 1, 13),
    Ipv4Addr::new(10, 0, 1, 14),
];

/// The generator's interface.
pub(super) const CLIENT: &str = "c0";
/// The balancer's interfaces, towards the client and towards the server.
pub(super) const BALANCER: [&str; 2] = ["l0", "l1"];
/// The sink's interface.
pub(super) const SERVER: &str = "s0";

const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const BALANCER_MACS: [[u8; 6]; 2] = [[0x02, 0, 0, 0, 1, 1], [0x02, 0, 0, 0, 1, 2]];
const SERVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 2, 1];

/// No source validation, as between two routers; nothing that talks by itself.
const QUIET: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
];

/// The machines, with cables.
pub(super) struct Stage {
    pub(super) client: Namespace,
    pub(super) balancer: Namespace,
    pub(super) server: Namespace,
    /// Where the client's packets go.
    pub(super) first_hop: [u8; 6],
    /// Where they come from.
    pub(super) client_mac: [u8; 6],
}

impl Stage {
    /// With the balancer between client and server.
    pub(super) fn with_balancer() -> Result<Self> {
        let stage = Self::machines(BALANCER_MACS[0])?;
        let [front, back] = BALANCER;
        cable((&stage.client, CLIENT, CLIENT_MAC), (&stage.balancer, front, BALANCER_MACS[0]))?;
        cable((&stage.balancer, back, BALANCER_MACS[1]), (&stage.server, SERVER, SERVER_MAC))?;
        stage.client.ip(&[format!("addr add 10.0.0.1/24 dev {CLIENT}")])?;
        let mut lines = vec![
            format!("addr add 10.0.0.2/24 dev {front}"),
            format!("addr add 10.0.1.2/24 dev {back}"),
            // Where the generator's addresses are.
            format!("neigh replace 10.0.0.1 lladdr {} dev {front} nud permanent", text(CLIENT_MAC)),
            "route add 10.9.0.0/16 via 10.0.0.1".to_owned(),
        ];
        for backend in BACKENDS {
            lines.push(format!("neigh replace {backend} lladdr {} dev {back} nud permanent", text(SERVER_MAC)));
        }
        stage.balancer.ip(&lines)?;
        stage.balancer.sysctl(&[("net/ipv4/ip_forward", "1")])?;
        let lines = BACKENDS.map(|backend| format!("addr add {backend}/24 dev {SERVER}"));
        stage.server.ip(&lines)?;
        Ok(stage)
    }

    /// With a cable from client to server.
    pub(super) fn direct() -> Result<Self> {
        let stage = Self::machines(SERVER_MAC)?;
        cable((&stage.client, CLIENT, CLIENT_MAC), (&stage.server, SERVER, SERVER_MAC))?;
        Ok(stage)
    }

    fn machines(first_hop: [u8; 6]) -> Result<Self> {
        let prefix = names::unique();
        let machine = |role: &str| -> Result<Namespace> {
            let namespace = Namespace::create(&format!("{prefix}-{role}"))?;
            namespace.sysctl(QUIET)?;
            Ok(namespace)
        };
        let (client, balancer, server) = (machine("client")?, machine("balancer")?, machine("server")?);
        Ok(Self { client, balancer, server, first_hop, client_mac: CLIENT_MAC })
    }
}

/// An end of a cable: where, its name, its MAC address.
type End<'a> = (&'a Namespace, &'a str, [u8; 6]);

/// GRO on gives both ends NAPI, without which frames that XDP sends from the other end are lost.
fn cable((here, name, mac): End<'_>, (there, peer, peer_mac): End<'_>) -> Result<()> {
    let (mac, peer_mac) = (text(mac), text(peer_mac));
    here.ip(&[
        format!("link add {name} address {mac} type veth peer name {peer} address {peer_mac} netns {}", there.name()),
        format!("link set {name} up"),
    ])?;
    there.ip(&[format!("link set {peer} up")])?;
    here.exec("ethtool", ["-K", name, "gro", "on"])?;
    there.exec("ethtool", ["-K", peer, "gro", "on"]).map(drop)
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
