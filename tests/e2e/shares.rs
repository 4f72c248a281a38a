//! New connections are spread by weight, on both address families.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::connections,
    scenario::{Service, nginx_everywhere, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
};

/// Connections of each case.
const CONNECTIONS: u64 = 20_000;

/// Each backend's share must be within ±4 % (of its share) of its weight.
fn check_shares(topology: &Topology, vip: IpAddr, weights: [u16; 3]) -> Result<()> {
    let _servers = nginx_everywhere(topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let service = Service::tcp("web", vip, 80, topology).weights(&weights);
    let daemon = start(topology, &bpffs, std::slice::from_ref(&service))?;
    wait_for_takers(&daemon, "web", &["b1", "b2", "b3"])?;
    let tally = connections(topology.client(), SocketAddr::new(vip, 80), CONNECTIONS, 32)?;
    assert_eq!(tally.failed(), 0, "{tally:?}");
    assert_eq!(tally.answered(), CONNECTIONS, "{tally:?}");
    let sum = f64::from(weights.iter().sum::<u16>());
    for ((name, _), weight) in service.backends.iter().zip(weights) {
        let expected = f64::from(weight) / sum;
        let share = tally.share(name);
        assert!((share / expected - 1.0).abs() <= 0.04, "{name} got {share:.4} instead of {expected:.4}: {tally:?}");
    }
    let shares = ["b1", "b2", "b3"].map(|name| format!("{:.1} %", 100.0 * tally.share(name)));
    println!("{vip}, weights {weights:?}: {CONNECTIONS} connections, 0 errors, shares {}", shares.join(", "));
    Ok(())
}

#[test]
fn equal_weights_give_equal_shares() -> Result<()> {
    check_shares(&Topology::one_nic(3)?, VIP4.into(), [1, 1, 1])
}

#[test]
fn weights_are_followed_over_ipv6_and_two_nics() -> Result<()> {
    check_shares(&Topology::two_nics(3)?, VIP6.into(), [3, 1, 1])
}
