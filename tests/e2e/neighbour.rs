//! Next hops are followed: a backend gets another MAC address, or is behind a router that changes.

use std::{
    net::{IpAddr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::connections,
    daemon::Daemon,
    scenario::{Service, backend_status, configuration, nginx_everywhere, start, wait_for_backend, wait_for_takers},
    servers::nginx,
    topology::{Topology, VIP4, VIP6},
};

const NEW_MAC: &str = "02:00:00:00:00:77";

/// Gives `b1` another MAC address once it is served, and waits until it is served there.
fn check_new_mac(topology: &Topology, vip: IpAddr, device: &str, how: &str) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(topology, &bpffs, &[Service::tcp("web", vip, 80, topology)])?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    let old = backend_status(&daemon, "web", "b1")?["next_hop"]["mac"].clone();
    assert!(old.is_string() && old != NEW_MAC, "{old}");
    topology.backends()[0].namespace().ip(&[format!("link set {device} address {NEW_MAC}")])?;
    wait_for_backend(&daemon, "web", "b1", "has the new MAC address", |status| status["next_hop"]["mac"] == NEW_MAC)?;
    // Probes from before may still fail; one that succeeds afterwards ends their count.
    let found = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    wait_for_backend(&daemon, "web", "b1", "answers a probe there", |status| {
        let last = &status["last_probe"];
        let part = |key: &str| u128::from(last["at"][key].as_u64().unwrap_or(0));
        let at = part("secs_since_epoch") * 1_000_000_000 + part("nanos_since_epoch");
        at > found && last["error"].is_null() && status["health"] == "up"
    })?;
    wait_for_takers(&daemon, "web", &["b1", "b2"])?;
    let tally = connections(topology.client(), SocketAddr::new(vip, 80), 600, 8)?;
    assert!(tally.failed() == 0 && tally.of("b1") > 200, "{tally:?}");
    println!("{vip}: b1's MAC address changed from {old}, {how}: followed; it answered {} of 600", tally.of("b1"));
    Ok(())
}

#[test]
fn a_silent_change_of_the_mac_address_is_followed() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    // The kernel doubts an address after half a minute by default, and asks after 5 s more.
    topology.balancer().sysctl(&[
        ("net/ipv4/neigh/eth0/base_reachable_time_ms", "1000"),
        ("net/ipv4/neigh/eth0/delay_first_probe_time", "1"),
        ("net/ipv4/neigh/eth0/retrans_time_ms", "200"),
    ])?;
    check_new_mac(&topology, VIP4.into(), "eth0", "without a word")
}

#[test]
fn an_announced_change_of_the_mac_address_is_followed() -> Result<()> {
    let topology = Topology::two_nics(2)?;
    topology.backends()[0].namespace().sysctl(&[("net/ipv6/conf/back/ndisc_notify", "1")])?;
    check_new_mac(&topology, VIP6.into(), "back", "announced by neighbour advertisements")
}

/// Behind `b2`, which only routes, and behind nobody once the route changes.
const ROUTED: &str = "10.9.0.1";

/// Makes `b2` a router to `b1`'s further address and to the VIP there.
fn make_router(topology: &Topology) -> Result<()> {
    let [b1, router] = topology.backends() else { panic!("two machines") };
    let (to_b1, to_router) = (b1.addresses().v4, router.addresses().v4);
    b1.namespace().ip(&[format!("addr add {ROUTED}/32 dev eth0")])?;
    router.namespace().ip(&[
        format!("addr del {VIP4}/32 dev lo"),
        format!("route add {ROUTED}/32 via {to_b1}"),
        format!("route add {VIP4}/32 via {to_b1}"),
    ])?;
    // A redirect would lead the client past the balancer.
    router.namespace().sysctl(&[
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/eth0/send_redirects", "0"),
        ("net/ipv4/conf/all/forwarding", "1"),
    ])?;
    topology.balancer().ip(&[format!("route add {ROUTED}/32 via {to_router}")])
}

/// All connections are answered, over this gateway.
fn check_gateway(topology: &Topology, daemon: &Daemon<'_>, gateway: IpAddr) -> Result<()> {
    let expected = gateway.to_string();
    wait_for_backend(daemon, "web", "b1", "has the gateway", |status| status["next_hop"]["gateway"] == expected)?;
    wait_for_takers(daemon, "web", &["b1"])?;
    let tally = connections(topology.client(), SocketAddr::new(VIP4.into(), 80), 200, 8)?;
    assert_eq!((tally.failed(), tally.of("b1")), (0, 200), "{tally:?}");
    Ok(())
}

#[test]
fn a_backend_behind_a_router_is_served_and_its_route_followed() -> Result<()> {
    let topology = Topology::one_nic(2)?;
    make_router(&topology)?;
    let b1 = &topology.backends()[0];
    let _nginx = nginx(b1.namespace(), "b1", &[80], None)?;
    let service = Service::tcp("web", VIP4.into(), 80, &topology).only(&["b1"]);
    let direct = b1.addresses().v4;
    let bpffs = Bpffs::mount()?;
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| {
        configuration(paths, &topology, &[service]).replace(&direct.to_string(), ROUTED)
    })?;
    check_gateway(&topology, &daemon, topology.backends()[1].addresses().v4.into())?;
    topology.balancer().ip(&[format!("route replace {ROUTED}/32 via {direct}")])?;
    check_gateway(&topology, &daemon, direct.into())?;
    println!("{VIP4}: a backend was served through a router, and another way once the route had changed");
    Ok(())
}
