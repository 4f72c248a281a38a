//! A node in memory: services, destinations and a clock, with packets in and destinations out.

use lb_common::{
    abi::{DestinationState, NextHop, NodeCounters, Scheduling, ServiceIdentity, SlotRange},
    features::Features,
    flow::{FlowBucket, FlowState, FlowWord, TICK_MASK},
    memory::{Constants, Packet, Sizes, Tables, View},
    packet,
    parse::Family,
    service::builder::{Rule, build},
    verdict::Verdict,
    wire::ip::Protocol,
};

/// The service of most tests: TCP port 443.
pub(crate) const TCP: u32 = 1;
/// UDP port 443 of the same VIP.
pub(crate) const UDP: u32 = 2;
/// TCP port 8443 with time-outs ten times as long.
pub(crate) const PATIENT: u32 = 3;
/// Destinations, with ids from 1: see [`ids_of`].
const DESTINATIONS: u32 = 32;
/// Ticks in a second.
pub(crate) const HZ: u32 = 4;
/// Time-outs in seconds, in the order of [`FlowState::ALL`].
pub(crate) const TIMEOUTS: [u32; 5] = [60, 900, 10, 30, 120];

const VIP: [u8; 4] = [198, 51, 100, 1];
const SLOTS: u32 = 64;
const IFINDEX: u32 = 7;
const SERVICES: [(u32, Protocol, u16, u32); 3] =
    [(TCP, Protocol::Tcp, 443, 1), (UDP, Protocol::Udp, 443, 1), (PATIENT, Protocol::Tcp, 8443, 10)];

/// A flow: who talks to which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    /// Which of 2^22 addresses and ports.
    pub(crate) number: u32,
    /// [`TCP`], [`UDP`] or [`PATIENT`].
    pub(crate) service: u32,
}

/// The `number`-th client of [`TCP`].
pub(crate) fn tcp(number: u32) -> Client {
    Client { number, service: TCP }
}

/// The `number`-th client of [`UDP`].
pub(crate) fn udp(number: u32) -> Client {
    Client { number, service: UDP }
}

/// Tables and a clock.
pub(crate) struct Node {
    tables: Tables,
    now: u32,
}

impl Node {
    /// A node with a flow table of so many buckets; new flows go to any destination of their service.
    pub(crate) fn new(flow_buckets: usize) -> Self {
        let destinations = DESTINATIONS as usize + 1;
        let sizes = Sizes {
            service_buckets: 64,
            services: 4,
            slots: 4 * SLOTS as usize,
            destinations,
            flow_buckets,
            nat_buckets: 1,
            fragment_buckets: 1,
            quic_buckets: 1,
            list_bounds: 256,
            client_buckets: 16,
        };
        let node = Self { tables: Tables::new(sizes), now: 1000 };
        node.write_services();
        node.tables.slices().egress[1].set([2, 0, 0, 0, 0, 0xee], IFINDEX, 1500);
        for (service, ..) in SERVICES {
            node.schedule(service, &ids_of(service));
        }
        for id in SERVICES.iter().flat_map(|service| ids_of(service.0)) {
            let hop = NextHop { mac: NextHop::mac_word([2, 0, 0, 0, 1, id as u8]), egress: 1 };
            node.tables.slices().destinations[id as usize].set_next_hop(hop);
            node.set_state(id, DestinationState { service: service_of(id), ..serving(1) });
        }
        node
    }

    fn write_services(&self) {
        let tables = self.tables.slices();
        let prefix = [u32::from_ne_bytes(VIP), 0, 0, 0];
        let mut rules = Vec::new();
        for (index, protocol, port, factor) in SERVICES {
            let (first_port, last_port, prefix_length, family) = (port, port, 32, Family::V4);
            rules.push(Rule {
                index,
                family,
                prefix,
                prefix_length,
                protocol,
                first_port,
                last_port,
                hashes_fragments: false,
            });
            let service = &tables.services[index as usize];
            let protocol = protocol.into();
            let identity = ServiceIdentity {
                first_port,
                last_port,
                protocol,
                prefix_length,
                family,
                on_no_backend: 0,
                fragments: 0,
                quic: 0,
                scheduling: Scheduling::default(),
            };
            service.set_identity(&prefix, identity);
            for (state, seconds) in FlowState::ALL.into_iter().zip(TIMEOUTS) {
                service.set_timeout(state, seconds * HZ * factor);
                tables.control.set_longest_timeout(state, seconds * HZ * 10);
            }
        }
        let table = build(&rules, &constants().hash_key, tables.service_buckets.len()).expect("three services fit");
        table.stage(&tables, 0);
        table.switch(&tables);
    }

    /// Every service has the same time-outs, so that what is free by the longest is free by its own.
    pub(crate) fn without_patience(self) -> Self {
        for (state, seconds) in FlowState::ALL.into_iter().zip(TIMEOUTS) {
            self.tables.slices().services[PATIENT as usize].set_timeout(state, seconds * HZ);
            self.tables.slices().control.set_longest_timeout(state, seconds * HZ);
        }
        lb_common::steady::publish_all(&self.tables.slices());
        self
    }

    /// New flows of a service go to these destinations, each of which has as many slots as the others.
    pub(crate) fn schedule(&self, service: u32, ids: &[u32]) {
        let offset = service * SLOTS;
        for (slot, id) in (offset..offset + SLOTS).zip(ids.iter().cycle()) {
            self.tables.slices().slots[slot as usize].store(*id);
        }
        let size = if ids.is_empty() { 0 } else { SLOTS };
        self.tables.slices().services[service as usize].set_slots(SlotRange { offset, size });
    }

    /// Publishes a state of a destination.
    pub(crate) fn set_state(&self, id: u32, state: DestinationState) {
        self.tables.slices().destinations[id as usize].set_state(state);
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ticks: u32) {
        self.now = (self.now + ticks) & TICK_MASK;
    }

    /// The clock.
    pub(crate) fn now(&self) -> u32 {
        self.now
    }

    /// Sends a packet and returns the destination that it went to; `flags` are TCP's.
    pub(crate) fn send(&self, client: Client, flags: u8) -> u32 {
        self.send_at(self.now, client, flags)
    }

    /// The same through a CPU whose clock is not the node's.
    pub(crate) fn send_at(&self, now: u32, client: Client, flags: u8) -> u32 {
        let mut packet = Packet::new(frame(client, flags));
        let verdict = packet::process(&self.view_at(now), &mut packet).verdict;
        assert_eq!(verdict, Verdict::Transmit, "{client:?}");
        let bytes = packet.into_bytes();
        assert_eq!(bytes[..5], [2, 0, 0, 0, 1], "the next hop's MAC address");
        u32::from(bytes[5])
    }

    /// What the program sees.
    pub(crate) fn view(&self) -> View<'_> {
        self.view_at(self.now)
    }

    fn view_at(&self, now: u32) -> View<'_> {
        self.tables.view(constants(), now & TICK_MASK, IFINDEX)
    }

    /// The words of all entries in use, in the order of the table.
    pub(crate) fn entries(&self) -> Vec<FlowWord> {
        let buckets = self.tables.slices().flows.iter();
        buckets
            .flat_map(|bucket| &bucket.entries)
            .map(|entry| entry.word())
            .filter(|word| word.state().is_some())
            .collect()
    }

    /// The one entry that there is.
    pub(crate) fn entry(&self) -> FlowWord {
        let entries = self.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0]
    }

    /// The table itself.
    pub(crate) fn buckets(&self) -> &[FlowBucket] {
        self.tables.slices().flows
    }

    /// The counters of the node.
    pub(crate) fn counters(&self) -> NodeCounters {
        self.tables.node_counters()
    }

    /// New and closed flows of a destination.
    pub(crate) fn flows_of(&self, id: u32) -> (u64, u64) {
        let counters = &self.tables.destination_counters()[id as usize];
        (counters.flows_new.get(), counters.flows_closed.get())
    }

    /// New and closed flows of all destinations.
    pub(crate) fn flows(&self) -> (u64, u64) {
        (1..=DESTINATIONS).map(|id| self.flows_of(id)).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }
}

/// The destinations of a service.
pub(crate) fn ids_of(service: u32) -> Vec<u32> {
    (1..=DESTINATIONS).filter(|id| service_of(*id) == service).collect()
}

fn service_of(id: u32) -> u32 {
    match id {
        1..=16 => TCP,
        17..=24 => UDP,
        _ => PATIENT,
    }
}

/// The state of a destination of [`TCP`] that takes and keeps flows.
pub(crate) fn serving(generation: u16) -> DestinationState {
    DestinationState {
        generation,
        keeps_flows: true,
        resets_flows: false,
        takes_flows: true,
        mode: lb_common::abi::Mode::DsrL2,
        second_tunnel: false,
        toa: 0,
        service: TCP,
    }
}

fn constants() -> Constants {
    Constants {
        hash_key: std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(i as u32 + 1)),
        ticks_per_second: HZ,
        fragment_timeout: 30 * HZ,
        features: Features::ALL,
    }
}

/// Ethernet, IPv4 and the transport header, without payload. Checksums are the endpoints' business.
fn frame(client: Client, flags: u8) -> Vec<u8> {
    let (_, protocol, port, _) = SERVICES[client.service as usize - 1];
    let transport = if protocol == Protocol::Tcp { 20 } else { 8 };
    let source_port = (1024 + (client.number & 0x3fff) as u16).to_be_bytes();
    let mut bytes = vec![2, 0, 0, 0, 0, 0xee, 2, 0, 0, 0, 0, 0xcc, 8, 0];
    bytes.extend([0x45, 0, 0, 20 + transport, 0, 0, 0x40, 0, 64, protocol as u8, 0, 0]);
    bytes.extend([192, 0, 2, (client.number >> 14) as u8]);
    bytes.extend(VIP);
    bytes.extend(source_port);
    bytes.extend(port.to_be_bytes());
    match protocol {
        Protocol::Tcp => bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]),
        Protocol::Udp => bytes.extend([0, 8, 0, 0]),
    }
    bytes
}
