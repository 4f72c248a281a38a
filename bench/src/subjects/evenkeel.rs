//! Evenkeel's own program, its tables written for the bench.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::Result;
use aya::programs::ProgramFd;
use evenkeel::dataplane::kernel::{LoadOptions, Loaded};
use lb_common::{
    abi::{
        DestinationState, FRAGMENTS_DROP, LAYOUT_VERSION, Mode, NextHop, ON_NO_BACKEND_DROP, Pick, Scheduling,
        ScoreTerms, ServiceIdentity, SlotRange, TunnelEnds, tunnel_index,
    },
    features::Features,
    flow::{BUCKET_ENTRIES, FlowState, FlowWord},
    memory::Sizes,
    parse::Family,
    schedule::{
        least,
        maglev::{self, Member},
    },
    service::builder::{self, Rule},
    steady,
    verdict::{DropReason, PassReason},
    wire::ip::Protocol,
};

use super::{
    packets::{PORT, Shape, VIP4, VIP6},
    subject::{Expected, Setting, Subject, Tally},
};

/// Backends of the services that packets are for.
const BACKENDS: u32 = 100;
/// Slots of each.
const SLOTS: u32 = 65_537;
/// `BPF_PROG_TEST_RUN` lets packets come from the loopback.
const INGRESS: u32 = 1;
/// Index of the first service that is only there to be many.
const FIRST_OTHER: u32 = 5;

/// The program.
pub(crate) struct Evenkeel {
    loaded: Loaded,
    name: &'static str,
}

/// What the daemon would load the program with for the tables here: services of both families, and one interface.
const NEEDED: Features = Features::IPV4.with(Features::IPV6);
/// The same program with other features, by name.
pub(crate) const VARIANTS: [(&str, Features); 2] =
    [("evenkeel-general", Features::ALL), ("evenkeel-ipv4", Features::IPV4)];

impl Evenkeel {
    /// Loads it and writes its tables; packets go back where `BPF_PROG_TEST_RUN` lets them come from.
    pub(crate) fn load(setting: Setting) -> Result<Self> {
        let schedulers = if setting.pick == Pick::FlowHash { Features::NONE } else { Features::SCHEDULERS };
        Self::load_towards(setting, INGRESS, NEEDED.with(Features::of_mode(setting.mode)).with(schedulers))
    }

    /// One of [`VARIANTS`].
    pub(crate) fn load_variant(setting: Setting, (name, features): (&'static str, Features)) -> Result<Self> {
        Ok(Self { name, ..Self::load_towards(setting, INGRESS, features)? })
    }

    /// Loads it and writes its tables; packets leave by the interface of the calling thread's namespace that they came from.
    pub(crate) fn load_at(setting: Setting, interface: u32) -> Result<Self> {
        Self::load_towards(setting, interface, NEEDED)
    }

    /// The same, and packets may come from another interface.
    pub(crate) fn load_across(setting: Setting, egress: u32) -> Result<Self> {
        Self::load_towards(setting, egress, NEEDED.with(Features::REDIRECT))
    }

    fn load_towards(setting: Setting, egress: u32, features: Features) -> Result<Self> {
        let services = (FIRST_OTHER + setting.services) as usize;
        let destinations = 4 * BACKENDS + setting.services + 1;
        let sizes = Sizes {
            service_buckets: 2 * (16 * services).next_power_of_two(),
            services,
            slots: (4 * SLOTS + setting.services) as usize,
            destinations: destinations as usize,
            // At most three quarters of the places are taken.
            flow_buckets: (setting.capacity * 4 / 3).div_ceil(BUCKET_ENTRIES as u64).next_power_of_two() as usize,
            nat_buckets: 1 << 15,
            fragment_buckets: 64,
            quic_buckets: 4,
            list_bounds: 256,
            client_buckets: 16,
        };
        let hash_key = std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(2 * i as u32 + 1) ^ 0x5bd1_e995);
        let mut loaded = Loaded::load(&LoadOptions {
            sizes,
            hash_key,
            fragment_timeout: Duration::from_secs(30),
            pins: None,
            features,
            flows_writable: true,
            one_buffer: true,
        })?;
        loaded.set_device(1, egress)?;
        let mut evenkeel = Self { loaded, name: "evenkeel" };
        evenkeel.write_tables(setting, egress)?;
        evenkeel.loaded.publish_filter()?;
        Ok(evenkeel)
    }

    fn write_tables(&self, setting: Setting, egress: u32) -> Result<()> {
        let tables = self.loaded.tables();
        tables.egress[1].set([0x02, 0, 0, 0, 0, 0xee], egress, 1500);
        tables.nat_pool[0].set(&[u32::from_ne_bytes([10, 77, 0, 1]), 0, 0, 0], true);
        tables.control.set_pool(Family::V4, 1);
        tables.control.set_layout(LAYOUT_VERSION, 1);
        let ticks = 900 * self.loaded.clock().ticks_per_second();
        for state in FlowState::ALL {
            tables.control.set_longest_timeout(state, ticks);
        }
        let mut rules = Vec::new();
        let members: Vec<Member> = (0..BACKENDS).map(|i| Member { id: u64::from(i), weight: 1 }).collect();
        let ring = maglev::build(&members, SLOTS)?;
        let kinds = [
            (Family::V4, Protocol::Tcp),
            (Family::V4, Protocol::Udp),
            (Family::V6, Protocol::Tcp),
            (Family::V6, Protocol::Udp),
        ];
        for (i, (family, protocol)) in kinds.into_iter().enumerate() {
            let index = i as u32 + 1;
            let first = 1 + i as u32 * BACKENDS;
            for id in first..first + BACKENDS {
                self.write_destination(id, index, (setting.mode, family));
            }
            let offset = i as u32 * SLOTS;
            let slots = tables.slots[offset as usize..].iter();
            let size = if setting.pick.is_by_score() {
                slots.zip(first..first + least::MOST).for_each(|(slot, id)| slot.store(id));
                least::MOST
            } else {
                slots.zip(&ring).for_each(|(slot, member)| slot.store(first + member));
                SLOTS
            };
            let slots = SlotRange { offset, size };
            rules.push(self.write_service(index, (family, vip(family)), protocol, slots, setting.pick));
        }
        for other in 0..setting.services {
            let index = FIRST_OTHER + other;
            let (id, offset) = (4 * BACKENDS + 1 + other, 4 * SLOTS + other);
            self.write_destination(id, index, (Mode::DsrL2, Family::V4));
            tables.slots[offset as usize].store(id);
            let prefix = [u32::from_ne_bytes(other_vip(other).octets()), 0, 0, 0];
            let slots = SlotRange { offset, size: 1 };
            rules.push(self.write_service(index, (Family::V4, prefix), Protocol::Tcp, slots, Pick::FlowHash));
        }
        let half = tables.service_buckets.len() / 2;
        let table = builder::build(&rules, &self.loaded.constants().hash_key, half)?;
        table.stage(&tables, 0);
        table.switch(&tables);
        steady::publish_all(&tables);
        Ok(())
    }

    fn write_destination(&self, id: u32, service: u32, (mode, inner): (Mode, Family)) {
        let tables = self.loaded.tables();
        let destination = &tables.destinations[id as usize];
        let [_, b, c, d] = id.to_be_bytes();
        let state = DestinationState {
            generation: 1,
            keeps_flows: true,
            resets_flows: false,
            takes_flows: true,
            mode,
            second_tunnel: false,
            toa: 0,
            service,
        };
        tables.tunnels[tunnel_index(id, state)].set(&TunnelEnds {
            mode,
            family: Family::V4,
            source: [u32::from_ne_bytes([10, 66, 0, 0]), 0, 0, 0],
            varying: 0xffff_u32.to_be(),
            destination: [u32::from_ne_bytes([10, b, c, d]), 0, 0, 0],
            port: 6080,
            inner,
        });
        // IPv4 as an IPv4-mapped address; translation does not look at the other words.
        let address = [0, 0, 0xffff_u32.to_be(), u32::from_ne_bytes([10, b, c, d])];
        destination.set_address(&address, PORT + 1);
        destination.set_next_hop(NextHop { mac: NextHop::mac_word([0x02, 0, 0, b, c, d]), egress: 1 });
        destination.set_state(state);
        tables.scores[id as usize].set_terms(ScoreTerms::of_weight(1, 1));
    }

    fn write_service(
        &self,
        index: u32,
        (family, prefix): (Family, [u32; 4]),
        protocol: Protocol,
        slots: SlotRange,
        pick: Pick,
    ) -> Rule {
        let service = &self.loaded.tables().services[index as usize];
        let prefix_length = if family == Family::V4 { 32 } else { 128 };
        let identity = ServiceIdentity {
            first_port: PORT,
            last_port: PORT,
            protocol: protocol.into(),
            prefix_length,
            family,
            on_no_backend: ON_NO_BACKEND_DROP,
            fragments: FRAGMENTS_DROP,
            quic: 0,
            scheduling: Scheduling { pick, ..Scheduling::default() },
        };
        service.set_identity(&prefix, identity);
        for state in FlowState::ALL {
            service.set_timeout(state, 900 * self.loaded.clock().ticks_per_second());
        }
        service.set_slots(slots);
        Rule {
            index,
            family,
            prefix,
            prefix_length,
            protocol,
            first_port: PORT,
            last_port: PORT,
            hashes_fragments: false,
        }
    }
}

/// The VIP of the services that packets are for, as in memory.
fn vip(family: Family) -> [u32; 4] {
    match family {
        Family::V4 => [u32::from_ne_bytes(VIP4.octets()), 0, 0, 0],
        Family::V6 => {
            let octets = VIP6.octets();
            std::array::from_fn(|i| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| octets[4 * i + byte])))
        }
    }
}

/// The VIP of a service that is only there to be many: its number is in the last two bytes as the driver writes them.
pub(crate) fn other_vip(number: u32) -> Ipv4Addr {
    let [low, high, ..] = number.to_le_bytes();
    Ipv4Addr::new(198, 18, low, high)
}

impl Subject for Evenkeel {
    fn name(&self) -> &str {
        self.name
    }

    fn program(&self) -> Result<ProgramFd> {
        self.loaded.program_fd()
    }

    fn takes(&self, shape: Shape, _: Expected) -> bool {
        self.loaded.constants().features.has_family(if shape.v6 { Family::V6 } else { Family::V4 })
    }

    fn clear_flows(&mut self) -> Result<()> {
        for entry in self.loaded.tables().flows.iter().flat_map(|bucket| &bucket.entries) {
            entry.store(0, FlowWord::EMPTY);
        }
        Ok(())
    }

    fn tally(&self) -> Result<Option<Tally>> {
        let counters = self.loaded.node_counters()?;
        Ok(Some(Tally {
            forwarded: counters.transmitted.packets.get() + counters.redirected.packets.get(),
            inserted: counters.flows_created.get(),
            passed: PassReason::ALL.iter().map(|reason| counters.passed(*reason).get()).sum(),
            dropped: DropReason::ALL.iter().map(|reason| counters.dropped(*reason).get()).sum(),
        }))
    }

    fn flow_entries(&self) -> Option<u64> {
        Some((self.loaded.tables().flows.len() * BUCKET_ENTRIES) as u64)
    }
}
