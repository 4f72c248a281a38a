//! Who gets new connections with each scheduler, from servers that take their time, and how a backend gets its share step by step.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Attempt, Tally, UdpStream, attempts, connections},
    daemon::Daemon,
    scenario::{
        QUICK_PROBE, Service, backend, backend_status, nginx_everywhere, service_status, start, wait_for_takers,
    },
    servers::{Slow, slow},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_ok, wait_until},
};

const NAMES: [&str; 3] = ["b1", "b2", "b3"];

/// A probe whose time to the answer is the server's.
const HTTP_PROBE: &str = "probe: {type: http, interval: 200ms, timeout: 200ms}";

fn slow_everywhere(topology: &Topology, delays: [u64; 3]) -> Result<Vec<Slow>> {
    let each = NAMES.iter().zip(delays);
    each.map(|(name, delay)| slow(backend(topology, name).namespace(), name, 80, Duration::from_millis(delay)))
        .collect()
}

fn web(topology: &Topology, scheduler: &str) -> Service {
    Service::tcp("web", VIP4.into(), 80, topology).option(&format!("scheduler: {scheduler}"))
}

/// Each backend's share is within ±3 % of all connections of what it should be.
fn check(tally: &Tally, expected: [f64; 3], what: &str) {
    assert_eq!(tally.failed(), 0, "{tally:?}");
    let shares = NAMES.map(|name| tally.share(name));
    println!(
        "{what}: {:?} of {}, expected {expected:.3?}",
        shares.map(|share| format!("{share:.3}")),
        tally.answered()
    );
    for (share, expected) in shares.into_iter().zip(expected) {
        assert!((share - expected).abs() < 0.03, "{what}: {shares:.3?} instead of {expected:.3?}");
    }
}

/// Without a server's delay mattering: what slots say.
fn check_slots(scheduler: &str, weights: [u16; 3], expected: [f64; 3]) -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &[web(&topology, scheduler).weights(&weights)])?;
    wait_for_takers(&daemon, "web", &NAMES)?;
    let tally = connections(topology.client(), SocketAddr::new(VIP4.into(), 80), 8000, 16)?;
    check(&tally, expected, &format!("{scheduler}, weights {weights:?}"));
    Ok(())
}

#[test]
fn round_robin_is_even_whatever_the_weights() -> Result<()> {
    check_slots("round-robin", [5, 1, 1], [1.0 / 3.0; 3])
}

#[test]
fn weighted_round_robin_and_random_go_by_weight() -> Result<()> {
    check_slots("weighted-round-robin", [5, 2, 1], [0.625, 0.25, 0.125])?;
    check_slots("random", [5, 2, 1], [0.625, 0.25, 0.125])
}

#[test]
fn source_hash_sends_a_client_to_one_backend() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let other = Service { name: "other".into(), vip: VIP6.into(), ..web(&topology, "source-hash") };
    let daemon = start(&topology, &bpffs, &[web(&topology, "source-hash"), other])?;
    for (service, vip) in [("web", VIP4.into()), ("other", VIP6.into())] {
        wait_for_takers(&daemon, service, &NAMES)?;
        let tally = connections(topology.client(), SocketAddr::new(vip, 80), 300, 8)?;
        ensure!(tally.failed() == 0 && tally.replies.len() == 1, "{service}: {tally:?}");
    }
    Ok(())
}

/// Clients that ask again as soon as they are answered keep all backends as busy as each other for their weight: of the time that
/// connections are open each has its part, however many it answers in it.
#[test]
fn least_connections_keeps_backends_equally_busy() -> Result<()> {
    let topology = Topology::two_nics(3)?;
    let servers = slow_everywhere(&topology, [20, 40, 80])?;
    let bpffs = Bpffs::mount()?;
    let daemon = start(&topology, &bpffs, &[web(&topology, "least-connections")])?;
    wait_for_takers(&daemon, "web", &NAMES)?;
    let server = SocketAddr::new(VIP4.into(), 80);
    check_busy(&attempts(topology.client(), server, 8000, 96)?, [1.0 / 3.0; 3], [1, 1, 1]);
    println!("at most {:?} at a time", servers.iter().map(Slow::most).collect::<Vec<_>>());
    for (name, weight) in NAMES.iter().zip(["1", "2", "4"]) {
        daemon.cli_text(&["backend", "weight", "web", name, weight])?;
    }
    check_busy(&attempts(topology.client(), server, 8000, 112)?, [1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0], [1, 2, 4]);
    // What the daemon counts is what the data path goes by.
    wait_until("no flow is left", PATIENCE, || active(&daemon).is_ok_and(|active| active == 0))
}

/// Each backend's part of the time that connections were open.
fn check_busy(attempts: &[Attempt], expected: [f64; 3], weights: [u16; 3]) {
    let tally: Tally = attempts.iter().collect();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    let busy = |name: &str| -> f64 {
        let of = attempts.iter().filter(|attempt| attempt.outcome.as_deref() == Ok(name));
        of.map(|attempt| attempt.ended.duration_since(attempt.started).as_secs_f64()).sum()
    };
    let times = NAMES.map(busy);
    let parts = times.map(|time| time / times.iter().sum::<f64>());
    let shares = NAMES.map(|name| tally.share(name));
    println!("least-connections, weights {weights:?}: busy {parts:.3?}, of connections {shares:.3?}");
    for (part, expected) in parts.into_iter().zip(expected) {
        assert!((part - expected).abs() < 0.03, "busy {parts:.3?} instead of {expected:.3?}");
    }
}

fn active(daemon: &Daemon<'_>) -> Result<u64> {
    Ok(service_status(daemon, "web")?["active_flows"].as_u64().unwrap_or(u64::MAX))
}

/// The busiest backend of a choice of two is not much above the average; at random it is.
#[test]
fn power_of_two_spares_the_slow_one() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let server = SocketAddr::new(VIP4.into(), 80);
    let mut most = Vec::new();
    for scheduler in ["power-of-two", "random"] {
        let servers = slow_everywhere(&topology, [10, 10, 100])?;
        let bpffs = Bpffs::mount()?;
        let daemon = start(&topology, &bpffs, &[web(&topology, scheduler)])?;
        wait_for_takers(&daemon, "web", &NAMES)?;
        let tally = connections(topology.client(), server, 3000, 60)?;
        assert_eq!(tally.failed(), 0, "{tally:?}");
        println!(
            "{scheduler}: the slow one had at most {} of 60 and answered {:.3}",
            servers[2].most(),
            tally.share("b3")
        );
        most.push(servers[2].most());
    }
    assert!(most[0] * 3 < most[1] * 2, "{most:?}");
    Ok(())
}

#[test]
fn least_response_time_prefers_what_answers_probes_soon() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _servers = slow_everywhere(&topology, [10, 40, 40])?;
    let bpffs = Bpffs::mount()?;
    let service = Service { options: vec![HTTP_PROBE.into()], ..web(&topology, "") };
    let daemon = start(&topology, &bpffs, &[service.option("scheduler: least-response-time")])?;
    wait_for_takers(&daemon, "web", &NAMES)?;
    let server = SocketAddr::new(VIP4.into(), 80);
    // Flows in the measure of speed, each of them the faster: 16 to 1 to 1.
    wait_ok("the fast one gets most", PATIENCE, || {
        let tally = connections(topology.client(), server, 1500, 60)?;
        ensure!(tally.failed() == 0 && tally.share("b1") > 0.8, "{tally:?}");
        Ok(())
    })
}

#[test]
fn least_bandwidth_spares_a_backend_with_heavy_flows() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let service = web(&topology, "least-bandwidth");
    let udp = Service { protocol: "any", options: vec!["scheduler: least-bandwidth".into()], ..service };
    let daemon = start(&topology, &bpffs, &[udp])?;
    wait_for_takers(&daemon, "web", &NAMES)?;
    let server = SocketAddr::new(VIP4.into(), 80);
    let stream = UdpStream::start(topology.client(), server, 2000, 1)?;
    let heavy = wait_ok("one backend has the stream", PATIENCE, || {
        let packets = |name: &&str| backend_status(&daemon, "web", name).map(|status| status["packets"].as_u64());
        let found = NAMES.iter().find(|name| packets(name).is_ok_and(|packets| packets > Some(500)));
        found.copied().ok_or_else(|| anyhow::anyhow!("none yet"))
    })?;
    wait_ok("the others get the connections", PATIENCE, || {
        let tally = connections(topology.client(), server, 60, 1)?;
        ensure!(tally.failed() == 0 && tally.of(heavy) == 0, "{heavy} has the stream: {tally:?}");
        Ok(())
    })?;
    stream.stop()?;
    Ok(())
}

#[test]
fn a_backend_that_comes_back_starts_slowly() -> Result<()> {
    let server = SocketAddr::new(VIP4.into(), 80);
    for scheduler in ["maglev", "round-robin", "least-connections"] {
        let topology = Topology::one_nic(3)?;
        let mut servers = nginx_everywhere(&topology, &[80], None)?;
        let bpffs = Bpffs::mount()?;
        let service = web(&topology, scheduler).option("slow_start: {duration: 5s, exponent: 2}");
        let daemon = start(&topology, &bpffs, &[service])?;
        wait_for_takers(&daemon, "web", &NAMES)?;
        // All began together: equal shares all the while.
        let together = connections(topology.client(), server, 2000, 4)?;
        assert!((together.share("b3") - 1.0 / 3.0).abs() < 0.05, "{together:?}");
        wait_until("all have their whole share", PATIENCE, || percent(&daemon).is_ok_and(|percent| percent.is_none()))?;
        servers.pop();
        wait_for_takers(&daemon, "web", &["b1", "b2"])?;
        servers.push(evenkeel_tests::servers::nginx(backend(&topology, "b3").namespace(), "b3", &[80], None)?);
        wait_until("b3 begins", PATIENCE, || percent(&daemon).is_ok_and(|percent| percent.is_some()))?;
        let first = connections(topology.client(), server, 300, 4)?;
        let then = percent(&daemon)?;
        assert_eq!(first.failed(), 0, "{first:?}");
        wait_until("b3 has its whole share", PATIENCE, || percent(&daemon).is_ok_and(|percent| percent.is_none()))?;
        let last = connections(topology.client(), server, 3000, 4)?;
        println!("{scheduler}: {:.3} at {then:?} %, {:.3} in the end", first.share("b3"), last.share("b3"));
        assert_eq!(last.failed(), 0, "{last:?}");
        if scheduler != "least-connections" {
            assert!(first.share("b3") < 0.2 && (last.share("b3") - 1.0 / 3.0).abs() < 0.04, "{first:?}, {last:?}");
        }
    }
    Ok(())
}

fn percent(daemon: &Daemon<'_>) -> Result<Option<u64>> {
    Ok(backend_status(daemon, "web", "b3")?["slow_start_percent"].as_u64())
}

#[test]
fn weights_of_zero_take_no_new_connections() -> Result<()> {
    let topology = Topology::one_nic(3)?;
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    for scheduler in ["weighted-round-robin", "random", "least-connections", "power-of-two", "source-hash"] {
        let bpffs = Bpffs::mount()?;
        let service =
            web(&topology, scheduler).weights(&[1, 0, 1]).options(&[QUICK_PROBE, &format!("scheduler: {scheduler}")]);
        let daemon = start(&topology, &bpffs, &[service])?;
        wait_for_takers(&daemon, "web", &["b1", "b3"])?;
        let tally = connections(topology.client(), SocketAddr::new(VIP4.into(), 80), 200, 4)?;
        assert!(tally.failed() == 0 && tally.of("b2") == 0, "{scheduler}: {tally:?}");
    }
    Ok(())
}
