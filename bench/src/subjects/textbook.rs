//! The textbook balancer, its maps filled for the bench.

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, PerCpuArray},
    programs::ProgramFd,
};
use bench_ebpf::{
    TEXTBOOK_HIT, TEXTBOOK_INSERT, TEXTBOOK_PASS, TEXTBOOK_RING, TextbookBackend, TextbookCounter, TextbookEntry,
    TextbookFlow, TextbookService,
};
use lb_common::{
    schedule::maglev::{self, Member},
    wire::ip::Protocol,
};

use super::{
    evenkeel::other_vip,
    object::{Record, object, program},
    packets::{PORT, Shape, VIP4, VIP6},
    subject::{Expected, Setting, Subject, Tally},
};

/// As many as Evenkeel's services have.
const BACKENDS: u32 = 100;

// SAFETY: plain integers without padding.
unsafe impl Pod for Record<TextbookService> {}
// SAFETY: bytes.
unsafe impl Pod for Record<TextbookBackend> {}
// SAFETY: plain integers without padding.
unsafe impl Pod for Record<TextbookCounter> {}
// SAFETY: plain integers without padding.
unsafe impl Pod for Record<TextbookFlow> {}
// SAFETY: plain integers without padding.
unsafe impl Pod for Record<TextbookEntry> {}

/// The program.
pub(crate) struct Textbook {
    ebpf: Ebpf,
    program: ProgramFd,
    /// Places for flows, of all CPUs together.
    flows: u64,
}

impl Textbook {
    /// Loads it and fills its maps.
    pub(crate) fn load(setting: Setting) -> Result<Self> {
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
        // The kernel divides the elements among the CPUs, and the bench runs on one.
        let flows = (setting.capacity * 4 / 3).next_power_of_two() * cpus as u64;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("TEXTBOOK_FLOWS", flows as u32)
            .map_max_entries("TEXTBOOK_RINGS", TEXTBOOK_RING)
            .load(object()?)?;
        let program = program(&mut ebpf, "textbook")?;
        program.load().context("the kernel refuses the textbook balancer")?;
        let program = program.fd()?.try_clone()?;
        let mut textbook = Self { ebpf, program, flows };
        textbook.fill(setting)?;
        Ok(textbook)
    }

    fn fill(&mut self, setting: Setting) -> Result<()> {
        let members: Vec<Member> = (0..BACKENDS).map(|i| Member { id: u64::from(i), weight: 1 }).collect();
        let mut rings = Array::<_, u32>::try_from(self.map("TEXTBOOK_RINGS")?)?;
        for (slot, member) in (0..).zip(maglev::build(&members, TEXTBOOK_RING)?) {
            rings.set(slot, member, 0)?;
        }
        let mut backends = Array::<_, Record<TextbookBackend>>::try_from(self.map("TEXTBOOK_BACKENDS")?)?;
        for index in 0..BACKENDS {
            let mac = [0x02, 0, 0, 0, 0, index as u8];
            backends.set(index, Record(TextbookBackend { mac, source_mac: [0x02, 0, 0, 0, 0, 0xee] }), 0)?;
        }
        let mut services = HashMap::<_, Record<TextbookService>, u32>::try_from(self.map("TEXTBOOK_SERVICES")?)?;
        let v4 = |address: std::net::Ipv4Addr| [u32::from_ne_bytes(address.octets()), 0, 0, 0];
        let octets = VIP6.octets();
        let v6 = std::array::from_fn(|i| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| octets[4 * i + byte])));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (address, version) in [(v4(VIP4), 4), (v6, 6)] {
                let key = TextbookService { address, port: PORT.to_be(), protocol: protocol as u8, version };
                services.insert(Record(key), 0, 0)?;
            }
        }
        for other in 0..setting.services {
            let protocol = Protocol::Tcp as u8;
            let key = TextbookService { address: v4(other_vip(other)), port: PORT.to_be(), protocol, version: 4 };
            services.insert(Record(key), 0, 0)?;
        }
        Ok(())
    }

    fn map(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the textbook balancer has no map {name}"))
    }
}

impl Subject for Textbook {
    fn name(&self) -> &str {
        "textbook"
    }

    fn program(&self) -> Result<ProgramFd> {
        Ok(self.program.try_clone()?)
    }

    fn takes(&self, _: Shape, expected: Expected) -> bool {
        expected != Expected::Dropped
    }

    /// One by one: the kernel empties no map at once. Else the table would push out flows of the present case, too.
    fn forget_flows(&mut self) -> Result<()> {
        let map = self.ebpf.map_mut("TEXTBOOK_FLOWS").context("the textbook balancer has no flows")?;
        let mut flows = HashMap::<_, Record<TextbookFlow>, Record<TextbookEntry>>::try_from(map)?;
        let keys = flows.keys().collect::<Result<Vec<_>, _>>()?;
        keys.iter().try_for_each(|key| flows.remove(key))?;
        Ok(())
    }

    fn tally(&self) -> Result<Option<Tally>> {
        let map = self.ebpf.map("TEXTBOOK_STATS").context("the textbook balancer has no counters")?;
        let counters = PerCpuArray::<_, Record<TextbookCounter>>::try_from(map)?;
        let sum =
            |index: u32| -> Result<u64> { Ok(counters.get(&index, 0)?.iter().map(|counter| counter.0.packets).sum()) };
        let (hits, inserted) = (sum(TEXTBOOK_HIT)?, sum(TEXTBOOK_INSERT)?);
        Ok(Some(Tally { forwarded: hits + inserted, inserted, passed: sum(TEXTBOOK_PASS)?, dropped: 0 }))
    }

    fn flow_entries(&self) -> Option<u64> {
        Some(self.flows)
    }
}
