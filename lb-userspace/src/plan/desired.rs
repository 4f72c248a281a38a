//! What the tables should say: the configuration with health, drains and next hops put in.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::NonZero,
    sync::Arc,
};

use ipnet::IpNet;
use lb_common::{
    abi::{
        DestinationState, FRAGMENTS_DROP, FRAGMENTS_HASH, LimitSettings, Mode, ON_NO_BACKEND_DROP,
        ON_NO_BACKEND_REJECT, Pick, PrefixList, Protocols, Rate, Scheduling, TunnelEnds,
    },
    limits::list::{self, Rule},
    parse::Family,
    quic::Parameters,
};

use super::{
    takers::takers,
    weights::Weights,
    write::{EgressRecord, TimeoutTicks},
};
use crate::{
    config::model::{
        AdminState, Backend, ForwardingMode, Fragments, OnBackendDown, OnDrainTimeout, OnExceed, OnNoBackend,
        OnUnknownFlow, Ports, Protocol, RateLimit, Service, SlotKind,
    },
    dataplane::kernel::Clock,
    health::{Advice, Status, Wants},
};

/// What identifies a service in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Address family.
    pub family: Family,
    /// VIP as in memory.
    pub prefix: [u32; 4],
    /// Bits of it that count.
    pub prefix_length: u8,
    /// Transport protocols.
    pub protocol: Protocols,
    /// First port.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
}

/// What identifies a backend of a service in the tables.
pub type BackendKey = (IpAddr, u16);

/// Everything that should be in the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The services.
    pub services: BTreeMap<ServiceKey, DesiredService>,
    /// Source addresses of `full-nat`, in any order.
    pub pool: Vec<IpAddr>,
}

/// A service as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// [`ON_NO_BACKEND_DROP`] or [`ON_NO_BACKEND_REJECT`].
    pub on_no_backend: u8,
    /// [`FRAGMENTS_DROP`] or [`FRAGMENTS_HASH`].
    pub fragments: u8,
    /// Its time-outs.
    pub timeouts: TimeoutTicks,
    /// What its slots are.
    pub slot_kind: SlotKind,
    /// Slots of its table, or the most of a sequence.
    pub table_size: u32,
    /// How the data path chooses one.
    pub scheduling: Scheduling,
    /// Limits of its new flows.
    pub limits: DesiredLimits,
    /// QUIC-LB, if connection ids mean something.
    pub quic: Option<DesiredQuic>,
    /// Its backends, leaving ones included.
    pub backends: BTreeMap<BackendKey, DesiredBackend>,
}

/// Limits of a service's new flows as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredLimits {
    /// All but where the prefix list is.
    pub settings: LimitSettings,
    /// The bounds of the prefix list.
    pub bounds: Arc<[u128]>,
}

/// QUIC-LB of a service as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredQuic {
    /// Its configurations.
    pub configurations: Vec<Parameters>,
    /// The backends that have server ids: those that are leaving keep what they have.
    pub backends: Vec<Backend>,
}

/// A backend as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its weight in the table; 0: no slots.
    pub weight: u32,
    /// Whether known flows go on to it.
    pub keeps_flows: bool,
    /// Whether known TCP flows are reset.
    pub resets_flows: bool,
    /// Live flows that it may have at most; 0: any number.
    pub most: u32,
    /// Where packets go; `None`: not resolved.
    pub next_hop: Option<(EgressRecord, [u8; 6])>,
    /// How they get there.
    pub way: DesiredWay,
}

/// How packets get to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesiredWay {
    /// With other MAC addresses alone.
    Link,
    /// With this outer header.
    Tunnel(TunnelEnds),
    /// Destination address and port are translated.
    Nat,
    /// Source address and port as well.
    FullNat {
        /// The kind of the TCP option that tells the backend its client; 0: none.
        toa: u8,
    },
    /// As they did until now: nobody says any more how.
    Unchanged,
}

impl DesiredWay {
    /// The outer header of a new destination.
    #[must_use]
    pub const fn tunnel(self) -> Option<TunnelEnds> {
        match self {
            Self::Tunnel(ends) => Some(ends),
            Self::Link | Self::Nat | Self::FullNat { .. } | Self::Unchanged => None,
        }
    }

    /// The mode of a new destination.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::Tunnel(ends) => ends.mode,
            Self::Nat => Mode::Nat,
            Self::FullNat { .. } => Mode::FullNat,
            Self::Link | Self::Unchanged => Mode::DsrL2,
        }
    }

    /// The kind of the TCP option that tells the backend its client; 0: none.
    #[must_use]
    pub const fn toa(self) -> u8 {
        match self {
            Self::FullNat { toa } => toa,
            Self::Link | Self::Tunnel(_) | Self::Nat | Self::Unchanged => 0,
        }
    }

    /// Whether a destination in this state is reached as it should be.
    #[must_use]
    pub fn is(self, state: DestinationState, tunnel: Option<TunnelEnds>) -> bool {
        let is_same = self.mode() == state.mode && self.toa() == state.toa && self.tunnel() == tunnel;
        matches!(self, Self::Unchanged) || is_same
    }
}

/// How packets get to a backend of a service. Without a source of its family, which checking has made sure of, a tunnel
/// begins at the unspecified address.
fn way(service: &Service, backend: &Backend) -> DesiredWay {
    let (mode, port) = match backend.mode.unwrap_or(service.mode) {
        ForwardingMode::DsrL2 => return DesiredWay::Link,
        ForwardingMode::Nat => return DesiredWay::Nat,
        ForwardingMode::FullNat { toa } => return DesiredWay::FullNat { toa: toa.unwrap_or(0) },
        ForwardingMode::Ipip => (Mode::Ipip, 0),
        ForwardingMode::Gue { port } => (Mode::Gue, port),
    };
    let (family, destination) = address_words(backend.address);
    let prefix = service.tunnel.towards(backend.address);
    let (_, source) = prefix.map_or((family, [0; 4]), |prefix| address_words(prefix.network()));
    let varying = prefix.map_or(0, |prefix| {
        let free = u32::from(prefix.max_prefix_len() - prefix.prefix_len()).min(32);
        1_u64.checked_shl(free).map_or(u32::MAX, |bits| (bits - 1) as u32).to_be()
    });
    let inner = address_words(service.vip.addr()).0;
    DesiredWay::Tunnel(TunnelEnds { mode, family, source, varying, destination, port, inner })
}

/// How far a backend's drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The deadline has passed.
    pub overdue: bool,
    /// What that means for the flows that are left.
    pub then: OnDrainTimeout,
}

/// What becomes of the known flows of a backend that takes no new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They go on.
    Stay,
    /// Their next packet gets a new backend.
    Move,
    /// Their next packet is answered with a reset, if it is TCP.
    Reset,
}

/// What the plan needs to know of a service besides its configuration.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Health of each backend that is probed: status, and whether it may take flows.
    pub health: BTreeMap<BackendKey, (Status, bool)>,
    /// What backends say of themselves, if they say anything.
    pub advice: BTreeMap<BackendKey, Advice>,
    /// Resolved next hops by backend address.
    pub next_hops: BTreeMap<IpAddr, (EgressRecord, [u8; 6])>,
    /// Drains under way.
    pub drains: BTreeMap<BackendKey, Drain>,
    /// Backends that are no longer configured but still have flows.
    pub leaving: BTreeMap<BackendKey, Drain>,
    /// The shares of backends that have not their whole one yet, in thousandths.
    pub slow_start: BTreeMap<BackendKey, u16>,
    /// Backends that get no new flows for what clients' packets say; their present ones go on.
    pub ejected: BTreeSet<BackendKey>,
}

impl Inputs {
    /// A backend's weight for new flows: the configured one in the share that it asks for; 0 if it wants none.
    #[must_use]
    pub fn weight(&self, backend: &Backend) -> u16 {
        let advice = self.advice.get(&backend_key(backend)).copied().unwrap_or_default();
        if advice.wants.is_none() { advice.weight(backend.weight) } else { 0 }
    }
}

/// Addresses as the data path has them: IPv4 in the first word.
#[must_use]
pub fn address_words(address: IpAddr) -> (Family, [u32; 4]) {
    match address {
        IpAddr::V4(address) => (Family::V4, [u32::from_ne_bytes(address.octets()), 0, 0, 0]),
        IpAddr::V6(address) => {
            let octets = address.octets();
            let word =
                |i: usize| u32::from_ne_bytes([octets[4 * i], octets[4 * i + 1], octets[4 * i + 2], octets[4 * i + 3]]);
            (Family::V6, [word(0), word(1), word(2), word(3)])
        }
    }
}

/// A backend's address as its destination has it: IPv4 as an IPv4-mapped address, since the families of backend and service may
/// differ.
#[must_use]
pub fn backend_address_words(address: IpAddr) -> [u32; 4] {
    let mapped = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address_words(IpAddr::V6(mapped)).1
}

/// The address of [`backend_address_words`].
#[must_use]
pub fn backend_address_of(words: &[u32; 4]) -> IpAddr {
    address_of(Family::V6, words).to_canonical()
}

/// The address of words.
#[must_use]
pub fn address_of(family: Family, words: &[u32; 4]) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from(words[0].to_ne_bytes()),
        Family::V6 => {
            let mut octets = [0; 16];
            for (bytes, word) in octets.chunks_mut(4).zip(words) {
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            IpAddr::from(octets)
        }
    }
}

impl ServiceKey {
    /// The key of a configured service.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        let (family, prefix) = address_words(service.vip.addr());
        let (first_port, last_port) = match service.ports {
            Ports::Any => (0, u16::MAX),
            Ports::Range(first, last) => (first, last),
        };
        Self {
            family,
            prefix,
            prefix_length: service.vip.prefix_len(),
            protocol: match service.protocol {
                Protocol::Tcp => Protocols::Tcp,
                Protocol::Udp => Protocols::Udp,
                Protocol::Any => Protocols::Both,
            },
            first_port,
            last_port,
        }
    }
}

/// The key of a configured backend.
#[must_use]
pub fn backend_key(backend: &Backend) -> BackendKey {
    (backend.address, backend.port)
}

/// Puts health, drains and next hops into the configuration of a service.
#[must_use]
pub fn resolve(service: &Service, inputs: &Inputs, clock: Clock) -> DesiredService {
    let takers = takers(service, inputs);
    let weights = Weights::of(service, inputs, &takers);
    let mut backends = BTreeMap::new();
    for backend in &service.backends {
        let key = backend_key(backend);
        let takes = takers.contains(&key);
        let fate = fate(service, backend, inputs);
        backends.insert(
            key,
            DesiredBackend {
                weight: weights.weight(&key),
                keeps_flows: takes || fate == Fate::Stay,
                resets_flows: !takes && fate == Fate::Reset,
                most: backend.max_connections.unwrap_or(service.max_connections),
                next_hop: inputs.next_hops.get(&backend.address).copied(),
                way: way(service, backend),
            },
        );
    }
    for (key, drain) in &inputs.leaving {
        if !backends.contains_key(key) {
            let next_hop = inputs.next_hops.get(&key.0).copied();
            let fate = fate_of_leaving(service, *key, *drain, inputs);
            backends.insert(
                *key,
                DesiredBackend {
                    weight: 0,
                    keeps_flows: fate == Fate::Stay,
                    resets_flows: fate == Fate::Reset,
                    most: 0,
                    next_hop,
                    way: DesiredWay::Unchanged,
                },
            );
        }
    }
    let timeouts = &service.timeouts;
    DesiredService {
        on_no_backend: match service.on_no_backend {
            OnNoBackend::Reject => ON_NO_BACKEND_REJECT,
            OnNoBackend::Drop | OnNoBackend::FailOpen | OnNoBackend::Backup => ON_NO_BACKEND_DROP,
        },
        fragments: match service.fragments {
            Fragments::Drop => FRAGMENTS_DROP,
            Fragments::Hash => FRAGMENTS_HASH,
        },
        timeouts: [
            timeouts.tcp_setup,
            timeouts.tcp_established,
            timeouts.tcp_closing,
            timeouts.udp_single,
            timeouts.udp,
        ]
        .map(|time| clock.ticks(time)),
        slot_kind: weights.slot_kind,
        table_size: service.table_size(),
        scheduling: scheduling(service),
        limits: limits(service),
        quic: (!service.quic.is_empty())
            .then(|| DesiredQuic { configurations: service.quic.clone(), backends: service.backends.clone() }),
        backends,
    }
}

/// Limits of a service's new flows.
fn limits(service: &Service) -> DesiredLimits {
    let of = |limit: Option<RateLimit>| {
        limit.map_or(Rate::default(), |limit| Rate { per_second: limit.per_second.get(), burst: limit.burst.get() })
    };
    let limits = &service.limits;
    let client = limits.client.map(|client| client.rate);
    let prefix = limits
        .client
        .map_or(0, |client| if service.vip.addr().is_ipv4() { client.prefix_ipv4 } else { client.prefix_ipv6 });
    let (denies, bounds) = list::lay_out(&rules(service));
    DesiredLimits {
        settings: LimitSettings {
            list: PrefixList { offset: 0, size: bounds.len() as u32, denies },
            rate: of(limits.rate),
            client: of(client),
            client_prefix: prefix,
            flood: limits.flood.map_or(0, NonZero::get),
            rejects: limits.on_exceed == OnExceed::Reject,
        },
        bounds: bounds.into(),
    }
}

/// The prefixes of a service's family that it allows or denies.
fn rules(service: &Service) -> Vec<Rule> {
    let rule = |denies: bool| {
        move |prefix: &IpNet| Rule { first: list::number(prefix.network()), length: prefix.prefix_len(), denies }
    };
    let is_own = |prefix: &&IpNet| prefix.addr().is_ipv4() == service.vip.addr().is_ipv4();
    let allowed = service.limits.allow.iter().filter(is_own).map(rule(false));
    let mut rules: Vec<Rule> = allowed.chain(service.limits.deny.iter().filter(is_own).map(rule(true))).collect();
    // A list of prefixes of the other family alone allows nobody of this one.
    if !service.limits.allow.is_empty() && rules.iter().all(|rule| rule.denies) {
        rules.push(Rule { first: 0, length: 0, denies: true });
    }
    rules
}

/// How the data path chooses a slot of a service.
fn scheduling(service: &Service) -> Scheduling {
    let pick = service.scheduler.kind.pick();
    let prefix =
        if service.vip.addr().is_ipv4() { service.scheduler.prefix_ipv4 } else { service.scheduler.prefix_ipv6 };
    Scheduling {
        pick,
        source_prefix: match &service.affinity {
            Some(affinity) => affinity.prefix_for(service.vip.addr()),
            None if pick == Pick::SourceHash => prefix,
            None => 0,
        },
        affinity_seconds: service.affinity.as_ref().map_or(0, |affinity| affinity.timeout.as_secs() as u16),
        resets_unknown: !pick.is_stateless() && service.on_unknown_flow == OnUnknownFlow::Reset,
    }
}

/// What becomes of the known flows of a backend if it takes no new ones.
fn fate(service: &Service, backend: &Backend, inputs: &Inputs) -> Fate {
    let key = backend_key(backend);
    let in_maintenance = inputs.advice.get(&key).is_some_and(|advice| advice.wants == Some(Wants::Maintenance));
    if in_maintenance || backend.admin_state == AdminState::Disabled {
        return Fate::Move;
    }
    if let Some(fate) = fate_of_down(service, key, inputs) {
        return fate;
    }
    match inputs.drains.get(&key) {
        Some(drain) if backend.admin_state == AdminState::Draining && drain.overdue => match drain.then {
            OnDrainTimeout::Keep => Fate::Stay,
            OnDrainTimeout::Reset => reset(service),
        },
        _ => Fate::Stay,
    }
}

/// The same of a backend that was removed: with its deadline it is gone, unless there are clients to tell.
fn fate_of_leaving(service: &Service, key: BackendKey, drain: Drain, inputs: &Inputs) -> Fate {
    match fate_of_down(service, key, inputs) {
        Some(fate) => fate,
        None if !drain.overdue => Fate::Stay,
        None if drain.then == OnDrainTimeout::Reset => reset(service),
        None => Fate::Move,
    }
}

/// What a service says of the flows of a backend that is down; `None`: nothing, or it is not down.
fn fate_of_down(service: &Service, backend: BackendKey, inputs: &Inputs) -> Option<Fate> {
    let status = inputs.health.get(&backend).map(|(status, _)| *status);
    match service.on_backend_down {
        _ if status != Some(Status::Down) => None,
        OnBackendDown::Move => Some(Fate::Move),
        OnBackendDown::Reset => Some(reset(service)),
        OnBackendDown::Keep => None,
    }
}

/// There is nothing to reset in UDP: its flows move. Where there are both, the data path tells them apart.
fn reset(service: &Service) -> Fate {
    if service.protocol == Protocol::Udp { Fate::Move } else { Fate::Reset }
}
