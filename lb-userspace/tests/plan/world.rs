//! A desired state over fixed services, and random changes of it.

use std::{collections::BTreeMap, net::IpAddr};

use evenkeel::{
    config::{self, model::SchedulerKind},
    plan::{
        Desired,
        desired::{
            BackendKey, DesiredBackend, DesiredLimits, DesiredQuic, DesiredService, DesiredWay, ServiceKey,
            address_words,
        },
        write::EgressRecord,
    },
};
use ipnet::IpNet;
use lb_common::{
    abi::{
        FRAGMENTS_HASH, LimitSettings, Mode, ON_NO_BACKEND_REJECT, PrefixList, Protocols, Rate, Scheduling, TunnelEnds,
    },
    quic::Parameters,
};
use proptest::prelude::*;

use super::packets::Target;

/// Services that may be there: VIP, protocols, first and last port. They overlap on purpose.
const SERVICES: [(&str, Protocols, u16, u16); 11] = [
    ("198.51.100.10/32", Protocols::Tcp, 80, 80),
    ("198.51.100.10/32", Protocols::Tcp, 8000, 8099),
    ("198.51.100.10/32", Protocols::Udp, 0, u16::MAX),
    ("198.51.100.0/28", Protocols::Tcp, 0, u16::MAX),
    ("2001:db8:1::1/128", Protocols::Tcp, 443, 443),
    ("2001:db8:1::/64", Protocols::Udp, 53, 53),
    ("203.0.113.7/32", Protocols::Tcp, 80, 80),
    ("203.0.113.0/24", Protocols::Tcp, 0, u16::MAX),
    ("2001:db8:2::/48", Protocols::Tcp, 1000, 2999),
    ("198.51.100.10/32", Protocols::Both, 53, 53),
    ("203.0.113.0/24", Protocols::Both, 80, 89),
];

/// Backends that a service may have.
pub(crate) const BACKENDS: u8 = 6;

/// What should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) services: BTreeMap<usize, Service>,
    /// Changes the MAC addresses of all interfaces.
    pub(crate) egress_version: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) reject: bool,
    pub(crate) timeout: u32,
    pub(crate) large: bool,
    pub(crate) backends: BTreeMap<u8, Backend>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) weight: u32,
    pub(crate) keeps: bool,
    /// Which MAC address it has; `None`: not resolved.
    pub(crate) hop: Option<u8>,
    /// The port of the tunnel that leads there; `None`: no tunnel.
    pub(crate) tunnel: Option<u16>,
}

/// A change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    AddService(usize, u8),
    RemoveService(usize),
    Policy(usize),
    Timeout(usize, u32),
    TableSize(usize),
    SetBackend(usize, u8, Backend),
    RemoveBackend(usize, u8),
    NextHop(usize, u8, Option<u8>),
    Tunnel(usize, u8, Option<u16>),
    Egress(u8),
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let service = || 0..SERVICES.len();
    let hop = || prop_oneof![1 => Just(None), 4 => (0..3_u8).prop_map(Some)];
    let tunnel = || prop_oneof![2 => Just(None), 1 => (6080..6083_u16).prop_map(Some)];
    let backend = (0..4_u32, any::<bool>(), hop(), tunnel());
    prop_oneof![
        4 => (service(), 1..1_u8 << BACKENDS).prop_map(|(s, mask)| Change::AddService(s, mask)),
        2 => service().prop_map(Change::RemoveService),
        1 => service().prop_map(Change::Policy),
        1 => (service(), 1000..3000_u32).prop_map(|(s, ticks)| Change::Timeout(s, ticks)),
        1 => service().prop_map(Change::TableSize),
        6 => (service(), 0..BACKENDS, backend).prop_map(|(s, b, (weight, keeps, hop, tunnel))| {
            Change::SetBackend(s, b, Backend { weight, keeps, hop, tunnel })
        }),
        2 => (service(), 0..BACKENDS).prop_map(|(s, b)| Change::RemoveBackend(s, b)),
        2 => (service(), 0..BACKENDS, hop()).prop_map(|(s, b, hop)| Change::NextHop(s, b, hop)),
        2 => (service(), 0..BACKENDS, tunnel()).prop_map(|(s, b, tunnel)| Change::Tunnel(s, b, tunnel)),
        1 => (0..3_u8).prop_map(Change::Egress),
    ]
}

impl World {
    pub(crate) fn apply(&mut self, change: &Change) {
        match *change {
            Change::AddService(s, mask) => {
                self.services.entry(s).or_insert_with(|| Service::new(mask));
            }
            Change::RemoveService(s) => drop(self.services.remove(&s)),
            Change::Policy(s) => self.with(s, |service| service.reject ^= true),
            Change::Timeout(s, ticks) => self.with(s, |service| service.timeout = ticks),
            Change::TableSize(s) => self.with(s, |service| service.large ^= true),
            Change::SetBackend(s, b, backend) => self.with(s, |service| {
                service.backends.insert(b, backend);
            }),
            Change::RemoveBackend(s, b) => self.with(s, |service| {
                service.backends.remove(&b);
            }),
            Change::NextHop(s, b, hop) => self.with(s, |service| {
                service.backends.entry(b).and_modify(|backend| backend.hop = hop);
            }),
            Change::Tunnel(s, b, tunnel) => self.with(s, |service| {
                service.backends.entry(b).and_modify(|backend| backend.tunnel = tunnel);
            }),
            Change::Egress(version) => self.egress_version = version,
        }
    }

    fn with(&mut self, s: usize, change: impl FnOnce(&mut Service)) {
        if let Some(service) = self.services.get_mut(&s) {
            change(service);
        }
    }

    /// The service that a packet is for: the longest prefix, then the fewest ports.
    pub(crate) fn owner(&self, target: &Target) -> Option<usize> {
        let matches = |s: &&usize| {
            let (vip, protocol, first, last) = SERVICES[**s];
            let vip: IpNet = vip.parse().expect("a prefix");
            vip.contains(&target.address) && protocol.has(target.protocol) && (first..=last).contains(&target.port)
        };
        let rank = |s: &&usize| {
            let (vip, _, first, last) = SERVICES[**s];
            (vip.parse::<IpNet>().expect("a prefix").prefix_len(), u16::MAX - (last - first))
        };
        self.services.keys().filter(matches).max_by_key(rank).copied()
    }

    pub(crate) fn backend(&self, service: usize, backend: u8) -> Option<&Backend> {
        self.services.get(&service)?.backends.get(&backend)
    }

    pub(crate) fn desired(&self) -> Desired {
        let services = self.services.iter().map(|(s, service)| (key(*s), self.desired_service(*s, service)));
        Desired { services: services.collect(), pool: Vec::new() }
    }

    fn desired_service(&self, s: usize, service: &Service) -> DesiredService {
        let backend = |(b, backend): (&u8, &Backend)| {
            let next_hop = backend.hop.map(|version| {
                let ifindex = ifindex(*b, version);
                let source_mac = [2, 0xee, self.egress_version, 0, 0, ifindex as u8];
                (EgressRecord { ifindex, source_mac, vlan: vlan(*b, version), mtu: 1500 }, mac(s, *b, version))
            });
            let way = backend.tunnel.map_or(DesiredWay::Link, |port| way(s, *b, port));
            let desired = DesiredBackend {
                weight: backend.weight,
                keeps_flows: backend.keeps(),
                resets_flows: backend.resets(*b),
                most: if service.large { 1_000_000 } else { 0 },
                next_hop,
                way,
            };
            (backend_key(s, *b), desired)
        };
        let quic = |id, server_id_length| Parameters {
            id,
            server_id_length,
            nonce_length: 8,
            key: Some([self.egress_version; 16]),
        };
        // With `reject` for the sake of variety: one configuration, or two with server ids of two lengths.
        let configurations = if service.large { vec![quic(0, 8), quic(5, 4)] } else { vec![quic(0, 8)] };
        let backends = service.backends.keys().map(|b| model_backend(backend_key(s, *b))).collect();
        // Every other service has another scheduler with another size.
        let scheduler = match (s % 4, service.large) {
            (1, true) => SchedulerKind::LeastConnections,
            (3, true) => SchedulerKind::WeightedRoundRobin,
            (3, false) => SchedulerKind::RoundRobin,
            _ => SchedulerKind::Maglev,
        };
        DesiredService {
            quic: service.reject.then_some(DesiredQuic { configurations, backends }),
            on_no_backend: if service.reject { ON_NO_BACKEND_REJECT } else { 0 },
            fragments: if service.reject { FRAGMENTS_HASH } else { 0 },
            limits: limits(service),
            timeouts: [0, 1, 2, 3, 4].map(|state| service.timeout + state),
            slot_kind: scheduler.table(),
            scheduling: Scheduling { pick: scheduler.pick(), ..Scheduling::default() },
            table_size: if service.large { 509 } else { 251 },
            backends: service.backends.iter().map(backend).collect(),
        }
    }
}

/// Lists of one bound, of two, of another two, or none, of addresses that send nothing.
fn limits(service: &Service) -> DesiredLimits {
    let last = u128::from(service.timeout % 3) + 1;
    let bounds: Vec<u128> = match (service.reject, service.large) {
        (false, false) => Vec::new(),
        (true, false) => vec![u128::MAX],
        (_, true) => vec![u128::MAX - last, u128::MAX],
    };
    let list = PrefixList { offset: 0, size: bounds.len() as u32, denies: false };
    let rate = Rate { per_second: 10_000_000, burst: 10_000_000 };
    let rate = if service.large { rate } else { Rate::default() };
    DesiredLimits { settings: LimitSettings { list, rate, ..LimitSettings::default() }, bounds: bounds.into() }
}

impl Service {
    /// With the backends in a mask, all resolved and of weight 1.
    pub(crate) fn new(mask: u8) -> Self {
        let backend = Backend { weight: 1, keeps: true, hop: Some(0), tunnel: None };
        let backends = (0..BACKENDS).filter(|b| mask & 1 << b != 0).map(|b| (b, backend)).collect();
        Self { reject: false, timeout: 1000, large: false, backends }
    }

    pub(crate) fn has_resetting(&self) -> bool {
        self.backends.iter().any(|(b, backend)| backend.resets(*b))
    }

    pub(crate) fn has_takers(&self) -> bool {
        self.backends.values().any(|backend| backend.weight > 0)
    }
}

impl Backend {
    /// Some reset the flows that they do not keep.
    pub(crate) fn resets(&self, b: u8) -> bool {
        !self.keeps() && b.is_multiple_of(2)
    }

    /// What takes flows keeps them.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps || self.weight > 0
    }
}

pub(crate) fn key(s: usize) -> ServiceKey {
    let (vip, protocol, first_port, last_port) = SERVICES[s];
    let vip: IpNet = vip.parse().expect("a prefix");
    let (family, prefix) = address_words(vip.addr());
    ServiceKey { family, prefix, prefix_length: vip.prefix_len(), protocol, first_port, last_port }
}

/// The same address in all services of a family, as on real servers.
pub(crate) fn backend_key(s: usize, b: u8) -> BackendKey {
    let (vip, _, port, _) = SERVICES[s];
    let vip: IpNet = vip.parse().expect("a prefix");
    // The last one is of the other family.
    let address: IpAddr = if vip.addr().is_ipv4() != (b == BACKENDS - 1) {
        [10, 0, 0, b + 1].into()
    } else {
        [0x2001, 0xdb8, 0xb, 0, 0, 0, 0, u16::from(b) + 1].into()
    };
    (address, port)
}

fn way(s: usize, b: u8, port: u16) -> DesiredWay {
    let (family, destination) = address_words(backend_key(s, b).0);
    let inner = key(s).family;
    DesiredWay::Tunnel(TunnelEnds { mode: Mode::Gue, family, source: [9; 4], varying: 0, destination, port, inner })
}

/// The MAC address tells service, backend and version, so that a frame that went astray says from where.
pub(crate) fn mac(s: usize, b: u8, version: u8) -> [u8; 6] {
    [2, 0, 0, s as u8, b, version]
}

pub(crate) fn ifindex(b: u8, version: u8) -> u32 {
    10 + u32::from((b + version) % 3)
}

/// Some are reached through a VLAN of the interface by which others are reached without.
pub(crate) fn vlan(b: u8, version: u8) -> u16 {
    if version == 2 { 100 + u16::from(b % 2) } else { 0 }
}

fn model_backend((address, port): BackendKey) -> config::model::Backend {
    config::model::Backend {
        name: address.to_string(),
        address,
        mode: None,
        port,
        weight: 1,
        max_connections: None,
        priority: 0,
        backup: false,
        admin_state: config::model::AdminState::Enabled,
        quic_server_id: None,
    }
}
