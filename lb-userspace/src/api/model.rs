//! What goes over the API.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::config::model::{AdminState, OnDrainTimeout};

/// The state of everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: SystemTime,
    /// What it read.
    pub config_file: String,
    /// Counts changes of what is configured: [`Changed::version`].
    #[serde(default)]
    pub config_version: u64,
    /// Services that were applied at run time and are not in force, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// The last reload that was refused, until one is not.
    pub reload_error: Option<String>,
    /// Comparisons of the tables with what they should be.
    #[serde(default)]
    pub verify: VerifyStatus,
    /// The machine.
    pub node: NodeStatus,
    /// The services, in the order of the file.
    pub services: Vec<ServiceStatus>,
}

/// The state of the machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Where the program is attached, and how (`native` or `generic`).
    pub interfaces: Vec<InterfaceStatus>,
    /// Places in the flow table.
    pub flow_entries: u64,
    /// Of them in use, ended flows that nobody has overwritten included.
    pub flow_entries_used: u64,
    /// What the program can do; what the configuration does not use is left out of it.
    pub features: Vec<String>,
    /// Counters since the tables were made.
    pub counters: NodeTotals,
}

/// An attached interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// `native` or `generic`.
    pub mode: String,
}

/// Packets by what became of them. `received` = `transmitted` + `redirected` + all of `passed` + all of `dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTotals {
    /// Every packet on the attached interfaces.
    pub received: u64,
    /// Their bytes, with Ethernet headers.
    pub received_bytes: u64,
    /// Sent out on the interface they came from.
    pub transmitted: u64,
    /// Sent out on another interface.
    pub redirected: u64,
    /// Made by the node itself (resets, port unreachable), part of `transmitted`.
    pub replies: u64,
    /// Left to the host, by reason.
    pub passed: BTreeMap<String, u64>,
    /// Dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Flow entries written for new flows.
    pub flows_created: u64,
    /// Flow entries taken from idle or closing flows.
    pub flows_evicted: u64,
    /// Flow entries moved to make room.
    pub flows_displaced: u64,
    /// Packets of flows that found no room and go by their hash.
    pub flows_untracked: u64,
    /// Packets of new flows that were not remembered in a flood and go by their hash.
    #[serde(default)]
    pub flows_forgotten: u64,
    /// Replies of backends that were translated back (`nat`, `full-nat`); part of `transmitted` and `redirected`.
    #[serde(default)]
    pub nat_replies: u64,
    /// Packets of services with `quic` whose connection id named no backend; they went by flow table or hash.
    #[serde(default)]
    pub quic_unrouted: u64,
    /// Packets that had no room for the TCP option that tells the backend its client (`toa`).
    #[serde(default)]
    pub toa_omitted: u64,
}

/// The state of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// `file`, or `runtime`: it was applied.
    #[serde(default)]
    pub origin: String,
    /// Where it stands in a file, as `file:line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Address or prefix.
    pub vip: String,
    /// Port, range, or `any`.
    pub port: String,
    /// `tcp`, `udp` or `any` (both).
    pub protocol: String,
    /// Forwarding mode.
    pub mode: String,
    /// Scheduler.
    pub scheduler: String,
    /// It goes by what backends have to do and not by slots, of which each backend has one then.
    #[serde(default)]
    pub by_score: bool,
    /// It does otherwise than its name says, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_note: Option<String>,
    /// What holds a client's new flows together, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<AffinityStatus>,
    /// Slots of its table; 0: no backend takes flows.
    pub slots: u32,
    /// Whether enough backends can take flows, if that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<QuorumStatus>,
    /// What happens to new flows without a backend.
    pub on_no_backend: String,
    /// While less of a priority's weight can take flows, in percent, later ones take what is missing.
    #[serde(default)]
    pub overflow_threshold: u8,
    /// Which groups of backends take new flows: by priority, the backups last.
    #[serde(default)]
    pub groups: Vec<GroupStatus>,
    /// Why it is not the first group alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_note: Option<String>,
    /// What happens to present flows of a backend that goes down.
    pub on_backend_down: String,
    /// How long a drain lasts at most.
    #[serde(default)]
    pub drain_timeout_ms: u64,
    /// What happens then to the flows that are left.
    #[serde(default)]
    pub on_drain_timeout: String,
    /// Limits of its new flows, and what they refused.
    #[serde(default)]
    pub limits: LimitStatus,
    /// Live flows.
    pub active_flows: u64,
    /// Packets forwarded to the backends that it has now.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its backends, those that are leaving last.
    pub backends: Vec<BackendStatus>,
}

/// A client's new flows go where its last one went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AffinityStatus {
    /// `client-ip`.
    pub r#type: String,
    /// Bits of the client's address that count.
    pub prefix: u8,
    /// Since the client's last new flow.
    pub timeout_ms: u64,
}

/// Backends of one priority, or the backups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its priority; `None`: the backups.
    pub priority: Option<u8>,
    /// Its part of new flows, in percent, with one decimal. With a scheduler by score that is of live flows.
    pub share_percent: f64,
    /// Backends in it.
    pub backends: u32,
    /// Those of them that can take flows: up, enabled, with a weight and a next hop.
    pub able: u32,
    /// All their weights as configured.
    pub weight: u64,
    /// The weights of those that can take flows.
    pub able_weight: u64,
}

/// Whether enough backends of a service can take flows; backups do not count.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuorumStatus {
    /// `met`, `lost`, or `unknown` before it can be told.
    pub state: String,
    /// Since when.
    pub since: SystemTime,
    /// Backends that can take flows.
    pub able: u32,
    /// All backends.
    pub backends: u32,
    /// The weights of those that can take flows.
    pub able_weight: u64,
    /// The weights of all.
    pub weight: u64,
    /// So many, or so much of the weight, meet it after it was lost.
    pub up: String,
    /// With less it is lost.
    pub down: String,
}

/// Limits of a service's new flows, and what they refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// New flows in a second; nothing: no limit.
    #[serde(default)]
    pub new_per_second: Option<u32>,
    /// New flows at once.
    #[serde(default)]
    pub burst: Option<u32>,
    /// New flows in a second of each prefix of clients.
    #[serde(default)]
    pub client_new_per_second: Option<u32>,
    /// The same at once.
    #[serde(default)]
    pub client_burst: Option<u32>,
    /// Bits of clients' addresses that make a prefix.
    #[serde(default)]
    pub client_prefix: Option<u8>,
    /// New flows in a second above which none is remembered.
    #[serde(default)]
    pub flood: Option<u32>,
    /// `drop` or `reject`: what happens above a limit.
    #[serde(default)]
    pub on_exceed: String,
    /// Prefixes that are allowed.
    #[serde(default)]
    pub allowed: u64,
    /// Prefixes that are denied.
    #[serde(default)]
    pub denied: u64,
    /// What was refused, by drop reason (rejected flows as well), and as `forgotten` new flows that were not remembered in a flood.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
}

/// The state of a backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How packets get to it.
    pub mode: String,
    /// The kind of the TCP option that tells it its clients, if it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toa: Option<u8>,
    /// Its weight.
    pub weight: u16,
    /// Live flows that it may have; 0: any number.
    #[serde(default)]
    pub max_connections: u32,
    /// Whose turn it is, 0 the first; of no meaning for a backup.
    #[serde(default)]
    pub priority: u8,
    /// Takes flows only while no other backend can.
    pub backup: bool,
    /// What the operator wants.
    pub admin_state: AdminState,
    /// `up`, `down`, `unknown`, or `unprobed`.
    pub health: String,
    /// Since when.
    pub health_since: Option<SystemTime>,
    /// Why.
    pub health_reason: Option<String>,
    /// Until when it is held down, as it did not stay up before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<SystemTime>,
    /// The last probe.
    pub last_probe: Option<LastProbe>,
    /// Its last changes of health, up to 16, the newest last.
    #[serde(default)]
    pub health_history: Vec<HealthTransition>,
    /// Its weight in percent of `weight`, as it says itself in answers to probes.
    #[serde(default)]
    pub weight_percent: Option<u8>,
    /// How it is judged by its clients' packets; nothing: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<PassiveStatus>,
    /// The share of its weight that it has got to in its slow start, in percent; `None`: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start_percent: Option<u8>,
    /// What it says it wants: `drain` (no new flows) or `maint` (none at all).
    #[serde(default)]
    pub wants: Option<String>,
    /// Whether new flows come to it.
    pub takes_flows: bool,
    /// Whether known flows go on to it.
    pub keeps_flows: bool,
    /// Slots of the service's table that are its own.
    pub slots: u32,
    /// Where packets go, or why it is not known.
    pub next_hop: NextHopStatus,
    /// Live flows.
    pub active_flows: u64,
    /// Flows that end.
    pub closing_flows: u64,
    /// Flows given to it; one that found no room in the flow table counts with each packet.
    pub flows_new: u64,
    /// Flows ended by FIN or RST.
    pub flows_closed: u64,
    /// Packets forwarded.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The drain under way or finished.
    pub drain: Option<DrainStatus>,
    /// It was removed and goes once its flows have ended.
    pub leaving: bool,
    /// `file` or `runtime`.
    pub origin: String,
    /// Where it stands in a file, as `file:line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// How long it stays without being added again, if it was added for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationStatus>,
    /// What was changed at run time: `weight`, `admin_state`.
    pub runtime_changes: Vec<String>,
    /// Its server id in each QUIC-LB configuration of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quic: Vec<QuicServerStatus>,
}

/// How a backend is judged by the packets of its clients; numbers are those of the last interval that is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PassiveStatus {
    /// `observe` or `eject`.
    pub mode: String,
    /// `fine`, `outlier`, `ejected`, or `waits-for-probe`, which is ejected too.
    pub standing: String,
    /// Since when, if that ever changed.
    pub since: Option<SystemTime>,
    /// Until when it is ejected.
    pub until: Option<SystemTime>,
    /// Why.
    pub reason: Option<String>,
    /// How often in succession it was ejected.
    pub times: u32,
    /// Connections that clients wanted to open.
    pub connections: u64,
    /// Of these, those that were not answered.
    pub unanswered: u64,
    /// Their share in percent; nothing: there were too few to tell.
    pub failure_percent: Option<f64>,
    /// SYNs repeated without an answer.
    pub repeated: u64,
    /// Open connections that clients reset.
    pub reset: u64,
    /// Connections that it refused; in `nat` and `full-nat` only.
    pub refused: u64,
    /// Open connections that it reset; in `nat` and `full-nat` only.
    pub broken: u64,
    /// ICMP messages that it cannot be reached; in `nat` and `full-nat` only.
    pub unreachable: u64,
    /// Its last changes, up to 16, the newest last.
    pub history: Vec<PassiveChange>,
}

/// A change of how a backend is judged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PassiveChange {
    /// When.
    pub at: SystemTime,
    /// What it came to.
    pub standing: String,
    /// Why.
    pub reason: String,
}

/// A registration for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationStatus {
    /// Its time to live.
    pub ttl_ms: u64,
    /// What is left of it.
    pub remaining_ms: u64,
}

/// What the server of a backend has to use in its QUIC connection ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuicServerStatus {
    /// The configuration's id.
    pub config_id: u8,
    /// `plain`, `single-pass` or `four-pass`.
    pub mode: String,
    /// The server id in hexadecimal digits.
    pub server_id: String,
    /// Octets of a nonce.
    pub nonce_length: u8,
}

/// A change of a backend's health.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HealthTransition {
    /// When.
    pub at: SystemTime,
    /// What it came to: `up`, `down`.
    pub health: String,
    /// Why.
    pub reason: String,
}

/// The last probe of a backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastProbe {
    /// What was probed.
    pub target: String,
    /// When.
    pub at: SystemTime,
    /// How long a success took.
    pub latency_us: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A next hop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NextHopStatus {
    /// Whether packets can be sent.
    pub resolved: bool,
    /// The interface.
    pub interface: Option<String>,
    /// The VLAN in which frames leave, if that interface is a VLAN device.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The MAC address.
    pub mac: Option<String>,
    /// The gateway, if the backend is not on the link.
    pub gateway: Option<IpAddr>,
    /// Why it is not resolved, or was and is no longer.
    pub reason: Option<String>,
    /// Since when that is so.
    pub since: Option<SystemTime>,
    /// The counter of dropped packets that counts what is meant for the backend while no next hop was ever known: `neighbour`.
    pub drops: Option<String>,
}

/// A drain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Since when.
    pub since: SystemTime,
    /// Until when at the latest.
    pub deadline: SystemTime,
    /// Flows that are left, half-closed and ended ones that are not forgotten yet included.
    #[serde(default)]
    pub flows_left: u64,
    /// No live flow is left.
    pub empty: bool,
    /// The deadline has passed before the last flow had ended.
    pub overdue: bool,
    /// What happens at the deadline to the flows that are left: `keep`, `reset`.
    #[serde(default)]
    pub then: String,
    /// When the last flow had ended, if that was seen.
    #[serde(default)]
    pub ended: Option<SystemTime>,
}

/// A change of a backend.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendChange {
    /// What the operator wants of it from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_state: Option<AdminState>,
    /// Its weight from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Its drain is cancelled: it is enabled again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undrain: bool,
    /// With `admin_state: draining`: how long the drain lasts at most from now on, such as `30s`, 1 s to 24 h; else as the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<String>,
    /// Likewise: what happens then to the flows that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_drain_timeout: Option<OnDrainTimeout>,
}

/// What a change came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changed {
    /// In words.
    pub message: String,
    /// Writes to the tables.
    pub writes: usize,
    /// Of the configuration from now on.
    #[serde(default)]
    pub version: u64,
}

/// A configuration that is to be applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// What it is called in messages.
    pub file: String,
    /// The document.
    pub text: String,
    /// Tells what would change, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// What was added at run time and is not in the document is removed.
    #[serde(default)]
    pub prune: bool,
}

/// What an applied configuration changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppliedChanges {
    /// In the order of the document, removals last; none: everything is as it says.
    pub changes: Vec<ConfigChange>,
    /// They were made.
    pub applied: bool,
    /// Writes to the tables.
    pub writes: usize,
    /// Of the configuration from now on.
    pub version: u64,
}

/// A difference between what is configured and what is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// `add`, `change` or `remove`.
    pub action: String,
    /// The service.
    pub service: String,
    /// Its backend, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// What is different, such as `weight 1 -> 5`; of something new, what it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// What a comparison of the tables with what they should be came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verified {
    /// What differs, up to 1 000 of it.
    pub drifts: Vec<DriftStatus>,
    /// How many records that are in all.
    pub total: u64,
    /// It was put right.
    pub repaired: bool,
    /// How long that took, in microseconds.
    pub took_us: u64,
}

/// Something in the tables that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftStatus {
    /// The table, by the name of its map.
    pub table: String,
    /// The record in it, or the first of several.
    pub index: u32,
    /// How many records.
    pub count: u64,
    /// What of it.
    pub what: String,
    /// The service that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// Comparisons of the tables with what they should be, since the daemon started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VerifyStatus {
    /// How often they were compared.
    pub runs: u64,
    /// Records that differed.
    pub drifted: u64,
    /// When they were compared last.
    #[serde(default)]
    pub last: Option<SystemTime>,
    /// How long that took, in microseconds.
    pub took_us: u64,
    /// When something differed last.
    #[serde(default)]
    pub last_drift: Option<SystemTime>,
}

/// The running configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exported {
    /// Its version.
    pub version: u64,
    /// A document that `evenkeel check` accepts.
    pub text: String,
}

/// Live flows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flows {
    /// How many there are.
    pub total: u64,
    /// Up to the limit of them.
    pub flows: Vec<FlowStatus>,
}

/// A live flow. The table holds a keyed tag in place of addresses; `explain` tells the flow of an address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Its service.
    pub service: String,
    /// Its backend.
    pub backend: String,
    /// `setup`, `established`, `closing`, `udp-single`, `udp`.
    pub state: String,
    /// Since its last packet, to a sixteenth of a second.
    pub idle_ms: u64,
}

/// A packet to ask about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// `tcp` or `udp`.
    pub protocol: crate::config::model::Protocol,
    /// Client.
    pub source: SocketAddr,
    /// VIP and port.
    pub destination: SocketAddr,
    /// TCP: a SYN (`true`, the default) or a packet of a connection.
    #[serde(default = "yes")]
    pub syn: bool,
}

const fn yes() -> bool {
    true
}

/// What would happen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// `transmit` or `redirect` (`forward` where the node has several interfaces and it depends on which one the packet comes
    /// from), `reject`, `reset`, `pass`, `drop`.
    pub verdict: String,
    /// The reason of `pass`, `drop`, `reject` and `reset`.
    pub reason: Option<String>,
    /// What it means.
    pub help: Option<String>,
    /// The service that takes the packet.
    pub service: Option<String>,
    /// Other services that would take it if there were not that one.
    #[serde(default)]
    pub beats: Vec<Beaten>,
    /// The slot that the flow's hash chooses.
    pub slot: Option<u32>,
    /// The backend in it.
    pub slot_backend: Option<String>,
    /// The scheduler goes by no hash: a new flow may get another backend than this one.
    pub chosen_anew: bool,
    /// The packet begins a flow in a flood, and the flow is not remembered.
    #[serde(default)]
    pub forgotten: bool,
    /// The flow's entry.
    pub flow: Option<FlowStatus>,
    /// The backend that gets the packet.
    pub backend: Option<String>,
    /// Its next hop.
    pub next_hop: Option<NextHopStatus>,
}

/// A service that gives way to a more specific one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beaten {
    /// Its name.
    pub service: String,
    /// Why it gives way.
    pub reason: String,
}

/// An error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// What is wrong and what to do.
    pub error: String,
}

impl ApiError {
    /// Bad input.
    pub fn bad_request(error: impl Into<String>) -> Self {
        Self { status: 400, error: error.into() }
    }

    /// No such thing.
    pub fn not_found(error: impl Into<String>) -> Self {
        Self { status: 404, error: error.into() }
    }

    /// It cannot be done now.
    pub fn conflict(error: impl Into<String>) -> Self {
        Self { status: 409, error: error.into() }
    }

    /// A condition of the request does not hold.
    pub fn precondition(error: impl Into<String>) -> Self {
        Self { status: 412, error: error.into() }
    }

    /// A failure.
    pub fn internal(error: impl Into<String>) -> Self {
        Self { status: 500, error: error.into() }
    }
}
