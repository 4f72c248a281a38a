//! The node under test: the daemon's planner and scores, and its program in the kernel. What probes and neighbours would say is
//! said by the bench, and what time it is; no packet leaves.

use std::{
    fmt::Write as _,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, ensure};
use evenkeel::{
    config::{self, model::SchedulerKind},
    controller::{Reconciler, scores::Scores},
    dataplane::kernel::{LoadOptions, Loaded},
    health::{Advice, Answer, LastResult, Outcome, Progress, Status},
    neighbour::{NextHop, NextHops, Resolution},
    probe::{HealthView, Target, TargetHealth},
    state::Runtime,
    supervisor,
};
use lb_common::features::Features;

use super::{
    pool::{self, Backend},
    traffic::Balancer,
};
use crate::subjects::packets::{ACK, PORT, SYN, Shape, VIP4};

/// `BPF_PROG_TEST_RUN` lets packets come from the loopback.
const LOOPBACK: u32 = 1;
/// `XDP_TX`.
const TRANSMIT: u32 = 3;
const FIN: u8 = 0x01;
/// Bytes of a packet that is counted for its length.
const DATA: u32 = 1400;
/// Entries of the flow table: nobody finds it full.
const ENTRIES: u32 = 1 << 19;
/// Where the source address and the source port of an IPv4 packet are, and the flags of TCP.
const SOURCE: usize = 26;
const SOURCE_PORT: usize = 34;
const FLAGS: usize = 47;

/// See the module.
pub(super) struct Node {
    loaded: Loaded,
    reconciler: Reconciler,
    scores: Scores,
    wants_data: bool,
    /// The beginning of simulated time.
    begun: Instant,
}

impl Node {
    /// One service with this scheduler over these backends, which are up and answer probes in the time that flows take.
    ///
    /// # Errors
    ///
    /// When the configuration does not fit, or the kernel refuses the program.
    pub(super) fn start(kind: SchedulerKind, backends: &[Backend]) -> Result<Self> {
        let config = config::parse(&configuration(kind, backends), "bench")?;
        let mut loaded = Loaded::load(&LoadOptions {
            sizes: supervisor::sizes(&config.node),
            hash_key: std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(2 * i as u32 + 1) ^ 0x5bd1_e995),
            fragment_timeout: Duration::from_secs(30),
            pins: None,
            features: Features::ALL,
            flows_writable: true,
            one_buffer: true,
        })?;
        let now = SystemTime::now();
        let mut reconciler = Reconciler::new(&config, Runtime::default(), &loaded, loaded.clock());
        reconciler.set_next_hops(next_hops(backends.len()), now);
        reconciler.set_health(health(backends, now));
        reconciler.reconcile(&mut loaded, now)?;
        let wants_data = kind == SchedulerKind::LeastBandwidth;
        Ok(Self { loaded, reconciler, scores: Scores::default(), wants_data, begun: Instant::now() })
    }

    /// Sends a packet of a flow; returns the index of the backend that it is sent on to.
    fn send(&self, flow: u32, flags: u8, length: u32) -> Result<usize> {
        let packet = packet(flow, flags, length);
        let (action, sent) = self.loaded.run(&packet, Some(LOOPBACK))?;
        ensure!(action == TRANSMIT, "flow {flow}: XDP action {action}");
        Ok(pool::index([sent[3], sent[4], sent[5]]))
    }

    fn send_to(&self, flow: u32, flags: u8, length: u32, backend: usize) -> Result<()> {
        let found = self.send(flow, flags, length)?;
        ensure!(found == backend, "flow {flow} is at backend {found}, and was at {backend}");
        Ok(())
    }
}

impl Balancer for Node {
    fn begin(&mut self, flow: u32) -> Result<usize> {
        self.send(flow, SYN, 64)
    }

    fn end(&mut self, flow: u32, backend: usize) -> Result<()> {
        self.send_to(flow, FIN | ACK, 64, backend)
    }

    fn data(&mut self, flow: u32, backend: usize) -> Result<()> {
        self.send_to(flow, ACK, DATA, backend)
    }

    fn wants_data(&self) -> bool {
        self.wants_data
    }

    fn tick(&mut self, now: Duration) -> Result<()> {
        self.scores.publish(&self.reconciler, &self.loaded, self.begun + now)
    }
}

fn configuration(kind: SchedulerKind, backends: &[Backend]) -> String {
    let mut text = format!(
        "version: 1\nnode:\n  interfaces: [lo]\n  flow_table: {{entries: {ENTRIES}}}\nservices:\n- name: web\n  \
         vip: {VIP4}\n  port: {PORT}\n  protocol: tcp\n  scheduler: {}\n  probe: {{type: tcp}}\n  \
         timeouts: {{tcp_setup: 1h}}\n  backends:\n",
        kind.name()
    );
    for (i, backend) in backends.iter().enumerate() {
        let _ = writeln!(text, "  - {{address: {}, weight: {}}}", pool::address(i), backend.weight);
    }
    text
}

/// What the kernel would say: every backend is on the link.
fn next_hops(backends: usize) -> NextHops {
    let hop = |address: IpAddr| {
        let IpAddr::V4(v4) = address else { unreachable!("all backends have IPv4 addresses") };
        let [_, b, c, d] = v4.octets();
        let hop = NextHop {
            ifindex: LOOPBACK,
            ifname: "lo".to_owned(),
            vlan: None,
            source_mac: [0x02, 0, 0, 0, 0, 0xee],
            mac: [0x02, 0, 0, b, c, d],
            mtu: 1500,
            gateway: None,
        };
        (address, Arc::new(Resolution::Resolved(hop)))
    };
    (0..backends).map(|i| hop(pool::address(i))).collect()
}

/// What the probes would say: every backend is up, and answers after its time.
fn health(backends: &[Backend], now: SystemTime) -> HealthView {
    let up = |(i, backend): (usize, &Backend)| {
        let target = Target::tcp(pool::address(i), PORT);
        let latency = Duration::try_from_secs_f64(backend.seconds).ok();
        let answer = Answer { latency, advice: Advice::default() };
        let health = TargetHealth {
            target: target.clone(),
            status: Status::Up,
            eligible: true,
            since: now,
            reason: "answers".to_owned(),
            held_until: None,
            last: Some(LastResult { at: now, outcome: Outcome::Success(answer) }),
            progress: Progress::default(),
            advice: Advice::default(),
            history: Arc::default(),
        };
        (target, Arc::new(health))
    };
    backends.iter().enumerate().map(up).collect()
}

/// A packet of a flow: each flow has a client of its own, of 10.128.0.0/9.
fn packet(flow: u32, flags: u8, length: u32) -> Vec<u8> {
    let mut bytes = Shape { length, tcp_flags: flags, ..Shape::TCP4 }.bytes(0);
    debug_assert_eq!(bytes[FLAGS], flags);
    // Multiplied by an odd number, no two are the same.
    let scattered = flow.wrapping_mul(0x9e37_79b1);
    let address = 10 << 24 | 1 << 23 | scattered & 0x7f_ffff;
    bytes[SOURCE..SOURCE + 4].copy_from_slice(&address.to_be_bytes());
    bytes[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&(1024 | (scattered >> 16) as u16).to_be_bytes());
    bytes
}
