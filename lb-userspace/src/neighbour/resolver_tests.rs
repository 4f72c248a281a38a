//! The resolver against a kernel.
//!
//! ```text
//!   node ── n0 ═══ p0 ── peer        10.77.0.0/24, 2001:db8:77::/64   node .1, peer .2
//! ```

use std::{collections::BTreeSet, future::Future, net::IpAddr, time::Duration};

use tokio::{sync::watch, time::timeout};

use super::{NextHop, NextHops, Resolution, Resolver, netns::Namespace};

const NODE: (&str, &str) = ("n0", "10.77.0.1/24 2001:db8:77::1/64");
const PEER: (&str, &str) = ("p0", "10.77.0.2/24 2001:db8:77::2/64");

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Runs a test in the namespace, on a thread and a runtime of its own.
fn inside<F: Future<Output = ()>>(node: &Namespace, test: impl FnOnce() -> F + Send) {
    node.enter(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test()));
}

async fn resolve(targets: &[&str]) -> (Resolver, watch::Receiver<NextHops>) {
    let resolver = Resolver::start().await.unwrap();
    resolver.set_targets(targets.iter().map(|target| ip(target)).collect());
    let view = resolver.subscribe();
    (resolver, view)
}

/// Waits until the resolution of a target is as wanted. Gives up where it would hang, so that namespaces are removed.
async fn until(view: &mut watch::Receiver<NextHops>, target: &str, want: impl Fn(&Resolution) -> bool) -> Resolution {
    let wanted = view.wait_for(|view| view.get(&ip(target)).is_some_and(|found| want(found)));
    let found =
        timeout(Duration::from_secs(60), wanted).await.map(|view| Resolution::clone(&view.unwrap()[&ip(target)]));
    found.unwrap_or_else(|_| panic!("{target}: not as expected in {:?}", view.borrow()))
}

async fn resolved(view: &mut watch::Receiver<NextHops>, target: &str, want: impl Fn(&NextHop) -> bool) -> NextHop {
    match until(view, target, |found| matches!(found, Resolution::Resolved(hop) if want(hop))).await {
        Resolution::Resolved(hop) => hop,
        Resolution::Unresolved(reason) => unreachable!("waited for a resolved one, not {reason}"),
    }
}

async fn unresolved(view: &mut watch::Receiver<NextHops>, target: &str, reason: &str) {
    until(view, target, |found| *found == Resolution::Unresolved(reason.to_owned())).await;
}

/// The MAC address of an interface of another namespace.
fn mac(namespace: &Namespace, name: &str) -> [u8; 6] {
    let text = namespace.enter(|| {
        let index = nix::net::if_::if_nametoindex(name).unwrap();
        nix::ifaddrs::getifaddrs()
            .unwrap()
            .filter_map(|interface| interface.address?.as_link_addr().copied())
            .find(|link| link.ifindex() == index as usize)
            .and_then(|link| link.addr())
    });
    text.unwrap()
}

#[test]
fn neighbours_on_the_link_resolve() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    node.ip("link set n0 mtu 1400");
    let (source, destination) = (mac(&node, "n0"), mac(&peer, "p0"));
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["10.77.0.2", "2001:db8:77::2"]).await;
        for target in ["10.77.0.2", "2001:db8:77::2"] {
            let hop = resolved(&mut view, target, |_| true).await;
            assert_eq!((hop.ifname.as_str(), hop.source_mac, hop.mac), ("n0", source, destination), "{target}");
            assert_eq!((hop.gateway, hop.mtu), (None, 1400), "{target}");
        }
    });
}

#[test]
fn a_target_behind_a_router_resolves_to_the_router() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    node.ip("route add 192.0.2.0/24 via 10.77.0.2");
    node.ip("route add 198.51.100.0/24 via inet6 2001:db8:77::2");
    node.ip("route add 2001:db8:99::/48 via 2001:db8:77::2");
    let destination = mac(&peer, "p0");
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["192.0.2.7", "198.51.100.7", "2001:db8:99::7"]).await;
        for (target, gateway) in
            [("192.0.2.7", "10.77.0.2"), ("198.51.100.7", "2001:db8:77::2"), ("2001:db8:99::7", "2001:db8:77::2")]
        {
            let hop = resolved(&mut view, target, |_| true).await;
            assert_eq!((hop.mac, hop.gateway), (destination, Some(ip(gateway))), "{target}");
        }
    });
}

#[test]
fn a_new_mac_address_of_the_neighbour_is_followed() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    // The node believes another address at once, and the peer announces its own.
    node.sysctl("ipv4.neigh.n0.locktime", 0);
    peer.sysctl("ipv4.conf.p0.arp_notify", 1);
    peer.sysctl("ipv6.conf.p0.ndisc_notify", 1);
    let before = mac(&peer, "p0");
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["10.77.0.2", "2001:db8:77::2"]).await;
        for target in ["10.77.0.2", "2001:db8:77::2"] {
            resolved(&mut view, target, |hop| hop.mac == before).await;
        }
        peer.ip("link set p0 address 02:00:00:00:07:07");
        for target in ["10.77.0.2", "2001:db8:77::2"] {
            resolved(&mut view, target, |hop| hop.mac == [2, 0, 0, 0, 7, 7]).await;
        }
        node.ip("link set n0 address 02:00:00:00:08:08");
        resolved(&mut view, "10.77.0.2", |hop| hop.source_mac == [2, 0, 0, 0, 8, 8]).await;
    });
}

#[test]
fn a_route_that_moves_to_another_interface_is_followed() {
    let (Some(node), Some(peer), Some(other)) = (Namespace::new(), Namespace::new(), Namespace::new()) else { return };
    // Without IPv6, whose own addresses and routes come a moment later and would hide that an event was missed.
    node.sysctl("ipv6.conf.default.disable_ipv6", 1);
    node.connect(("n0", "10.77.0.1/24"), &peer, ("p0", "10.77.0.2/24"));
    node.connect(("n1", "10.78.0.1/24"), &other, ("p1", "10.78.0.2/24"));
    node.ip("route add 192.0.2.0/24 via 10.77.0.2");
    node.ip("route add 192.0.2.0/24 via 10.77.0.2 table 100");
    let (first, second) = (mac(&peer, "p0"), mac(&other, "p1"));
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["192.0.2.7"]).await;
        resolved(&mut view, "192.0.2.7", |hop| hop.ifname == "n0" && hop.mac == first).await;
        node.ip("route replace 192.0.2.0/24 via 10.78.0.2");
        resolved(&mut view, "192.0.2.7", |hop| hop.ifname == "n1" && hop.mac == second).await;
        // A rule that leads to another table counts as well.
        node.ip("rule add to 192.0.2.0/24 lookup 100");
        resolved(&mut view, "192.0.2.7", |hop| hop.ifname == "n0" && hop.mac == first).await;
        node.ip("rule del to 192.0.2.0/24 lookup 100");
        resolved(&mut view, "192.0.2.7", |hop| hop.ifname == "n1" && hop.mac == second).await;
        node.ip("route del 192.0.2.0/24 via 10.78.0.2");
        unresolved(&mut view, "192.0.2.7", "no route to 192.0.2.7").await;
    });
}

#[test]
fn a_host_that_appears_resolves() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    let destination = mac(&peer, "p0");
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["10.77.0.9", "2001:db8:77::9"]).await;
        unresolved(&mut view, "10.77.0.9", "no answer to ARP from 10.77.0.9 on n0").await;
        let silent = "no answer to neighbour discovery from 2001:db8:77::9 on n0";
        unresolved(&mut view, "2001:db8:77::9", silent).await;
        peer.ip("address add 10.77.0.9/24 dev p0");
        peer.ip("address add 2001:db8:77::9/64 dev p0 nodad");
        for target in ["10.77.0.9", "2001:db8:77::9"] {
            resolved(&mut view, target, |hop| hop.mac == destination).await;
        }
    });
}

#[test]
fn what_is_no_next_hop_says_why() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    node.ip("route add blackhole 198.51.100.0/24");
    node.ip("route add prohibit 203.0.113.0/24");
    let expected = [
        ("10.77.0.1", "10.77.0.1 is an address of this node"),
        ("127.0.0.1", "127.0.0.1 is an address of this node"),
        ("2001:db8:77::1", "2001:db8:77::1 is an address of this node"),
        ("10.77.0.255", "10.77.0.255 is a broadcast address"),
        ("192.0.2.1", "no route to 192.0.2.1"),
        ("2001:db8:1::1", "no route to 2001:db8:1::1"),
        ("198.51.100.1", "the route to 198.51.100.1 says blackhole"),
        ("203.0.113.1", "the route to 203.0.113.1 says prohibit"),
    ];
    inside(&node, || async {
        let (resolver, mut view) = resolve(&expected.map(|(target, _)| target)).await;
        for (target, reason) in expected {
            unresolved(&mut view, target, reason).await;
        }
        resolver.set_targets(BTreeSet::new());
        view.wait_for(|view| view.is_empty()).await.unwrap();
    });
}

#[test]
fn a_link_that_goes_down_and_up_is_followed() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["10.77.0.2"]).await;
        resolved(&mut view, "10.77.0.2", |_| true).await;
        peer.ip("link set p0 down");
        unresolved(&mut view, "10.77.0.2", "interface n0 has no carrier").await;
        peer.ip("link set p0 up");
        resolved(&mut view, "10.77.0.2", |_| true).await;
        // The kernel takes the routes away with the interface.
        node.ip("link set n0 down");
        unresolved(&mut view, "10.77.0.2", "no route to 10.77.0.2").await;
        node.ip("link set n0 up");
        resolved(&mut view, "10.77.0.2", |_| true).await;
    });
}

#[test]
fn a_deleted_entry_is_made_again() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["10.77.0.2"]).await;
        resolved(&mut view, "10.77.0.2", |_| true).await;
        // Another address of the peer, which it does not announce, shows that it was asked again.
        peer.ip("link set p0 address 02:00:00:00:07:07");
        node.ip("neighbour del 10.77.0.2 dev n0");
        resolved(&mut view, "10.77.0.2", |hop| hop.mac == [2, 0, 0, 0, 7, 7]).await;
    });
}

#[test]
fn a_stale_entry_is_confirmed_without_traffic() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    node.sysctl("ipv4.neigh.n0.delay_first_probe_time", 0);
    node.sysctl("ipv4.neigh.n0.retrans_time_ms", 50);
    let destination = mac(&peer, "p0");
    // Nobody has this address any more: only a probe finds out.
    node.ip("neighbour replace 10.77.0.2 lladdr 02:00:00:00:01:01 dev n0 nud stale");
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["10.77.0.2"]).await;
        resolved(&mut view, "10.77.0.2", |hop| hop.mac == destination).await;
    });
}

#[test]
fn lost_events_are_made_up_for() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    node.ip("neighbour replace 10.77.0.2 lladdr 02:00:00:00:01:01 dev n0 nud permanent");
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["10.77.0.2"]).await;
        resolved(&mut view, "10.77.0.2", |hop| hop.mac == [2, 0, 0, 0, 1, 1]).await;
        // This thread is also the resolver's: while `ip` runs, nobody reads the socket, and it overruns.
        let noise = (0..4000).map(|n| format!("route add 192.0.{}.{}/32 via 10.77.0.2\n", 2 + n / 250, n % 250));
        let change = "neighbour replace 10.77.0.2 lladdr 02:00:00:00:02:02 dev n0 nud permanent\n";
        node.ip_batch(&noise.chain([change.to_owned()]).collect::<String>());
        resolved(&mut view, "10.77.0.2", |hop| hop.mac == [2, 0, 0, 0, 2, 2]).await;
    });
}

#[test]
fn entries_of_others_are_not_touched() {
    let (Some(node), Some(peer)) = (Namespace::new(), Namespace::new()) else { return };
    node.connect(NODE, &peer, PEER);
    for entry in ["10.77.0.3 nud permanent", "10.77.0.4 nud stale extern_learn", "10.77.0.5 nud reachable extern_learn"]
    {
        let (address, state) = entry.split_once(' ').unwrap();
        node.ip(&format!("neighbour replace {address} lladdr 02:00:00:00:01:01 dev n0 {state}"));
    }
    let before = node.output("neighbour show nud all to 10.77.0.0/29");
    inside(&node, || async {
        let (_resolver, mut view) = resolve(&["10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.0.5"]).await;
        // The peer is asked after them, as far as anybody is.
        for target in ["10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.2"] {
            resolved(&mut view, target, |_| true).await;
        }
    });
    let after = node.output("neighbour show nud all to 10.77.0.0/29");
    let of_others = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.contains("02:00:00:00:01:01")).map(|line| line.trim().to_owned()).collect();
        lines.sort();
        lines
    };
    assert_eq!(of_others(&before), of_others(&after));
    assert_eq!(of_others(&after).len(), 3, "{after}");
}
