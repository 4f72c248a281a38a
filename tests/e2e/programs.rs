//! Real programs through the balancer: a DNS server with dig, nginx with curl and wrk, iperf3.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{curl, dig, iperf3, wrk},
    scenario::{Service, backend_status, nginx_everywhere, service_status, start, wait_for_takers},
    servers::{DNS_PORT, IPERF3_PORT, TXT_NAME, dns, iperf3 as iperf3_server},
    topology::{Topology, VIP4, VIP6},
};

const NAMES: [&str; 3] = ["b1", "b2", "b3"];
const VIPS: [(&str, IpAddr); 2] = [("v4", IpAddr::V4(VIP4)), ("v6", IpAddr::V6(VIP6))];
const LIMIT: Duration = Duration::from_secs(10);
/// With 60 questions a backend of three that takes its share is missed once in 10^10 runs.
const QUESTIONS: usize = 60;

#[test]
fn dns_is_answered_by_every_backend() -> Result<()> {
    let topology = Topology::two_nics(3)?;
    let servers = topology.backends().iter().map(|backend| dns(backend.namespace(), backend.name()));
    let _servers = servers.collect::<Result<Vec<_>>>()?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &VIPS.map(|(name, vip)| Service::udp(name, vip, DNS_PORT, &topology)))?;
    for (service, vip) in VIPS {
        wait_for_takers(&daemon, service, &NAMES)?;
        let mut answers = BTreeMap::<String, usize>::new();
        for _ in 0..QUESTIONS {
            let answer = dig(topology.client(), vip, DNS_PORT, TXT_NAME, "TXT", LIMIT)?;
            let [name] = answer.as_slice() else { panic!("{vip} answers {answer:?}") };
            *answers.entry(name.clone()).or_default() += 1;
        }
        assert!(answers.keys().eq(NAMES), "{vip}: {answers:?}");
        println!("{vip}: {QUESTIONS} of {QUESTIONS} questions of dig answered: {answers:?}");
    }
    Ok(())
}

#[test]
fn nginx_is_served_to_curl_and_wrk() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &VIPS.map(|(name, vip)| Service::tcp(name, vip, 80, &topology)))?;
    for (service, vip) in VIPS {
        wait_for_takers(&daemon, service, &NAMES)?;
        let url = format!("http://{}/who", SocketAddr::new(vip, 80));
        let answer = curl(topology.client(), &url, LIMIT)?;
        assert!(NAMES.contains(&answer.as_str()), "{url} answers {answer:?}");
        let run = wrk(topology.client(), &url, 24, Duration::from_secs(2))?;
        assert!(run.requests > 100 && run.socket_errors == 0 && run.bad_statuses == 0, "{run:?}");
        println!("{vip}: curl was answered by {answer}; wrk made {} requests with 0 errors", run.requests);
    }
    Ok(())
}

#[test]
fn iperf3_sends_through_one_backend() -> Result<()> {
    let topology = Topology::two_nics(1)?;
    let _server = iperf3_server(topology.backends()[0].namespace())?;
    let bpffs = Bpffs::mount()?;
    // iperf3 takes a probe's connection for a client that went away.
    let services = VIPS.map(|(name, vip)| Service::tcp(name, vip, IPERF3_PORT, &topology).options(&["probe: none"]));
    let daemon = start(&topology, &bpffs, &services)?;
    for (service, vip) in VIPS {
        wait_for_takers(&daemon, service, &["b1"])?;
        let run = iperf3(topology.client(), vip, Duration::from_secs(3))?;
        let status = service_status(&daemon, service)?;
        let bytes = status["bytes"].as_u64().context("bytes")?;
        assert!(run.received > 0 && bytes > run.received, "{run:?}: {status}");
        // One connection for control and one for data.
        assert_eq!(backend_status(&daemon, service, "b1")?["flows_new"], 2);
        println!("{vip}: iperf3 sent {} MB in 3 s over 2 connections, none broken", run.received / 1_000_000);
    }
    Ok(())
}
