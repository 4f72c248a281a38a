//! ICMP. These need root, or a group in `net.ipv4.ping_group_range`; without, the probe has to say so.

use std::net::{Ipv4Addr, Ipv6Addr};

use nix::unistd::Uid;

use super::{LONG, Outcome, ProbeKind, SHORT, Target, check};

fn target(address: impl Into<std::net::IpAddr>) -> Target {
    Target { address: address.into(), port: 0, source: None, via: None, kind: ProbeKind::Icmp }
}

#[tokio::test]
async fn loopback_answers_in_both_families() {
    for target in [target(Ipv4Addr::LOCALHOST), target(Ipv6Addr::LOCALHOST)] {
        match check::outcome(&check::Network::default(), &target, LONG).await {
            Outcome::Success(answer) => assert!(answer.latency.is_some()),
            Outcome::Inconclusive(reason) if !Uid::effective().is_root() => {
                assert_eq!(reason, "cannot probe: operation not permitted");
            }
            other => panic!("{target}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn each_of_many_at_once_gets_its_own_reply() {
    if !Uid::effective().is_root() {
        return;
    }
    let targets: Vec<Target> = (1..=50).map(|last| target(Ipv4Addr::new(127, 0, 0, last))).collect();
    let network = check::Network::default();
    let probes = targets.iter().map(|target| check::outcome(&network, target, LONG));
    for outcome in futures::future::join_all(probes).await {
        assert!(matches!(outcome, Outcome::Success(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_address_without_a_route_is_down_at_once() {
    if !Uid::effective().is_root() {
        return;
    }
    // 240.0.0.0/4 is nobody's, and the kernel has no route from loopback to it.
    let target = Target { source: Some(Ipv4Addr::LOCALHOST.into()), ..target(Ipv4Addr::new(240, 0, 0, 1)) };
    let outcome = check::outcome(&check::Network::default(), &target, SHORT).await;
    assert!(matches!(outcome, Outcome::Failure(_)), "{outcome:?}");
}
