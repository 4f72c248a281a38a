//! Somebody else writes into the tables: it is told and put right, and flows stay.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    clients::{Held, Load, Tally, connections},
    daemon::Daemon,
    scenario::{Service, configuration, nginx_everywhere, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    wait::{PATIENCE, wait_until},
};

const TWO: [&str; 2] = ["b1", "b2"];

fn bpftool(arguments: &[String]) -> Result<String> {
    let output = Command::new("bpftool").args(arguments).output().context("bpftool")?;
    ensure!(output.status.success(), "bpftool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The pinned map of a table.
fn pinned(daemon: &Daemon<'_>, table: &str) -> Result<PathBuf> {
    let mut layouts = daemon.paths().pins.read_dir()?.filter_map(Result::ok).map(|entry| entry.path().join("maps"));
    Ok(layouts.find(|maps| maps.is_dir()).context("pinned maps")?.join(table))
}

/// Overwrites a record with one byte, all over.
fn scribble(daemon: &Daemon<'_>, table: &str, index: u32, byte: u8) -> Result<()> {
    let map = pinned(daemon, table)?.display().to_string();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let info = bpftool(&[words("-j map show pinned"), vec![map.clone()]].concat())?;
    let size = serde_json::from_str::<serde_json::Value>(&info)?["bytes_value"].as_u64().context("a size")?;
    let key = index.to_le_bytes().map(|byte| byte.to_string()).join(" ");
    let value = vec![byte.to_string(); size as usize].join(" ");
    let what = words(&format!("key {key} value {value}"));
    bpftool(&[words("map update pinned"), vec![map], what].concat()).map(drop)
}

/// A flow to a backend; others are given up.
fn held_by(client: &evenkeel_tests::namespace::Namespace, server: SocketAddr, name: &str) -> Result<Held> {
    for _ in 0..200 {
        let held = Held::open(client, server)?;
        if held.backend() == name {
            return Ok(held);
        }
    }
    anyhow::bail!("none of 200 connections went to {name}")
}

/// The destination of a backend, as the tables have it.
fn destination_of(daemon: &Daemon<'_>, address: IpAddr) -> Result<u32> {
    let map = pinned(daemon, "DESTINATIONS")?.display().to_string();
    let words = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    for index in 1_u32..64 {
        let mut arguments: Vec<String> = ["-j", "map", "lookup", "pinned", &map, "key"].map(str::to_owned).to_vec();
        arguments.extend(index.to_le_bytes().map(|byte| byte.to_string()));
        let text = bpftool(&arguments)?;
        let found: serde_json::Value = serde_json::from_str(&text)?;
        let bytes: Vec<u8> = found["value"]
            .as_array()
            .context("bytes")?
            .iter()
            .filter_map(|byte| u8::from_str_radix(byte.as_str()?.trim_start_matches("0x"), 16).ok())
            .collect();
        if bytes.windows(16).any(|window| window == words) {
            return Ok(index);
        }
    }
    anyhow::bail!("no destination has {address}")
}

#[test]
fn junk_in_the_tables_is_told_and_repaired_and_a_flow_stays() -> Result<()> {
    for vip in [IpAddr::from(VIP4), VIP6.into()] {
        let topology = Topology::one_nic(2)?;
        let _servers = nginx_everywhere(&topology, &[80], None)?;
        let bpffs = Bpffs::mount()?;
        let daemon = start(&topology, &bpffs, &[Service::tcp("web", vip, 80, &topology)])?;
        wait_for_takers(&daemon, "web", &TWO)?;
        let (client, server) = (topology.client(), SocketAddr::new(vip, 80));
        let mut held = held_by(client, server, "b1")?;
        held.check()?;
        ensure!(daemon.cli_text(&["verify"])?.contains("as they should be"));
        let other = destination_of(&daemon, topology.backends()[1].addresses().like(vip))?;

        // Slots come in pairs.
        (0..50).try_for_each(|pair| scribble(&daemon, "SLOTS", pair, 0))?;
        (50..60).try_for_each(|pair| scribble(&daemon, "SLOTS", pair, 0xa5))?;
        scribble(&daemon, "DESTINATIONS", other, 0xa5)?;
        scribble(&daemon, "DESTINATIONS", 200, 0xa5)?;
        scribble(&daemon, "SERVICES", 1, 0)?;
        scribble(&daemon, "SERVICES", 60, 0x06)?;
        scribble(&daemon, "LIMITS", 1, 0x5a)?;
        scribble(&daemon, "SERVICE_BUCKETS", 0, 0x5a)?;
        scribble(&daemon, "EGRESS", 0, 0x5a)?;
        held.check().context("before it is repaired").or_else(|_| anyhow::Ok(()))?;

        let output = daemon.command(&["verify", "--dry-run", "--json"])?;
        let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        ensure!(output.status.code() == Some(6) && told["repaired"] == false, "{told}");
        let text = daemon.cli_text(&["verify"])?;
        for part in [
            "SLOTS[0] and ",
            ", service web: slot",
            "backend b2 of web: the whole record",
            "SERVICES[1], service web",
            "SERVICES[60]: a service that is not configured",
            "DESTINATIONS[200]: a backend that is not configured",
            "LIMITS[1]",
        ] {
            ensure!(text.contains(part), "no {part:?} in {text}");
        }
        ensure!(text.contains("repaired"), "{text}");
        let again = daemon.cli_text(&["verify"])?;
        ensure!(again.contains("as they should be"), "{again}");
        held.check().context("the flow that was there")?;
        ensure!(held.backend() == "b1");
        let tally = connections(client, server, 300, 4)?;
        ensure!(tally.failed() == 0 && tally.of("b1") > 60 && tally.of("b2") > 60, "{tally:?}");
        let status = daemon.cli(&["status", "--json"])?;
        ensure!(status["verify"]["drifted"].as_u64().is_some_and(|drifted| drifted > 100), "{}", status["verify"]);
        println!("{vip}: {}", text.lines().next().unwrap_or_default());
    }
    Ok(())
}

#[test]
fn the_daemon_repairs_by_itself_within_its_interval() -> Result<()> {
    let (topology, vip) = (Topology::one_nic(2)?, IpAddr::from(VIP4));
    let _servers = nginx_everywhere(&topology, &[80], None)?;
    let bpffs = Bpffs::mount()?;
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| {
        let text = configuration(paths, &topology, &[Service::tcp("web", vip, 80, &topology)]);
        text.replace("  limits:", "  verify_interval: 1s\n  limits:")
    })?;
    wait_for_takers(&daemon, "web", &TWO)?;
    let server = SocketAddr::new(vip, 80);
    let mut held = held_by(topology.client(), server, "b1")?;
    let load = Load::start(topology.client(), server, 4);
    let before = daemon.cli(&["status", "--json"])?["verify"]["runs"].as_u64().context("runs")?;
    // A slot without a backend is passed over, so new flows go on meanwhile.
    (0..100).try_for_each(|pair| scribble(&daemon, "SLOTS", pair, 0))?;
    wait_until("the daemon has repaired them", PATIENCE, || {
        let status = daemon.cli(&["status", "--json"]);
        status.is_ok_and(|status| status["verify"]["drifted"].as_u64().is_some_and(|drifted| drifted >= 100))
    })?;
    ensure!(daemon.log().contains("slot was not as it should be, repaired"), "{}", daemon.log());
    let runs = daemon.cli(&["status", "--json"])?["verify"]["runs"].as_u64().context("runs")?;
    ensure!(runs > before, "{before} and then {runs}");
    held.check()?;
    let done = load.completed();
    wait_until("100 more connections", PATIENCE, || load.completed() >= done + 100)?;
    let after = connections(topology.client(), server, 200, 4)?;
    ensure!(after.failed() == 0 && after.of("b1") > 40 && after.of("b2") > 40, "{after:?}");
    let tally: Tally = load.stop()?.iter().collect();
    println!(
        "200 slots were repaired by the clock; {} connections meanwhile, {} failed",
        tally.answered(),
        tally.failed()
    );
    Ok(())
}
