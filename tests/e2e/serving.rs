//! What every forwarding mode is asked to do: HTTP, many connections, DNS, and a large download beside a load.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, ensure};
use evenkeel_tests::{
    clients::{Download, Load, Tally, connections, curl, dig},
    content::Content,
    servers::TXT_NAME,
    topology::Topology,
    wait::{PATIENCE, wait_until},
};

/// How long a single request may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of the download: larger than every window, so that full segments are sent both ways.
pub(crate) const SIZE: usize = 64_000_000;

/// Connections that are opened: enough for both backends to get a fair part.
const CONNECTIONS: u64 = 400;

/// Two backends, `b1` and `b2`, serve HTTP on port 80 of a VIP and DNS on another.
pub(crate) fn serves(topology: &Topology, vip: IpAddr, dns_port: u16, content: &Content) -> Result<()> {
    serves_some(topology, vip, dns_port, content, CONNECTIONS)
}

/// The same with fewer connections, for a CPU that is emulated.
pub(crate) fn serves_some(
    topology: &Topology,
    vip: IpAddr,
    dns_port: u16,
    content: &Content,
    count: u64,
) -> Result<()> {
    let (client, web) = (topology.client(), SocketAddr::new(vip, 80));
    let who = curl(client, &format!("http://{web}/who"), LIMIT)?;
    ensure!(who.starts_with('b'), "{who}");
    let tally = connections(client, web, count, 8)?;
    assert_eq!((tally.failed(), tally.answered()), (0, count), "{tally:?}");
    assert!(tally.of("b1") > count / 4 && tally.of("b2") > count / 4, "{tally:?}");
    let mut answered = BTreeSet::new();
    wait_until("both backends answer DNS", PATIENCE, || {
        answered.extend(dig(client, vip, dns_port, TXT_NAME, "TXT", LIMIT).unwrap_or_default());
        answered.len() == 2
    })?;
    let load = Load::start(client, web, 1);
    for download in Download::start_many(1, client, web, content, None) {
        let report = download.finish()?;
        let whole = content.bytes().len() as u64;
        assert_eq!((report.received, &report.outcome), (whole, &Ok(())), "{report:?}");
    }
    let tally: Tally = load.stop()?.iter().collect();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    Ok(())
}
