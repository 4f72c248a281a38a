//! Configurations: services, their backends, and how they get into tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    abi::{
        DestinationState, FRAGMENTS_DROP, FRAGMENTS_HASH, LAYOUT_VERSION, Mode, NextHop, ON_NO_BACKEND_DROP,
        ON_NO_BACKEND_REJECT, Protocols, Scheduling, ServiceIdentity, SlotRange, tunnel_index,
    },
    features::Features,
    flow::FlowState,
    nat::candidate::pool_index,
    nat::hairpin,
    parse::Family,
    quic::Parameters,
    service::{
        builder::{self, Rule},
        filter,
    },
    wire::ip::Protocol,
};

use crate::{
    limits::{self, Limits},
    machine::{INGRESS, Machine},
    outer::Outer,
    quic,
    translated::Translation,
    way::Way,
};

/// The interface that packets come from and that leads to [`Backend::A`] to [`Backend::C`].
pub(crate) const NEAR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xee];
/// The interface that leads to [`Backend::Far`].
pub(crate) const FAR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xff];
/// An interface index that packets do not come from.
const FAR: u32 = 77;

/// The VLAN that leads to [`Backend::Tagged`].
const VLAN: u16 = 0x0abc;

/// Servers. Every service has a destination for each, in its slots or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backend {
    A,
    B,
    C,
    /// Behind another interface than the clients.
    Far,
    /// In a VLAN of the clients' interface.
    Tagged,
    /// Its next hop is not resolved.
    Unresolved,
    /// Its egress index has neither a record nor a device.
    Gone,
}

pub(crate) use Backend::{A, B, C};

impl Backend {
    pub(crate) const ALL: [Self; 7] =
        [Self::A, Self::B, Self::C, Self::Far, Self::Tagged, Self::Unresolved, Self::Gone];

    /// Its MAC address.
    pub(crate) fn mac(self) -> [u8; 6] {
        [0x02, 0, 0, 0xbe, 0, self as u8 + 1]
    }

    /// The egress index that leads to it; 0: none.
    pub(crate) fn egress(self) -> u32 {
        match self {
            Self::A | Self::B | Self::C => 1,
            Self::Far => 2,
            Self::Unresolved => 0,
            Self::Gone => 3,
            Self::Tagged => 4,
        }
    }

    /// What a frame has between its addresses and the type of the packet, if it came with `tags`.
    pub(crate) fn tags(self, tags: &[u8]) -> Vec<u8> {
        if self == Self::Tagged { [[0x81, 0x00], VLAN.to_be_bytes()].concat() } else { tags.to_vec() }
    }

    /// MAC address of the interface that leads to it.
    pub(crate) fn egress_mac(self) -> [u8; 6] {
        if self == Self::Far { FAR_MAC } else { NEAR_MAC }
    }

    /// Its address.
    pub(crate) fn address(self, family: Family) -> IpAddr {
        let host = self as u8 + 1;
        match family {
            Family::V4 => Ipv4Addr::new(10, 0, 0, host).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, host.into()).into(),
        }
    }

    /// Its destination id in a service (from 0).
    pub(crate) fn id(self, service: usize) -> u32 {
        (1 + service * Self::ALL.len()) as u32 + self as u32
    }
}

/// A service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Address, or address and prefix length.
    pub(crate) vip: &'static str,
    pub(crate) protocol: Protocols,
    pub(crate) ports: (u16, u16),
    pub(crate) slots: Vec<Backend>,
    pub(crate) reject: bool,
    /// New flows, and fragments without their first, by the addresses alone.
    pub(crate) fragments_by_hash: bool,
    /// How a new flow chooses a slot.
    pub(crate) scheduling: Scheduling,
    /// Configurations of QUIC-LB; empty: connection ids mean nothing. Each backend has the server id that
    /// [`quic::server_id_of`](crate::quic::server_id_of) says.
    pub(crate) quic: Vec<Parameters>,
    /// Further server ids.
    pub(crate) server_ids: Vec<(Vec<u8>, Backend)>,
    /// Limits of its new flows.
    pub(crate) limits: Limits,
    /// How its backends are reached.
    pub(crate) way: Way,
    /// The kind of the TCP option that tells the backends their clients; 0: none.
    pub(crate) toa: u8,
    /// Seconds, by [`FlowState::ALL`].
    pub(crate) timeouts: [u32; 5],
}

impl Service {
    fn new(protocol: Protocols, vip: &'static str, first: u16, last: u16, slots: &[Backend]) -> Self {
        // The defaults of line 14.
        let timeouts = [60, 900, 10, 30, 120];
        Self {
            vip,
            protocol,
            ports: (first, last),
            slots: slots.to_vec(),
            reject: false,
            fragments_by_hash: false,
            scheduling: Scheduling::default(),
            quic: Vec::new(),
            server_ids: Vec::new(),
            limits: Limits::default(),
            way: Way::Link,
            toa: 0,
            timeouts,
        }
    }

    /// A TCP service.
    pub(crate) fn tcp(vip: &'static str, port: u16, slots: &[Backend]) -> Self {
        Self::new(Protocols::Tcp, vip, port, port, slots)
    }

    /// A UDP service.
    pub(crate) fn udp(vip: &'static str, port: u16, slots: &[Backend]) -> Self {
        Self::new(Protocols::Udp, vip, port, port, slots)
    }

    /// A service of both protocols.
    pub(crate) fn both(vip: &'static str, port: u16, slots: &[Backend]) -> Self {
        Self::new(Protocols::Both, vip, port, port, slots)
    }

    /// The same for a range of ports.
    pub(crate) fn ports(mut self, first: u16, last: u16) -> Self {
        self.ports = (first, last);
        self
    }

    /// The same with backends behind tunnels.
    pub(crate) fn through(mut self, outer: Outer) -> Self {
        self.way = Way::Tunnel(outer);
        self
    }

    /// The same with packets translated, to backends with this port; 0: that of the packet.
    pub(crate) fn translated(mut self, mode: Mode, port: u16) -> Self {
        self.way = Way::Translation(Translation { mode, port });
        self
    }

    /// The same with a TCP option of this kind that tells the backends their clients.
    pub(crate) fn telling(mut self, kind: u8) -> Self {
        self.toa = kind;
        self
    }

    /// The same with policy `reject`.
    pub(crate) fn rejecting(mut self) -> Self {
        self.reject = true;
        self
    }

    /// The same with another scheduler.
    pub(crate) fn scheduled(mut self, scheduling: Scheduling) -> Self {
        self.scheduling = scheduling;
        self
    }

    /// The same with limits of new flows.
    pub(crate) fn limited(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same with configurations of QUIC-LB.
    pub(crate) fn quic(mut self, configurations: &[Parameters]) -> Self {
        self.quic = configurations.to_vec();
        self
    }

    /// The same with `fragments: hash`.
    pub(crate) fn by_addresses(mut self) -> Self {
        self.fragments_by_hash = true;
        self
    }

    /// The same with time-outs in seconds.
    pub(crate) fn timeouts(mut self, timeouts: [u32; 5]) -> Self {
        self.timeouts = timeouts;
        self
    }

    fn prefix(&self) -> (Family, [u32; 4], u8) {
        let (address, length) = self.vip.split_once('/').unwrap_or((self.vip, ""));
        match address.parse().expect("an address") {
            IpAddr::V4(address) => {
                let words = [u32::from_ne_bytes(address.octets()), 0, 0, 0];
                (Family::V4, words, length.parse().unwrap_or(32))
            }
            IpAddr::V6(address) => {
                let octets = address.octets();
                let word = |i: usize| u32::from_ne_bytes(octets[4 * i..][..4].try_into().expect("four bytes"));
                (Family::V6, std::array::from_fn(word), length.parse().unwrap_or(128))
            }
        }
    }

    /// What a program needs for it.
    pub(crate) fn features(&self) -> Features {
        let destinations = Features::of_destination(self.destination_state());
        Features::of_service(&self.identity(1)).with(destinations).with(self.limits.features())
    }

    /// Of its destinations, without what is each one's own.
    fn destination_state(&self) -> DestinationState {
        DestinationState { mode: self.way.mode(), toa: self.toa, ..DestinationState::default() }
    }

    /// `quic`: its place for configurations, if it has any.
    fn identity(&self, quic: u8) -> ServiceIdentity {
        let (family, _, prefix_length) = self.prefix();
        ServiceIdentity {
            first_port: self.ports.0,
            last_port: self.ports.1,
            protocol: self.protocol,
            prefix_length,
            family,
            on_no_backend: if self.reject { ON_NO_BACKEND_REJECT } else { ON_NO_BACKEND_DROP },
            fragments: if self.fragments_by_hash { FRAGMENTS_HASH } else { FRAGMENTS_DROP },
            quic: if self.quic.is_empty() { 0 } else { quic },
            scheduling: self.scheduling,
        }
    }
}

/// Slots set aside for each service twice: two ranges, so that a new one is never written over the one in force.
pub(crate) const SLOTS_EACH: u32 = 16;

/// Empties a machine and writes a configuration.
pub(crate) fn install(machine: &mut impl Machine, services: &[Service]) {
    machine.reset();
    for (egress, mac, ifindex) in [(1, NEAR_MAC, INGRESS), (2, FAR_MAC, FAR)] {
        // The kernel wants a device that is there; which one does not matter where nothing is sent.
        machine.set_device(egress, INGRESS);
        machine.tables().egress[egress as usize].set(mac, ifindex, 1500);
    }
    machine.set_device(Backend::Tagged.egress(), INGRESS);
    machine.tables().egress[Backend::Tagged.egress() as usize].set_in_vlan(NEAR_MAC, VLAN, INGRESS, 1500);
    machine.tables().control.set_layout(LAYOUT_VERSION, 1);
    set_timeouts(machine, services);
    for (index, service) in services.iter().enumerate() {
        set_destinations(machine, index, service);
        quic::set(machine, index, service);
        set_identity(machine, index, service);
        set_slots(machine, index, &service.slots);
        limits::set(machine, index, service, &service.limits);
    }
    set_pool(machine, true);
    let tables = machine.tables();
    filter::refresh_backends(tables.vip_filter, tables.destinations);
    hairpin::refresh(&tables, &machine.constants());
    switch_table(machine, services, |_| true);
}

/// Source addresses of `full-nat`.
pub(crate) const POOL: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));
pub(crate) const POOL6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1));

/// That of a family.
pub(crate) fn pool(family: Family) -> IpAddr {
    match family {
        Family::V4 => POOL,
        Family::V6 => POOL6,
    }
}

/// Writes them; whether new flows may have them.
pub(crate) fn set_pool(machine: &impl Machine, is_open: bool) {
    let tables = machine.tables();
    for (family, address) in [(Family::V4, POOL), (Family::V6, POOL6)] {
        tables.nat_pool[pool_index(family, 0) as usize].set(&words(address), is_open);
        tables.control.set_pool(family, 1);
    }
}

/// An address as in memory.
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
        IpAddr::V6(address) => {
            let octets = address.octets();
            std::array::from_fn(|i| u32::from_ne_bytes(octets[4 * i..][..4].try_into().expect("four bytes")))
        }
    }
}

fn set_timeouts(machine: &impl Machine, services: &[Service]) {
    let rate = machine.constants().ticks_per_second;
    for (i, state) in FlowState::ALL.into_iter().enumerate() {
        let longest = services.iter().map(|service| service.timeouts[i]).max().unwrap_or(0);
        machine.tables().control.set_longest_timeout(state, longest * rate);
        for (index, service) in services.iter().enumerate() {
            machine.tables().services[index + 1].set_timeout(state, service.timeouts[i] * rate);
        }
    }
}

fn set_destinations(machine: &impl Machine, service: usize, description: &Service) {
    for backend in Backend::ALL {
        let id = backend.id(service);
        let tables = machine.tables();
        if let Way::Tunnel(outer) = description.way {
            // Either of its places will do.
            let state = DestinationState { second_tunnel: id % 2 == 1, ..DestinationState::default() };
            tables.tunnels[tunnel_index(id, state)].set(&outer.ends(backend, description.prefix().0));
        }
        tables.destinations[id as usize].set_state(description.destination_state());
        let destination = &machine.tables().destinations[backend.id(service) as usize];
        let address = match backend.address(description.prefix().0) {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let port = if let Way::Translation(translation) = description.way { translation.port } else { 80 };
        destination.set_address(&words(address.into()), port);
        let mac = NextHop::mac_word(backend.mac());
        destination.set_next_hop(NextHop { mac, egress: backend.egress() });
        set_state(machine, service, backend, State::default());
    }
}

/// What a destination does, and how often its id was given away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) keeps: bool,
    pub(crate) resets: bool,
    pub(crate) takes: bool,
    pub(crate) generation: u16,
}

impl Default for State {
    fn default() -> Self {
        Self { keeps: true, resets: false, takes: true, generation: 1 }
    }
}

/// Changes a destination's state.
pub(crate) fn set_state(machine: &impl Machine, service: usize, backend: Backend, state: State) {
    let destination = &machine.tables().destinations[backend.id(service) as usize];
    let DestinationState { mode, toa, .. } = destination.state();
    destination.set_state(DestinationState {
        generation: state.generation,
        keeps_flows: state.keeps,
        resets_flows: state.resets,
        takes_flows: state.takes,
        mode,
        toa,
        second_tunnel: backend.id(service) % 2 == 1,
        service: service as u32 + 1,
    });
}

/// Switches a service (from 0) to other slots.
pub(crate) fn set_slots(machine: &impl Machine, service: usize, slots: &[Backend]) {
    let ids: Vec<u32> = slots.iter().map(|backend| backend.id(service)).collect();
    set_slot_ids(machine, service, &ids);
}

/// The same with destination ids.
pub(crate) fn set_slot_ids(machine: &impl Machine, service: usize, ids: &[u32]) {
    let first = 2 * SLOTS_EACH * service as u32;
    let in_force = machine.tables().services[service + 1].slots().offset;
    set_slots_at(machine, service, if in_force == first { first + SLOTS_EACH } else { first }, ids);
}

/// The same in a range of slots of the caller's choice.
pub(crate) fn set_slots_at(machine: &impl Machine, service: usize, offset: u32, ids: &[u32]) {
    let tables = machine.tables();
    for (slot, id) in tables.slots[offset as usize..].iter().zip(ids) {
        slot.store(*id);
    }
    tables.services[service + 1].set_slots(SlotRange { offset, size: ids.len() as u32 });
}

/// Says what a service answers to and what it does without a backend.
pub(crate) fn set_identity(machine: &impl Machine, service: usize, description: &Service) {
    machine.tables().services[service + 1]
        .set_identity(&description.prefix().1, description.identity(service as u8 + 1));
}

/// Puts a table of some services (from 0) in force; it lies where the present one does not.
pub(crate) fn switch_table(machine: &mut impl Machine, services: &[Service], has: impl Fn(usize) -> bool) {
    let chosen = services.iter().enumerate().filter(|(index, _)| has(*index));
    let rules: Vec<Rule> = chosen.flat_map(|(index, service)| rules(index, service)).collect();
    let tables = machine.tables();
    let half = tables.service_buckets.len() / 2;
    let table = builder::build(&rules, &machine.constants().hash_key, half).expect("the services fit");
    let (_, in_force, _) = tables.control.active().place();
    let offset = if in_force == 0 { half as u32 } else { 0 };
    table.stage(&tables, offset);
    machine.publish_filter();
    let tables = machine.tables();
    table.switch(&tables);
    machine.publish_filter();
}

/// A rule for each protocol.
fn rules(index: usize, service: &Service) -> impl Iterator<Item = Rule> {
    let (family, prefix, prefix_length) = service.prefix();
    let ((first_port, last_port), index) = (service.ports, index as u32 + 1);
    let hashes_fragments = service.fragments_by_hash;
    let rule = move |protocol: &Protocol| Rule {
        index,
        family,
        prefix,
        prefix_length,
        protocol: *protocol,
        first_port,
        last_port,
        hashes_fragments,
    };
    service.protocol.each().iter().map(rule)
}
