//! Evenkeel at work on one machine: `cargo xtask demo` builds and runs this.
//!
//! ```text
//!   client ──▶ balancer (evenkeel) ──▶ b1, b2, b3 (nginx)
//!      ▲                                   │
//!      └────────── answers ────────────────┘
//! ```
//!
//! All of them are network namespaces, removed at the end whatever happens. `main` sets the stage, `story` plays.

mod interrupt;
mod screen;
mod stage;
mod story;
mod table;
mod traffic;
mod verdict;

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use anyhow::{Result, ensure};
use clap::Parser;
use evenkeel_tests::{
    bpffs::Bpffs,
    content::Content,
    daemon::{Daemon, find_binary},
    scenario::{Service, configuration, nginx_everywhere, wait_for_takers},
    topology::{Topology, VIP4},
};
use nix::unistd::Uid;

use crate::{
    interrupt::Interrupt,
    screen::Screen,
    stage::Stage,
    story::{Cast, DOWNLOAD, play},
    traffic::Traffic,
    verdict::Finding,
};

/// The service's name.
const SERVICE: &str = "web";
/// Its port.
const PORT: u16 = 80;
/// Its address.
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(VIP4), PORT);
/// The weights of b1, b2 and b3.
const WEIGHTS: [u16; 3] = [2, 1, 1];

/// Shows Evenkeel at work: shares, a failure, a drain. Ends with 0 only if all was as it should be.
#[derive(Debug, Parser)]
#[command(name = "evenkeel-demo")]
struct Arguments {
    /// Leave everything running at the end, to be played with, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Interrupt::install().and_then(|interrupt| run(&arguments, &interrupt)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything; returns whether all was as it should be.
fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    ensure!(Uid::effective().is_root(), "it makes network namespaces and loads an XDP program: run it as root");
    let mut screen = Screen::new();
    screen.say("Evenkeel: one client, one balancer, three nginx, in network namespaces.")?;
    let outcome = present(arguments, interrupt, &mut screen);
    // Ctrl-C at a terminal reaches our programs too: what fails then is not the news.
    match outcome {
        Err(_) if interrupt.is_set() => {
            screen.settle();
            screen.say("\nInterrupted. Everything is removed.")?;
            Ok(false)
        }
        other => other,
    }
}

fn present(arguments: &Arguments, interrupt: &Interrupt, screen: &mut Screen) -> Result<bool> {
    let topology = Topology::one_nic(WEIGHTS.len())?;
    let content = Content::generate(1, DOWNLOAD.0);
    let mut servers = nginx_everywhere(&topology, &[PORT], Some(&content))?;
    let bpffs = Bpffs::mount()?;
    let mut service = Service::tcp(SERVICE, VIP.ip(), PORT, &topology).weights(&WEIGHTS);
    service.options = vec![story::PROBE.to_owned()];
    let services = [service];
    let daemon = Daemon::start(topology.balancer(), &bpffs, |paths| configuration(paths, &topology, &services))?;
    wait_for_takers(&daemon, SERVICE, &["b1", "b2", "b3"])?;
    let traffic = Traffic::start(topology.client(), VIP);
    let mut stage = Stage { daemon: &daemon, traffic: &traffic, screen, interrupt };
    let mut cast =
        Cast { topology: &topology, servers: &mut servers, weights: &services[0].backends, content: &content };
    let findings = play(&mut stage, &mut cast)?;
    conclude(stage.screen, &findings)?;
    if arguments.keep {
        keep(&mut stage, &topology)?;
    }
    Ok(findings.iter().all(|finding| finding.holds))
}

fn conclude(screen: &mut Screen, findings: &[Finding]) -> Result<()> {
    let wrong: Vec<_> = findings.iter().filter(|finding| !finding.holds).collect();
    let (count, seconds) = (findings.len(), screen.elapsed().as_secs());
    if wrong.is_empty() {
        screen.say(&format!("\n✓ All {count} findings are as they should be, after {seconds} s."))?;
    } else {
        screen.say(&format!("\n✗ {} of {count} findings are not as they should be:", wrong.len()))?;
        wrong.iter().try_for_each(|finding| screen.say(&format!("  {finding}")))?;
    }
    screen.say("\nLook further: `cargo xtask demo --keep` leaves it running, with commands to try;")?;
    screen.say("tests/e2e/ has behaviours as tests; configs/ has configurations to start from.")?;
    Ok(())
}

/// Leaves the stage to the user.
fn keep(stage: &mut Stage<'_>, topology: &Topology) -> Result<()> {
    let binary = find_binary()?;
    let socket = stage.daemon.paths().socket.display();
    let (client, server) = (topology.client().name(), VIP.ip());
    let flow = format!("--proto tcp --src {}:40000 --dst {VIP}", topology.client_addresses().v4);
    stage.screen.say("\nEverything stays until Ctrl-C. In another terminal:\n")?;
    stage.screen.say(&format!("  ip netns exec {client} curl http://{server}/who"))?;
    stage.screen.say(&format!("  export EVENKEEL_SOCKET={socket}"))?;
    stage.screen.say(&format!("  alias ek={}", binary.display()))?;
    for words in ["status", "flows", "backend drain web b1", "backend enable web b1", "backend weight web b3 5"] {
        stage.screen.say(&format!("  ek {words}"))?;
    }
    stage.screen.say(&format!("  ek explain {flow}\n"))?;
    stage.screen.settle();
    let (traffic, interrupt) = (stage.traffic, stage.interrupt);
    let watched = stage.watch(|| {
        traffic.forget();
        interrupt.is_set()
    });
    // Ctrl-C at a terminal reaches the daemon too; what fails then is not the news.
    if !interrupt.is_set() {
        watched?;
    }
    stage.screen.settle();
    Ok(stage.screen.say("\nEverything is removed.")?)
}
