//! What the user writes: the format of the file, key by key.
//!
//! The documentation of the fields is that of the JSON schema. Kinds that will become more (schedulers, modes, probes)
//! are a word or a map with `type`, so that later options have a place.

mod limits;
mod passive;
mod probe;

use schemars::JsonSchema;
use serde::{
    Deserialize,
    de::{self, IntoDeserializer},
};

pub(super) use self::{
    limits::{ClientLimit, Limits as FlowLimits},
    passive::{PassiveHealth, PassiveMode},
    probe::{Damping, Probe, ProbeType, Verify},
};
pub use super::field::{Field, Short, ShortOrMap, Whole};
use super::{
    field::{LevelSpec, PortSpec, Secret, Time},
    model::{
        AdminState, AttachMode, Fragments, OnBackendDown, OnDrainTimeout, OnNoBackend, OnUnknownFlow, Protocol,
        SchedulerKind,
    },
};

/// The configuration of an Evenkeel node.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Evenkeel configuration")]
pub(super) struct Document {
    /// Version of the format: 1.
    #[schemars(extend("const" = 1))]
    pub(super) version: Field<Whole>,
    /// Further files, as paths or patterns (`*`, `?`, `[a-z]`), relative to this file: their services are added, and `node` and
    /// `defaults` may stand in one of them. Files named `*.yaml` in a directory named as this file with `.d` behind are read as well.
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "`sources` follows it before the document is put together; here it is for type and schema"
    )]
    pub(super) include: Field<Vec<Field<String>>>,
    /// The machine: interfaces, table sizes, paths.
    pub(super) node: Field<Node>,
    /// Options used by services that say nothing else. `probe` and `timeouts` are taken over key by key.
    #[serde(default)]
    pub(super) defaults: Field<Defaults>,
    /// What is served; may be empty.
    pub(super) services: Field<Vec<Field<Service>>>,
}

/// The machine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    /// Interfaces that receive traffic for VIPs: a name, or a map.
    #[schemars(length(min = 1))]
    pub(super) interfaces: Field<Vec<Field<ShortOrMap<Interface>>>>,
    /// The table of present flows.
    #[serde(default)]
    pub(super) flow_table: Field<FlowTable>,
    /// Where the fragments of a datagram go, by its first one.
    #[serde(default)]
    pub(super) fragment_table: Field<FragmentTable>,
    /// Secret of the flow hash, the same on all nodes of a cluster. Without it the node makes its own and keeps it.
    #[serde(default)]
    #[schemars(length(min = 16, max = 1024))]
    pub(super) hash_secret: Field<Secret>,
    /// Absolute path of a file with the secret, instead of `hash_secret`.
    #[serde(default)]
    pub(super) hash_secret_file: Field<String>,
    /// The API that the command line uses.
    #[serde(default)]
    pub(super) api: Field<Api>,
    /// Directory on a bpffs for what must outlive the daemon. Default: `/sys/fs/bpf/evenkeel`.
    #[serde(default)]
    pub(super) pin_directory: Field<String>,
    /// Directory for what must survive a restart. Default: `/var/lib/evenkeel`.
    #[serde(default)]
    pub(super) state_directory: Field<String>,
    /// Where tunnels to backends begin.
    #[serde(default)]
    pub(super) tunnel: Field<Tunnel>,
    /// Translation of addresses: modes `nat` and `full-nat`.
    #[serde(default)]
    pub(super) nat: Field<Nat>,
    /// Whether the node answers echo requests (ping) to VIPs itself; else they are left to the host. Default: true.
    #[serde(default)]
    pub(super) icmp_echo: Field<bool>,
    /// The mark of packets of probes with `via: vip`, which nothing else of this host may have. Default: 15138816 (0xe70000).
    #[serde(default)]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(super) probe_mark: Field<Whole>,
    /// How often the tables are compared with what they should be, 1 s to 24 h. Default: `60s`.
    #[serde(default)]
    pub(super) verify_interval: Field<Time>,
    /// Sizes of the tables; changing one needs `evenkeel detach` first.
    #[serde(default)]
    pub(super) limits: Field<Limits>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Interface {
    /// Its name.
    #[schemars(length(min = 1, max = 15))]
    pub(super) name: Field<String>,
    /// How the program is attached. Default: `auto`.
    #[serde(default)]
    pub(super) mode: Field<AttachMode>,
}

/// The table of present flows.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowTable {
    /// Entries, 16 bytes each: a power of two. Default: 1048576.
    #[serde(default)]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub(super) entries: Field<Whole>,
}

/// Translation of addresses.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nat {
    /// Most translated flows at a time, 72 bytes each: a power of two. Default: 262144.
    #[serde(default)]
    #[schemars(range(min = 1024, max = 67_108_864))]
    pub(super) entries: Field<Whole>,
    /// Source addresses of `full-nat`, which this host has for nothing else; 64 512 ports each.
    #[serde(default)]
    pub(super) pool: Field<Vec<Field<String>>>,
}

/// Where the fragments of a datagram go, by its first one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FragmentTable {
    /// Entries, 16 bytes each, one for each datagram: a power of two. Default: 16384.
    #[serde(default)]
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub(super) entries: Field<Whole>,
    /// When the first fragment is forgotten, 1 s to 2 min. Default: `30s`.
    #[serde(default)]
    pub(super) timeout: Field<Time>,
}

/// The API's Unix socket, mode 0660.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Api {
    /// Absolute path of the socket. Default: `/run/evenkeel/evenkeel.sock`.
    #[serde(default)]
    pub(super) socket: Field<String>,
    /// Group that may use it. Default: none, only the daemon's user.
    #[serde(default)]
    pub(super) group: Field<String>,
}

/// Sizes of the tables.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Most services. Default: 1024.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536))]
    pub(super) services: Field<Whole>,
    /// Most backends of all services together. Default: 16384.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub(super) backends: Field<Whole>,
    /// Prefixes in the lists `allow` and `deny` of all services together, 64 bytes each. Default: 16384.
    #[serde(default)]
    #[schemars(range(min = 16, max = 262_144))]
    pub(super) prefixes: Field<Whole>,
    /// Prefixes of clients whose rates are known at a time, 16 bytes each: a power of two. Default: 1048576.
    #[serde(default)]
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub(super) clients: Field<Whole>,
    /// Slots of all services' tables together, 4 bytes each. Default: 4194304.
    #[serde(default)]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub(super) slots: Field<Whole>,
}

/// The options of a service, once for `defaults` and once for `services`.
macro_rules! with_options {
    ($(#[$attribute:meta])* struct $name:ident { $($own:tt)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($own)*
            /// How packets get to the backends. Default: `dsr-l2`.
            #[serde(default)]
            pub(super) mode: Field<ShortOrMap<Mode>>,
            /// How a new flow gets its backend. Default: `maglev`.
            #[serde(default)]
            pub(super) scheduler: Field<ShortOrMap<Scheduler>>,
            /// How backends are probed: `none`, a kind such as `tcp`, or a map. Default: `tcp` for TCP services, `none` for UDP
            /// services.
            #[serde(default)]
            pub(super) probe: Field<ShortOrMap<Probe>>,
            /// Whether backends are judged by the packets of their clients: `off`, `observe`, `eject`, or a map. Default: `off`.
            #[serde(default)]
            pub(super) passive_health: Field<ShortOrMap<PassiveHealth>>,
            /// When enough backends can take flows; it is shown and told to `hooks`, and changes no flow. Default: nobody asks.
            #[serde(default)]
            pub(super) quorum: Field<Quorum>,
            /// Programs that are told of changes.
            #[serde(default)]
            pub(super) hooks: Field<Hooks>,
            /// What happens to new flows when no backend can take them. Default: `drop`.
            #[serde(default)]
            pub(super) on_no_backend: Field<OnNoBackend>,
            /// While less than this part of a priority's weight can take flows, in percent, later priorities take what is missing; 0:
            /// only when nobody of it can. Default: 70.
            #[serde(default)]
            #[schemars(range(min = 0, max = 100))]
            pub(super) overflow_threshold: Field<Whole>,
            /// What happens to the present flows of a backend that went down. Default: `move`.
            #[serde(default)]
            pub(super) on_backend_down: Field<OnBackendDown>,
            /// What happens to fragments whose first one has not come. Default: `drop`.
            #[serde(default)]
            pub(super) fragments: Field<Fragments>,
            /// What happens to a TCP segment of no known flow that opens none, with a scheduler that does not go by a hash.
            /// Default: `hash`.
            #[serde(default)]
            pub(super) on_unknown_flow: Field<OnUnknownFlow>,
            /// Live flows that each backend may have, as far as the node sees them; 0: any number. Default: 0.
            #[serde(default)]
            #[schemars(range(min = 0, max = 2_147_483_647))]
            pub(super) max_connections: Field<Whole>,
            /// Limits of new flows. Default: none.
            #[serde(default)]
            pub(super) limits: Field<FlowLimits>,
            /// Prefixes of clients that are served; the longest of `allow` and `deny` counts. Default: all clients are.
            #[serde(default)]
            pub(super) allow: Field<Vec<Field<String>>>,
            /// Prefixes of clients that are not served. Default: none.
            #[serde(default)]
            pub(super) deny: Field<Vec<Field<String>>>,
            /// New flows of a client go where its last one went, for a time. Default: not.
            #[serde(default)]
            pub(super) affinity: Field<ShortOrMap<Affinity>>,
            /// A backend that begins to take flows gets its whole share after this time, 1 s to 1 h. Default: at once.
            #[serde(default)]
            pub(super) slow_start: Field<ShortOrMap<SlowStart>>,
            /// How long a drain lasts at most, 1 s to 24 h. Default: `5m`.
            #[serde(default)]
            pub(super) drain_timeout: Field<Time>,
            /// What happens then to the flows that are left. Default: `keep`, for UDP services `reset`.
            #[serde(default)]
            pub(super) on_drain_timeout: Field<OnDrainTimeout>,
            /// When idle flows are forgotten.
            #[serde(default)]
            pub(super) timeouts: Field<Timeouts>,
        }

        impl $name {
            pub(super) fn options(&self) -> Options<'_> {
                let Self { mode, scheduler, probe, quorum, hooks, on_no_backend, on_backend_down, fragments, .. } = self;
                let Self { on_unknown_flow, affinity, slow_start, drain_timeout, on_drain_timeout, timeouts, .. } = self;
                let Self { max_connections, limits, allow, deny, overflow_threshold, passive_health, .. } = self;
                Options {
                    mode,
                    scheduler,
                    probe,
                    passive_health,
                    quorum,
                    hooks,
                    on_no_backend,
                    overflow_threshold,
                    on_backend_down,
                    fragments,
                    on_unknown_flow,
                    max_connections,
                    limits,
                    allow,
                    deny,
                    affinity,
                    slow_start,
                    drain_timeout,
                    on_drain_timeout,
                    timeouts,
                }
            }
        }
    };
}

/// The options of a service or the defaults.
#[derive(Clone, Copy)]
pub(super) struct Options<'a> {
    pub(super) mode: &'a Field<ShortOrMap<Mode>>,
    pub(super) scheduler: &'a Field<ShortOrMap<Scheduler>>,
    pub(super) probe: &'a Field<ShortOrMap<Probe>>,
    pub(super) passive_health: &'a Field<ShortOrMap<PassiveHealth>>,
    pub(super) quorum: &'a Field<Quorum>,
    pub(super) hooks: &'a Field<Hooks>,
    pub(super) on_no_backend: &'a Field<OnNoBackend>,
    pub(super) overflow_threshold: &'a Field<Whole>,
    pub(super) on_backend_down: &'a Field<OnBackendDown>,
    pub(super) fragments: &'a Field<Fragments>,
    pub(super) on_unknown_flow: &'a Field<OnUnknownFlow>,
    pub(super) max_connections: &'a Field<Whole>,
    pub(super) limits: &'a Field<FlowLimits>,
    pub(super) allow: &'a Field<Vec<Field<String>>>,
    pub(super) deny: &'a Field<Vec<Field<String>>>,
    pub(super) affinity: &'a Field<ShortOrMap<Affinity>>,
    pub(super) slow_start: &'a Field<ShortOrMap<SlowStart>>,
    pub(super) drain_timeout: &'a Field<Time>,
    pub(super) on_drain_timeout: &'a Field<OnDrainTimeout>,
    pub(super) timeouts: &'a Field<Timeouts>,
}

with_options! {
    /// Options of services that say nothing else.
    #[derive(Default)]
    struct Defaults {}
}

with_options! {
    /// A service.
    struct Service {
        /// Its name: unique, letters, digits, `-`, `_` and `.`.
        #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
        pub(super) name: Field<String>,
        /// The virtual IP: an address, or a prefix such as `192.0.2.0/28`.
        pub(super) vip: Field<String>,
        /// A port, a range such as `8000-8099`, or `any`. An exact port goes before a range, a range before `any`.
        pub(super) port: Field<PortSpec>,
        /// Its transport protocol; `any`: TCP and UDP.
        pub(super) protocol: Field<Protocol>,
        /// Packets of UDP services go where their QUIC connection id says (QUIC-LB, draft -21).
        #[serde(default)]
        pub(super) quic: Field<Quic>,
        /// The servers: an address, or a map.
        #[schemars(length(min = 1))]
        pub(super) backends: Field<Vec<Field<ShortOrMap<Backend>>>>,
    }
}

/// When enough backends can take flows: numbers of them, or percent of the weights (`50%`). Backups do not count.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Quorum {
    /// So many are enough after there were too few.
    pub(super) up: Field<LevelSpec>,
    /// Fewer are too few after there were enough; at most `up`. Default: as `up`.
    #[serde(default)]
    pub(super) down: Field<LevelSpec>,
}

/// Programs that are told of changes: each an absolute path and its arguments.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Hooks {
    /// A backend is up or down.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) backend: Field<Vec<Field<String>>>,
    /// The quorum is met or lost.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) quorum: Field<Vec<Field<String>>>,
    /// When a program is killed, 100 ms to 10 min. Default: `10s`.
    #[serde(default)]
    pub(super) timeout: Field<Time>,
}

/// QUIC-LB.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Quic {
    /// Configurations that connection ids may have: one, or several while one takes the place of another.
    #[schemars(length(min = 1, max = 7))]
    pub(super) configurations: Field<Vec<Field<QuicConfiguration>>>,
}

/// A configuration of QUIC-LB, as the servers have it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuicConfiguration {
    /// Its id.
    #[schemars(range(min = 0, max = 6))]
    pub(super) id: Field<Whole>,
    /// Octets of a server id.
    #[schemars(range(min = 1, max = 15))]
    pub(super) server_id_length: Field<Whole>,
    /// Octets of a nonce; at most 19 with the server id.
    #[schemars(range(min = 4, max = 18))]
    pub(super) nonce_length: Field<Whole>,
    /// The key: 16 octets, two hexadecimal digits each. Without one, connection ids are plain text.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{32}$"))]
    pub(super) key: Field<Secret>,
    /// Absolute path of a file with the key, instead of `key`.
    #[serde(default)]
    pub(super) key_file: Field<String>,
}

/// A forwarding mode.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// Which one.
    pub(super) r#type: Field<ModeType>,
    /// UDP port of `gue` at the backend. Default: 6080.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub(super) port: Field<Whole>,
    /// Of `full-nat`: tells the backend the client's address and port in a TCP option of this kind (TOA), usually 254. Default: not.
    #[serde(default)]
    #[schemars(range(min = 31, max = 254))]
    pub(super) toa: Field<Whole>,
}

/// Which forwarding mode. In the first three the backend has the VIP and answers the client directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModeType {
    /// Only the MAC addresses change: for backends on a network of the node's.
    DsrL2,
    /// In an IP packet to the backend's address.
    Ipip,
    /// In a UDP packet to the backend's address: Generic UDP Encapsulation.
    Gue,
    /// Destination address and port are translated; the backend's replies have to pass the node.
    Nat,
    /// Source address and port as well, from `node.nat.pool`, so replies come to the node by themselves.
    FullNat,
}

/// Where tunnels to backends begin: outer source addresses. Of a prefix the flow chooses the address, so that
/// backends spread flows over their queues.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tunnel {
    /// For backends with IPv4 addresses: an address or a prefix.
    #[serde(default)]
    pub(super) source_ipv4: Field<String>,
    /// For backends with IPv6 addresses: an address or a prefix.
    #[serde(default)]
    pub(super) source_ipv6: Field<String>,
}

/// A scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scheduler {
    /// Which one.
    pub(super) r#type: Field<SchedulerKind>,
    /// Slots of a Maglev table (`maglev`, `source-hash`, `random`), one of its sizes. Default: chosen from the number of backends.
    #[serde(default)]
    pub(super) table_size: Field<Whole>,
    /// Bits of clients' IPv4 addresses that `source-hash` goes by. Default: 32.
    #[serde(default)]
    #[schemars(range(min = 1, max = 32))]
    pub(super) prefix_ipv4: Field<Whole>,
    /// Bits of clients' IPv6 addresses that `source-hash` goes by. Default: 128.
    #[serde(default)]
    #[schemars(range(min = 1, max = 128))]
    pub(super) prefix_ipv6: Field<Whole>,
}

/// What holds a client's new flows together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Affinity {
    /// By what clients are told apart.
    pub(super) r#type: Field<AffinityType>,
    /// Bits of clients' IPv4 addresses that count. Default: 32.
    #[serde(default)]
    #[schemars(range(min = 1, max = 32))]
    pub(super) prefix_ipv4: Field<Whole>,
    /// Bits of clients' IPv6 addresses that count. Default: 128.
    #[serde(default)]
    #[schemars(range(min = 1, max = 128))]
    pub(super) prefix_ipv6: Field<Whole>,
    /// Since the client's last new flow, in whole seconds, 1 s to 18 h. Default: `5m`.
    #[serde(default)]
    pub(super) timeout: Field<Time>,
}

/// By what clients are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AffinityType {
    /// By their addresses.
    ClientIp,
}

/// How a backend that begins gets its share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SlowStart {
    /// The time until it has its whole share, 1 s to 1 h.
    pub(super) duration: Field<Time>,
    /// 1: its share grows evenly; more: slowly first. Default: 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10))]
    pub(super) exponent: Field<Whole>,
}

/// When idle flows are forgotten, each 1 s to 24 h.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeouts {
    /// TCP before the client's first ACK. Default: `60s`.
    #[serde(default)]
    pub(super) tcp_setup: Field<Time>,
    /// TCP after it. Default: `15m`.
    #[serde(default)]
    pub(super) tcp_established: Field<Time>,
    /// TCP after FIN or RST. Default: `10s`.
    #[serde(default)]
    pub(super) tcp_closing: Field<Time>,
    /// UDP after a second packet. Default: `2m`.
    #[serde(default)]
    pub(super) udp: Field<Time>,
    /// UDP after a single packet. Default: `30s`.
    #[serde(default)]
    pub(super) udp_single: Field<Time>,
}

/// A backend, in a file or in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Its name, unique in the service. Default: its address.
    #[serde(default)]
    #[schemars(length(min = 1, max = 63))]
    pub name: Field<String>,
    /// Its own address.
    pub address: Field<String>,
    /// How packets get to it. Default: the service's mode.
    #[serde(default)]
    pub mode: Field<ShortOrMap<Mode>>,
    /// Where it listens: always the service's port.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Field<Whole>,
    /// Its share of new flows; 0 takes none. Default: 1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 65_535))]
    pub weight: Field<Whole>,
    /// Live flows that it may have, as far as the node sees them; 0: any number. Default: the service's `max_connections`.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub max_connections: Field<Whole>,
    /// Whose turn it is: later ones take what earlier ones cannot, by the service's `overflow_threshold`. Default: 0, the first.
    #[serde(default)]
    #[schemars(range(min = 0, max = 127))]
    pub priority: Field<Whole>,
    /// Takes flows only while no other backend of the service can. Default: false.
    #[serde(default)]
    pub backup: Field<bool>,
    /// What the operator wants of it. Default: `enabled`.
    #[serde(default)]
    pub admin_state: Field<AdminState>,
    /// Its server id in QUIC connection ids, two hexadecimal digits for each octet. Default: one that follows from address, port
    /// and the node's secret.
    #[serde(default)]
    #[schemars(regex(pattern = "^([0-9A-Fa-f]{2}){1,15}$"))]
    pub quic_server_id: Field<String>,
}

impl Short for Backend {
    fn from_short<E: de::Error>(address: &str) -> Result<Self, E> {
        Ok(Self { address: Field::from(address.to_owned()), ..Self::default() })
    }
}

impl Short for Interface {
    fn from_short<E: de::Error>(name: &str) -> Result<Self, E> {
        Ok(Self { name: Field::from(name.to_owned()), ..Self::default() })
    }
}

impl Short for Mode {
    fn from_short<E: de::Error>(text: &str) -> Result<Self, E> {
        let r#type = ModeType::deserialize(text.into_deserializer())?.into();
        Ok(Self { r#type, port: Field::default(), toa: Field::default() })
    }
}

impl Short for Affinity {
    fn from_short<E: de::Error>(text: &str) -> Result<Self, E> {
        Ok(Self { r#type: AffinityType::deserialize(text.into_deserializer())?.into(), ..Self::default() })
    }
}

impl Short for SlowStart {
    fn from_short<E: de::Error>(text: &str) -> Result<Self, E> {
        Ok(Self { duration: Field::from(Time::deserialize(text.into_deserializer())?), ..Self::default() })
    }
}

impl Short for Scheduler {
    fn from_short<E: de::Error>(text: &str) -> Result<Self, E> {
        let r#type = SchedulerKind::deserialize(text.into_deserializer())?.into();
        let (table_size, prefix_ipv4, prefix_ipv6) = Default::default();
        Ok(Self { r#type, table_size, prefix_ipv4, prefix_ipv6 })
    }
}
