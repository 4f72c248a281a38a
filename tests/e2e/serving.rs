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

/// Two backends, `b1` and `b2`, serve HTTP on port 80 of a VIP and DNS on another.
pub(crate) fn serves(topology: &Topology, vip: IpAddr, dns_port: u16, content: &Content) -> Result<()> {
    let (client, web) = (topology.client(), SocketAddr::new(vip, 80));
    let who = curl(client, &format!("http://{web}/who"), LIMIT)?;
    ensure!(who.starts_with('b'), "{who}");
    let tally = connections(client, web, 400, 8)?;
    assert_eq!((tally.failed(), tally.answered()), (0, 400), "{tally:?}");
    assert!(tally.of("b1") > 100 && tally.of("b2") > 100, "{tally:?}");
    let mut answered = BTreeSet::new();
    wait_until("both backends answer DNS", PATIENCE, || {
        answered.extend(dig(client, vip, dns_port, TXT_NAME, "TXT", LIMIT).unwrap_or_default());
        answered.len() == 2
    })?;
    let load = Load::start(client, web, 1);
    for download in Download::start_many(1, client, web, content, None) {
        let report = download.finish()?;
        assert_eq!((report.received, &report.outcome), (SIZE as u64, &Ok(())), "{report:?}");
    }
    let tally: Tally = load.stop()?.iter().collect();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    Ok(())
}
