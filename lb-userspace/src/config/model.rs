//! The checked configuration: every value is in range and every reference resolves.
//!
//! `super::raw` is what the user wrote; `super::check` is the only way from there to here. The vocabularies (enums
//! without values) are the same in the file, so they can be read and written as they are.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use lb_common::quic::Parameters as QuicParameters;
use lb_common::schedule::maglev;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::limits::{ClientLimit, FlowLimits, OnExceed, RateLimit};
pub use super::passive::PassiveHealth;
pub use super::probe::{
    Agent, BodyMatch, ClientCertificate, Damping, Dns, Exec, Grpc, Http, Probe, ProbeKind, ProbeVia, RCODES,
    StatusRanges, Tls, Trust, Udp,
};
pub use super::scheduler::{SchedulerKind, SlotKind};
use crate::quic::Hex;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What concerns the machine.
    pub node: Node,
    /// What is served, in the order of the file; shared with whoever uses a service as it is.
    pub services: Vec<Arc<Service>>,
}

/// The machine: interfaces, table sizes, paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where the XDP program is attached; at least one, names unique.
    pub interfaces: Vec<Interface>,
    /// Entries of the flow table, 16 bytes each: a power of two from 1 024 to 268 435 456.
    pub flow_entries: u32,
    /// Entries of the table of fragments, 16 bytes each: a power of two from 1 024 to 16 777 216.
    pub fragment_entries: u32,
    /// When the first fragment of a datagram is forgotten, 1 s to 2 min.
    pub fragment_timeout: Duration,
    /// Secret of the flow hash, shared by all nodes of a cluster. `None`: the node makes one and keeps it in the state directory.
    pub hash_secret: Option<String>,
    /// Path of the API's Unix socket.
    pub api_socket: PathBuf,
    /// Group that may use the socket (mode 0660); `None`: only the daemon's user.
    pub api_group: Option<String>,
    /// Directory on a bpffs that holds the pins.
    pub pin_directory: PathBuf,
    /// Directory for what must survive a restart.
    pub state_directory: PathBuf,
    /// Where tunnels to backends begin.
    pub tunnel: TunnelSources,
    /// Translation of addresses.
    pub nat: Nat,
    /// The node answers echo requests to VIPs; else they are the host's.
    pub icmp_echo: bool,
    /// The mark (`SO_MARK`) of probes that take the way of the traffic; never 0.
    pub probe_mark: u32,
    /// How often the tables are compared with what they should be, 1 s to 24 h.
    pub verify_interval: Duration,
    /// Sizes of the tables.
    pub limits: Limits,
}

/// Outer source addresses of tunnels. Of a prefix the flow chooses the address, so that backends spread flows over their
/// queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelSources {
    /// For backends with IPv4 addresses.
    pub ipv4: Option<Ipv4Net>,
    /// For backends with IPv6 addresses.
    pub ipv6: Option<Ipv6Net>,
}

/// Translation of addresses, for modes `nat` and `full-nat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Most translated flows at a time, 72 bytes each: a power of two from 1 024 to 67 108 864.
    pub entries: u32,
    /// Source addresses of `full-nat`, up to [`MAX_POOL`](lb_common::abi::MAX_POOL) of each family, none of them twice.
    pub pool: Vec<IpAddr>,
}

impl Nat {
    /// Of which families source addresses are.
    #[must_use]
    pub fn families(&self) -> PoolFamilies {
        PoolFamilies { ipv4: self.pool.iter().any(IpAddr::is_ipv4), ipv6: self.pool.iter().any(IpAddr::is_ipv6) }
    }
}

/// Of which families `full-nat` has source addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolFamilies {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
}

/// Sizes of the tables; changing one needs `evenkeel detach` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most services at a time, 1 to 65 536.
    pub services: u32,
    /// Most backends at a time over all services, 1 to 1 048 576.
    pub backends: u32,
    /// Prefixes in the lists of all services together, 16 to 262 144.
    pub prefixes: u32,
    /// Prefixes of clients whose rates are known at a time, 16 bytes each: a power of two from 1 024 to 16 777 216.
    pub clients: u32,
    /// Slots of all services' tables together, 4 bytes each, 1 024 to 268 435 456. A table that is replaced by one of another size needs room beside it for a moment.
    pub slots: u32,
}

/// An interface that receives traffic for VIPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, 1 to 15 bytes.
    pub name: String,
    /// How the program is attached.
    pub mode: AttachMode,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttachMode {
    /// In the driver where it can, else generic with a warning.
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the kernel's generic path, after an skb was made.
    Generic,
}

/// What a service listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name: unique, letters, digits, `-`, `_`, `.`, at most 63 bytes.
    pub name: String,
    /// The virtual IP: one address (`/32`, `/128`) or a prefix, without host bits.
    pub vip: IpNet,
    /// The ports it takes.
    pub ports: Ports,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// How packets get to the backends that say nothing else.
    pub mode: ForwardingMode,
    /// The node's [`TunnelSources`].
    pub tunnel: TunnelSources,
    /// Of which families the node has source addresses for `full-nat`.
    pub pool: PoolFamilies,
    /// How a new flow gets its backend.
    pub scheduler: Scheduler,
    /// How the backends are probed; `None`: they count as up.
    pub probe: Option<Probe>,
    /// How backends are judged by their clients' packets; `None`: not at all.
    pub passive_health: Option<PassiveHealth>,
    /// When enough backends can take flows; `None`: nobody asks.
    pub quorum: Option<Quorum>,
    /// Programs that are told of changes.
    pub hooks: Hooks,
    /// What happens to new flows when no backend can take them.
    pub on_no_backend: OnNoBackend,
    /// While less than this part of a priority's weight can take flows, later ones take what is missing; percent, 0 (only with nobody
    /// left) to 100.
    pub overflow_threshold: u8,
    /// What happens to the present flows of a backend that went down.
    pub on_backend_down: OnBackendDown,
    /// What happens to fragments whose first one has not come.
    pub fragments: Fragments,
    /// What happens to TCP segments of no known flow.
    pub on_unknown_flow: OnUnknownFlow,
    /// Live flows that each backend may have that says nothing else; 0: any number.
    pub max_connections: u32,
    /// Limits of new flows.
    pub limits: FlowLimits,
    /// What holds a client's new flows together; `None`: nothing does.
    pub affinity: Option<Affinity>,
    /// How a backend that begins gets its share; `None`: at once.
    pub slow_start: Option<SlowStart>,
    /// How long a drain lasts at most.
    pub drain_timeout: Duration,
    /// What happens then to the flows that are left.
    pub on_drain_timeout: OnDrainTimeout,
    /// When idle flows are forgotten.
    pub timeouts: Timeouts,
    /// Configurations of QUIC-LB, for UDP, their ids unique; none: connection ids mean nothing.
    pub quic: Vec<QuicParameters>,
    /// The servers, at least one, addresses unique.
    pub backends: Vec<Backend>,
}

impl Service {
    /// Its VIP as it is written: without a length if that is a single address.
    #[must_use]
    pub fn vip_text(&self) -> String {
        let is_single = self.vip.prefix_len() == self.vip.max_prefix_len();
        if is_single { self.vip.addr().to_string() } else { self.vip.to_string() }
    }

    /// The most slots that it has: as configured, or chosen from the number of its backends.
    #[must_use]
    pub fn table_size(&self) -> u32 {
        match self.scheduler.kind.table() {
            SlotKind::List => self.backends.len() as u32,
            SlotKind::Maglev | SlotKind::Turns | SlotKind::WeightedTurns => {
                self.scheduler.table_size.unwrap_or_else(|| maglev::table_size_for(self.backends.len()))
            }
        }
    }
}

/// When enough backends of a service can take flows. Backups do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// So many are enough after there were too few.
    pub up: Level,
    /// Fewer are too few after there were enough; of the kind of `up`, and no more than that.
    pub down: Level,
}

/// How many backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A number of them, 1 to 65 535.
    Backends(u32),
    /// A share of their weights, 1 to 100 %.
    Percent(u8),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backends(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Programs that are told of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// A backend is up or down.
    pub backend: Option<Hook>,
    /// The quorum is met or lost.
    pub quorum: Option<Hook>,
}

/// A program that is told of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its absolute path and its arguments.
    pub command: Vec<String>,
    /// When it is killed, 100 ms to 10 min.
    pub timeout: Duration,
}

/// Transport protocols of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP, RFC 9293.
    Tcp,
    /// UDP, RFC 768.
    Udp,
    /// TCP and UDP, with one set of backends.
    Any,
}

/// Ports of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// Every port.
    Any,
    /// From the first to the last, both included; equal for a single port. Never 0.
    Range(u16, u16),
}

/// How packets get to the backends. In all but the last two the backend has the VIP and answers the client directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingMode {
    /// Only the MAC addresses change.
    DsrL2,
    /// In an IP packet to the backend's address (RFC 2003, RFC 2473, RFC 4213).
    Ipip,
    /// In a UDP packet to the backend's address: Generic UDP Encapsulation.
    Gue {
        /// UDP destination port, never 0.
        port: u16,
    },
    /// Destination address and port are translated; replies pass the node.
    Nat,
    /// Source address and port as well.
    FullNat {
        /// The kind of the TCP option that tells the backend its client ([`lb_common::nat::toa`]).
        toa: Option<u8>,
    },
}

impl ForwardingMode {
    /// The UDP port of `gue` where none is given (IANA: `gue`).
    pub const GUE_PORT: u16 = 6080;

    /// Its name in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DsrL2 => "dsr-l2",
            Self::Ipip => "ipip",
            Self::Gue { .. } => "gue",
            Self::Nat => "nat",
            Self::FullNat { .. } => "full-nat",
        }
    }
}

impl ForwardingMode {
    /// Whether addresses and ports are translated.
    #[must_use]
    pub const fn is_nat(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat { .. })
    }

    /// The kind of the TCP option that tells the backend its client.
    #[must_use]
    pub const fn toa(self) -> Option<u8> {
        match self {
            Self::FullNat { toa } => toa,
            Self::DsrL2 | Self::Ipip | Self::Gue { .. } | Self::Nat => None,
        }
    }
}

impl TunnelSources {
    /// The prefix for a backend.
    #[must_use]
    pub fn towards(&self, backend: IpAddr) -> Option<IpNet> {
        match backend {
            IpAddr::V4(_) => self.ipv4.map(IpNet::from),
            IpAddr::V6(_) => self.ipv6.map(IpNet::from),
        }
    }
}

/// How a new flow gets its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduler {
    /// Which one.
    pub kind: SchedulerKind,
    /// Slots of its table, one of [`maglev::TABLE_SIZES`]; `None`: chosen from the number of backends.
    pub table_size: Option<u32>,
    /// Bits of clients' IPv4 addresses that `source-hash` goes by, 1 to 32.
    pub prefix_ipv4: u8,
    /// Bits of their IPv6 addresses, 1 to 128.
    pub prefix_ipv6: u8,
}

impl Scheduler {
    /// With everything else as by default.
    #[must_use]
    pub const fn of(kind: SchedulerKind) -> Self {
        Self { kind, table_size: None, prefix_ipv4: 32, prefix_ipv6: 128 }
    }
}

/// A client's new flows go where its last one went, as long as that backend takes new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Bits of clients' IPv4 addresses that count, 1 to 32.
    pub prefix_ipv4: u8,
    /// Bits of their IPv6 addresses, 1 to 128.
    pub prefix_ipv6: u8,
    /// Since the client's last new flow: whole seconds, 1 s to 18 h.
    pub timeout: Duration,
}

impl Affinity {
    /// The longest time-out: 65 535 s and less.
    pub const LONGEST: Duration = Duration::from_secs(18 * 3600);

    /// The bits that count of clients of a VIP.
    #[must_use]
    pub const fn prefix_for(&self, vip: IpAddr) -> u8 {
        match vip {
            IpAddr::V4(_) => self.prefix_ipv4,
            IpAddr::V6(_) => self.prefix_ipv6,
        }
    }
}

/// How a backend that begins to take flows gets its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// The time until it has its whole share, 1 s to 1 h.
    pub duration: Duration,
    /// 1: its share grows evenly; more: slowly first. 1 to 10.
    pub exponent: u8,
}

/// What happens to a TCP segment of no known flow that opens none, where the scheduler cannot tell whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknownFlow {
    /// The flow's hash chooses a backend.
    Hash,
    /// A reset.
    Reset,
}

/// What a backend counts as before it was probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// Traffic from the start.
    Up,
    /// Traffic after `rise` successes.
    Down,
}

/// What happens to new flows when no backend can take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnNoBackend {
    /// Spread over all backends as if they were healthy.
    FailOpen,
    /// To the backups, as if they were healthy.
    Backup,
    /// Dropped and counted as `no-backend`.
    Drop,
    /// TCP: a reset; UDP: ICMP port unreachable.
    Reject,
}

impl OnNoBackend {
    /// As the configuration has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FailOpen => "fail-open",
            Self::Backup => "backup",
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }
}

/// What happens to the present flows of a backend that went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnBackendDown {
    /// Their next packet gets a new backend.
    Move,
    /// They stay, in case it comes back.
    Keep,
    /// TCP: the client is sent a reset with its next packet; UDP: the next packet gets a new backend.
    Reset,
}

impl OnBackendDown {
    /// As the configuration has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Keep => "keep",
            Self::Reset => "reset",
        }
    }
}

/// What happens to the flows that are left when the time of a drain is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrainTimeout {
    /// They stay until they end; those of a removed backend get a new one with their next packet.
    Keep,
    /// TCP: the client is sent a reset with its next packet; UDP: the next packet gets a new backend.
    Reset,
}

impl OnDrainTimeout {
    /// What a service does that says nothing: a connection is kept rather than broken, a UDP flow loses nothing by moving.
    #[must_use]
    pub const fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp | Protocol::Any => Self::Keep,
            Protocol::Udp => Self::Reset,
        }
    }

    /// As the configuration has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Reset => "reset",
        }
    }
}

/// What happens to fragments whose first one has not come. (If it has, they follow it.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fragments {
    /// Dropped and counted as `fragment`.
    Drop,
    /// They go where the hash of source, destination and protocol says, and so do new flows of the service: all of a client go to
    /// one backend.
    Hash,
}

/// When idle flows are forgotten; each 1 s to 24 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP before the client's first ACK.
    pub tcp_setup: Duration,
    /// TCP after it.
    pub tcp_established: Duration,
    /// TCP after FIN or RST.
    pub tcp_closing: Duration,
    /// UDP after a second packet.
    pub udp: Duration,
    /// UDP after a single packet.
    pub udp_single: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_setup: Duration::from_secs(60),
            tcp_established: Duration::from_secs(900),
            tcp_closing: Duration::from_secs(10),
            udp: Duration::from_secs(120),
            udp_single: Duration::from_secs(30),
        }
    }
}

/// A server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name, unique in the service; the address where none was given.
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// How packets get to it; `None`: as the service says.
    pub mode: Option<ForwardingMode>,
    /// Where it listens. Modes that translate may give another port than the service's; the others have the service's (first) port. 0: packets
    /// keep their port, of a service on any port or, with translation, on a range. Probes go here unless they have a port of their own.
    pub port: u16,
    /// Its share of new flows, 0 to 65 535; 0 takes none.
    pub weight: u16,
    /// Live flows that it may have, 0: any number; `None`: as the service says.
    pub max_connections: Option<u32>,
    /// Whose turn it is: 0 (first) to 127. Later ones take what earlier ones cannot.
    pub priority: u8,
    /// Takes flows only while no other backend of the service can; of priority 0.
    pub backup: bool,
    /// What the operator wants of it.
    pub admin_state: AdminState,
    /// Its server id in configurations of QUIC-LB with ids of that length; `None`: the daemon gives it one.
    pub quic_server_id: Option<Hex>,
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdminState {
    /// Takes flows while it is healthy.
    Enabled,
    /// No new flows; present ones go on.
    Draining,
    /// No flows at all.
    Disabled,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "any",
        })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Range(first, last) if first == last => write!(f, "{first}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}
