//! A node in memory whose services translate, with frames in and out.

use lb_common::{
    abi::{DestinationState, Mode, NextHop, Scheduling, ServiceIdentity, SlotRange},
    features::Features,
    flow::{FlowState, TICK_MASK},
    memory::{Constants, Packet, Sizes, Tables},
    nat::candidate::pool_index,
    packet,
    parse::Family,
    service::{
        builder::{Rule, build},
        filter,
    },
    verdict::Verdict,
    wire::ip::Protocol,
};

/// Ticks in a second.
pub(crate) const HZ: u32 = 4;
/// Time-outs in seconds, in the order of [`FlowState::ALL`].
pub(crate) const TIMEOUTS: [u32; 5] = [6, 60, 2, 3, 12];
/// Backends of each service.
pub(crate) const BACKENDS: u32 = 2;
/// Addresses of the pool.
pub(crate) const POOL: u32 = 2;
/// The port of all backends.
const BACKEND_PORT: u16 = 8080;
const SLOTS: u32 = 64;
const IFINDEX: u32 = 7;

/// A service that translates.
#[derive(Clone, Copy)]
pub(crate) struct Service {
    pub(crate) mode: Mode,
    pub(crate) protocol: Protocol,
    /// The last byte of its VIP.
    pub(crate) vip: u8,
    pub(crate) port: u16,
    /// Its time-outs are so many times as long.
    pub(crate) patience: u32,
}

/// Those of the node. Two of `nat` have one backend, so their flows can be in each other's way.
pub(crate) const SERVICES: [Service; 5] = [
    Service { mode: Mode::Nat, protocol: Protocol::Tcp, vip: 1, port: 80, patience: 1 },
    Service { mode: Mode::Nat, protocol: Protocol::Tcp, vip: 2, port: 443, patience: 2 },
    Service { mode: Mode::FullNat, protocol: Protocol::Tcp, vip: 3, port: 80, patience: 1 },
    Service { mode: Mode::FullNat, protocol: Protocol::Udp, vip: 3, port: 80, patience: 2 },
    Service { mode: Mode::Nat, protocol: Protocol::Udp, vip: 1, port: 80, patience: 1 },
];

/// An address as in memory.
pub(crate) type Address = [u32; 4];

/// Both ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) source: (Address, u16),
    pub(crate) destination: (Address, u16),
    pub(crate) is_udp: bool,
}

impl Ends {
    /// Of the answer.
    pub(crate) fn turned(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

/// A packet that left the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) ends: Ends,
    /// Where the frame goes.
    pub(crate) mac: [u8; 6],
}

/// Tables and a clock.
pub(crate) struct Node {
    pub(crate) family: Family,
    tables: Tables,
    generations: Vec<u16>,
    now: u32,
}

impl Node {
    /// A node with tables of so many buckets.
    pub(crate) fn new(family: Family, flow_buckets: usize, nat_buckets: usize, pool: u32) -> Self {
        let destinations = SERVICES.len() * BACKENDS as usize + 1;
        let sizes = Sizes {
            quic_buckets: 1,
            list_bounds: 256,
            client_buckets: 16,
            service_buckets: 64,
            services: SERVICES.len() + 1,
            slots: SERVICES.len() * SLOTS as usize,
            destinations,
            flow_buckets,
            nat_buckets,
            fragment_buckets: 1,
        };
        // The clock of 24 bits begins again soon.
        let now = TICK_MASK - 200;
        let mut node = Self { family, tables: Tables::new(sizes), generations: vec![0; destinations], now };
        node.write_services();
        let tables = node.tables.slices();
        tables.egress[1].set([2, 0, 0, 0, 0, 0xee], IFINDEX, 1500);
        for place in 0..pool {
            tables.nat_pool[pool_index(family, place) as usize].set(&node.pool_address(place), true);
        }
        tables.control.set_pool(family, pool);
        for (service, description) in SERVICES.iter().enumerate() {
            for backend in 0..BACKENDS {
                let destination = &node.tables.slices().destinations[id_of(service, backend) as usize];
                destination.set_address(&node.backend_record(backend), BACKEND_PORT);
                let mac = NextHop::mac_word([2, 0, 0, 0, 1, backend as u8]);
                destination.set_next_hop(NextHop { mac, egress: 1 });
                node.renew(service, backend);
            }
            let backends = if description.mode == Mode::Nat { 1 } else { BACKENDS };
            node.schedule(service, &(0..backends).collect::<Vec<_>>());
        }
        let tables = node.tables.slices();
        filter::refresh_backends(tables.vip_filter, tables.destinations);
        node
    }

    fn write_services(&self) {
        let tables = self.tables.slices();
        let mut rules = Vec::new();
        for (index, service) in SERVICES.iter().enumerate() {
            let prefix = self.vip(index);
            let prefix_length = if self.family == Family::V4 { 32 } else { 128 };
            let (first_port, last_port) = (service.port, service.port);
            rules.push(Rule {
                index: index as u32 + 1,
                family: self.family,
                prefix,
                prefix_length,
                protocol: service.protocol,
                first_port,
                last_port,
                hashes_fragments: false,
            });
            let identity = ServiceIdentity {
                quic: 0,
                scheduling: Scheduling::default(),
                first_port,
                last_port,
                protocol: service.protocol.into(),
                prefix_length,
                family: self.family,
                on_no_backend: 0,
                fragments: 0,
            };
            tables.services[index + 1].set_identity(&prefix, identity);
            for (state, seconds) in FlowState::ALL.into_iter().zip(TIMEOUTS) {
                tables.services[index + 1].set_timeout(state, seconds * HZ * service.patience);
                tables.control.set_longest_timeout(state, seconds * HZ * 2);
            }
        }
        let table = build(&rules, &constants().hash_key, tables.service_buckets.len()).expect("the services fit");
        table.stage(&tables, 0);
        table.switch(&tables);
    }

    /// New flows of a service go to these backends.
    pub(crate) fn schedule(&self, service: usize, backends: &[u32]) {
        let offset = service as u32 * SLOTS;
        for (slot, backend) in (offset..offset + SLOTS).zip(backends.iter().cycle()) {
            self.tables.slices().slots[slot as usize].store(id_of(service, *backend));
        }
        self.tables.slices().services[service + 1].set_slots(SlotRange { offset, size: SLOTS });
    }

    /// A backend goes, and one with the same address comes in its place.
    pub(crate) fn renew(&mut self, service: usize, backend: u32) {
        let id = id_of(service, backend) as usize;
        self.generations[id] += 1;
        self.tables.slices().destinations[id].set_state(DestinationState {
            generation: self.generations[id],
            keeps_flows: true,
            resets_flows: false,
            takes_flows: true,
            mode: SERVICES[service].mode,
            second_tunnel: false,
            toa: 0,
            service: service as u32 + 1,
        });
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ticks: u32) {
        self.now = (self.now + ticks) & TICK_MASK;
    }

    /// Sends a packet; `flags` are TCP's.
    ///
    /// # Errors
    ///
    /// The verdict if it does not leave the node.
    pub(crate) fn send(&self, from: [u8; 6], ends: &Ends, flags: u8) -> Result<Sent, Verdict> {
        let before = self.frame(from, ends, flags);
        let mut packet = Packet::new(before.clone());
        let verdict = packet::process(&self.tables.view(constants(), self.now, IFINDEX), &mut packet).verdict;
        let bytes = packet.into_bytes();
        match verdict {
            Verdict::Transmit => Ok(self.read(&bytes)),
            Verdict::Pass(_) => {
                assert_eq!(bytes, before, "passed, but changed");
                Err(verdict)
            }
            _ => Err(verdict),
        }
    }

    /// New and closed flows of all destinations.
    pub(crate) fn flows(&self) -> (u64, u64) {
        let counters = self.tables.destination_counters().iter();
        counters.fold((0, 0), |sum, of| (sum.0 + of.flows_new.get(), sum.1 + of.flows_closed.get()))
    }

    fn address(&self, v4: [u8; 4], network: u8, host: u32) -> Address {
        match self.family {
            Family::V4 => [u32::from_ne_bytes(v4), 0, 0, 0],
            Family::V6 => [0x2001_0db8_u32.to_be(), u32::from(network).to_be(), 0, host.to_be()],
        }
    }

    /// The VIP of a service.
    pub(crate) fn vip(&self, service: usize) -> Address {
        let last = SERVICES[service].vip;
        self.address([198, 51, 100, last], 1, last.into())
    }

    /// A client's address.
    pub(crate) fn client(&self, number: u32) -> Address {
        let [_, b, c, d] = number.to_be_bytes();
        self.address([10, 0x80 | b, c, d], 2, number)
    }

    /// A backend's address and port.
    pub(crate) fn backend(&self, backend: u32) -> (Address, u16) {
        (self.address([203, 0, 113, 1 + backend as u8], 3, backend + 1), BACKEND_PORT)
    }

    /// The same as its record has it.
    fn backend_record(&self, backend: u32) -> Address {
        let (address, _) = self.backend(backend);
        match self.family {
            Family::V4 => [0, 0, 0xffff_u32.to_be(), address[0]],
            Family::V6 => address,
        }
    }

    /// An address of the pool.
    pub(crate) fn pool_address(&self, place: u32) -> Address {
        self.address([192, 0, 2, 1 + place as u8], 4, place + 1)
    }

    /// Ethernet, IP and the transport header, without payload. Checksums are shown elsewhere.
    fn frame(&self, from: [u8; 6], ends: &Ends, flags: u8) -> Vec<u8> {
        let (length, protocol) = if ends.is_udp { (8, 17) } else { (20, 6) };
        let mut bytes = vec![2, 0, 0, 0, 0, 0xee];
        bytes.extend(from);
        match self.family {
            Family::V4 => {
                bytes.extend([8, 0, 0x45, 0, 0, 20 + length, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
                bytes.extend(ends.source.0[0].to_ne_bytes());
                bytes.extend(ends.destination.0[0].to_ne_bytes());
            }
            Family::V6 => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, length, protocol, 64]);
                bytes.extend(ends.source.0.iter().chain(&ends.destination.0).flat_map(|word| word.to_ne_bytes()));
            }
        }
        bytes.extend(ends.source.1.to_be_bytes());
        bytes.extend(ends.destination.1.to_be_bytes());
        if ends.is_udp {
            bytes.extend([0, 8, 0, 0]);
        } else {
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
        bytes
    }

    fn read(&self, bytes: &[u8]) -> Sent {
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let wide = |at: usize| [word(at), word(at + 4), word(at + 8), word(at + 12)];
        let (source, destination, protocol, at) = match self.family {
            Family::V4 => ([word(26), 0, 0, 0], [word(30), 0, 0, 0], bytes[23], 34),
            Family::V6 => (wide(22), wide(38), bytes[20], 54),
        };
        let ends =
            Ends { source: (source, port(at)), destination: (destination, port(at + 2)), is_udp: protocol == 17 };
        Sent { ends, mac: bytes[..6].try_into().expect("six bytes") }
    }
}

/// The destination id of a backend in a service (from 0).
fn id_of(service: usize, backend: u32) -> u32 {
    service as u32 * BACKENDS + backend + 1
}

fn constants() -> Constants {
    Constants {
        hash_key: std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(2 * i as u32 + 1) ^ 0x5bd1_e995),
        ticks_per_second: HZ,
        fragment_timeout: 30 * HZ,
        features: Features::ALL,
    }
}
