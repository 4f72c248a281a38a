//! The program in the kernel, and its maps in our memory.

use std::{
    ops::Range,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, PerCpuArray, xdp::DevMap},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    abi::{
        ClientBucket, Control, Destination, DestinationCounters, Egress, LimitCounters, ListBound, MAX_EGRESS,
        MAX_POOL, NatBucket, NatSlots, NodeCounters, PassiveCounters, PoolAddress, QUIC_PLACES, QuicBucket, QuicRecord,
        ReplyBudget, Score, Service, ServiceBucket, ServiceLimits, Tunnel, Word8, Word32, Word64, map,
    },
    features::Features,
    flow::FlowBucket,
    hash::HashKey,
    memory::{Constants, Sizes, Slices},
    nat::hairpin,
    service::{
        builder,
        filter::{self, FILTER_BYTES},
    },
    steady,
};

use super::{Clock, Pins, attach, grace, migration, object, per_cpu, region::Region};

/// What the program is loaded with.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Sizes of the tables.
    pub sizes: Sizes,
    /// Key of the flow hash.
    pub hash_key: HashKey,
    /// When the first fragment of a datagram is forgotten.
    pub fragment_timeout: Duration,
    /// Where the maps are pinned; `None`: they end with this value.
    pub pins: Option<Pins>,
    /// What the program has in it; [`Loaded::specialise`] changes it.
    pub features: Features,
    /// Whether the flow table may be written through [`Loaded::tables`]: for tests.
    pub flows_writable: bool,
    /// For a caller that takes programs for one buffer only (a tail call among them has to agree in that).
    pub one_buffer: bool,
}

/// The loaded program.
#[derive(Debug)]
pub struct Loaded {
    ebpf: Ebpf,
    options: LoadOptions,
    /// The interfaces that the program is attached to.
    ingress: Vec<u32>,
    pub(super) settling: migration::Settling,
    constants: Constants,
    clock: Clock,
    cpus: usize,
    control: Region<Control>,
    /// What the program has, or gets with [`Loaded::publish_filter`].
    vip_filter: Vec<Word8>,
    service_buckets: Region<ServiceBucket>,
    services: Region<Service>,
    slots: Region<Word32>,
    destinations: Region<Destination>,
    tunnels: Region<Tunnel>,
    egress: Region<Egress>,
    flows: Region<FlowBucket>,
    nat_buckets: Region<NatBucket>,
    nat_slots: Region<NatSlots>,
    nat_pool: Region<PoolAddress>,
    backend_set: Region<Word64>,
    fragments: Region<FlowBucket>,
    quic_configurations: Region<QuicRecord>,
    quic_servers: Region<QuicBucket>,
    scores: Region<Score>,
    limits: Region<ServiceLimits>,
    list_bounds: Region<ListBound>,
    clients: Region<ClientBucket>,
}

impl LoadOptions {
    /// Entries of each map whose size is not fixed.
    pub(super) fn entries(&self) -> [(&'static str, u32); 19] {
        let sizes = &self.sizes;
        [
            (map::SERVICE_BUCKETS, sizes.service_buckets as u32),
            (map::SERVICES, sizes.services as u32),
            (map::SLOTS, sizes.slots.div_ceil(2) as u32),
            (map::DESTINATIONS, sizes.destinations as u32),
            (map::TUNNELS, 2 * sizes.destinations as u32),
            (map::DESTINATION_COUNTERS, sizes.destinations as u32),
            (map::PASSIVE_COUNTERS, sizes.destinations as u32),
            (map::FLOWS, sizes.flow_buckets as u32),
            (map::NAT_BUCKETS, sizes.nat_buckets as u32),
            (map::NAT_SLOTS, sizes.nat_buckets as u32),
            (map::BACKEND_SET, hairpin::size_for(sizes.destinations) as u32),
            (map::FRAGMENTS, sizes.fragment_buckets as u32),
            (map::QUIC_SERVERS, sizes.quic_buckets as u32),
            (map::SCORES, sizes.destinations as u32),
            (map::TURNS, sizes.services as u32),
            (map::LIMITS, sizes.services as u32),
            (map::LIST_BOUNDS, sizes.list_bounds as u32),
            (map::CLIENTS, sizes.client_buckets as u32),
            (map::LIMIT_COUNTERS, sizes.services as u32),
        ]
    }
}

impl Loaded {
    /// Loads the program; adopts maps that are pinned already, which [`Pins::check`] has to have compared. A flow table of
    /// another size stays beside a new one until [`Self::adopt_flows`].
    ///
    /// # Errors
    ///
    /// What the kernel refuses, with the verifier's log.
    pub fn load(options: &LoadOptions) -> Result<Self> {
        let options = &LoadOptions { features: possible(options.features), ..options.clone() };
        let clock = Clock::of_this_kernel()?;
        let ebpf = load_object(options, clock)?;
        let sizes = &options.sizes;
        let mut loaded = Self {
            control: region(&ebpf, map::CONTROL, 1, true)?,
            vip_filter: std::iter::repeat_with(Word8::default).take(FILTER_BYTES).collect(),
            service_buckets: region(&ebpf, map::SERVICE_BUCKETS, sizes.service_buckets, true)?,
            services: region(&ebpf, map::SERVICES, sizes.services, true)?,
            slots: region(&ebpf, map::SLOTS, sizes.slots, true)?,
            destinations: region(&ebpf, map::DESTINATIONS, sizes.destinations, true)?,
            tunnels: region(&ebpf, map::TUNNELS, 2 * sizes.destinations, true)?,
            egress: region(&ebpf, map::EGRESS, MAX_EGRESS as usize, true)?,
            flows: region(&ebpf, map::FLOWS, sizes.flow_buckets, options.flows_writable)?,
            nat_buckets: region(&ebpf, map::NAT_BUCKETS, sizes.nat_buckets, options.flows_writable)?,
            nat_slots: region(&ebpf, map::NAT_SLOTS, sizes.nat_buckets, options.flows_writable)?,
            nat_pool: region(&ebpf, map::NAT_POOL, 2 * MAX_POOL as usize, true)?,
            backend_set: region(&ebpf, map::BACKEND_SET, hairpin::size_for(sizes.destinations), true)?,
            fragments: region(&ebpf, map::FRAGMENTS, sizes.fragment_buckets, options.flows_writable)?,
            quic_configurations: region(&ebpf, map::QUIC_CONFIGURATIONS, QUIC_PLACES as usize, true)?,
            quic_servers: region(&ebpf, map::QUIC_SERVERS, sizes.quic_buckets, true)?,
            scores: region(&ebpf, map::SCORES, sizes.destinations, true)?,
            limits: region(&ebpf, map::LIMITS, sizes.services, true)?,
            list_bounds: region(&ebpf, map::LIST_BOUNDS, sizes.list_bounds, true)?,
            clients: region(&ebpf, map::CLIENTS, sizes.client_buckets, options.flows_writable)?,
            constants: Constants {
                hash_key: options.hash_key,
                ticks_per_second: clock.ticks_per_second(),
                fragment_timeout: clock.ticks(options.fragment_timeout),
                features: options.features,
            },
            clock,
            cpus: per_cpu::cpus()?,
            options: options.clone(),
            ingress: Vec::new(),
            settling: migration::Settling::default(),
            ebpf,
        };
        // Services that were adopted are let through before the program is attached.
        filter::admit(&loaded.vip_filter, loaded.services.records());
        filter::refresh_backends(&loaded.vip_filter, loaded.destinations.records());
        hairpin::refresh(&loaded.tables(), &loaded.constants);
        loaded.publish_filter().context("the filter of VIPs cannot be written")?;
        // Whoever wrote the tables may have been stopped before.
        builder::relist(&loaded.tables());
        steady::publish_all(&loaded.tables());
        Ok(loaded)
    }

    /// Replaces the program by one with exactly these features, over the same tables and in all links, each in one step.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it: the program before stays in force. Without pins there is nothing that two programs could
    /// share.
    pub fn specialise(&mut self, features: Features) -> Result<()> {
        let pins = self.options.pins.clone().context("tables that are not pinned have one program only")?;
        let options = LoadOptions { features, ..self.options.clone() };
        let before = std::mem::replace(&mut self.ebpf, load_object(&options, self.clock)?);
        let replaced = self.publish_filter().and_then(|()| attach::replace_all(self, &pins));
        if let Err(error) = replaced {
            self.ebpf = before;
            // Only the program that this value holds gets a new filter.
            attach::replace_all(self, &pins).context("the program before cannot be put back")?;
            return Err(error.context("the program cannot be replaced by one with other features"));
        }
        self.options = options;
        self.constants.features = features;
        tracing::info!(features = features.names().collect::<Vec<_>>().join(" "), "program specialised");
        // Packets that the old program has begun may not meet what it cannot serve.
        grace::wait()
    }

    /// Sees to it that the program has these features, as far as this kernel can, besides those that it has.
    ///
    /// # Errors
    ///
    /// As [`Self::specialise`].
    pub fn require(&mut self, features: Features) -> Result<()> {
        let (present, wanted) = (self.constants.features, possible(features));
        if present.has(wanted) { Ok(()) } else { self.specialise(present.with(wanted)) }
    }

    /// The interfaces that packets come from.
    #[must_use]
    pub fn ingress(&self) -> &[u32] {
        &self.ingress
    }

    /// Says which interfaces packets come from. With several the program needs [`Features::REDIRECT`].
    pub fn set_ingress(&mut self, ingress: Vec<u32>) {
        self.ingress = ingress;
    }

    pub(super) fn ebpf(&self) -> &Ebpf {
        &self.ebpf
    }

    /// The tables: the kernel's own memory.
    #[must_use]
    pub fn tables(&self) -> Slices<'_> {
        Slices {
            control: &self.control.records()[0],
            vip_filter: &self.vip_filter,
            service_buckets: self.service_buckets.records(),
            services: self.services.records(),
            slots: self.slots.records(),
            destinations: self.destinations.records(),
            tunnels: self.tunnels.records(),
            egress: self.egress.records(),
            flows: self.flows.records(),
            nat_buckets: self.nat_buckets.records(),
            nat_slots: self.nat_slots.records(),
            nat_pool: self.nat_pool.records(),
            backend_set: self.backend_set.records(),
            fragments: self.fragments.records(),
            quic_configurations: self.quic_configurations.records(),
            quic_servers: self.quic_servers.records(),
            scores: self.scores.records(),
            limits: self.limits.records(),
            list_bounds: self.list_bounds.records(),
            clients: self.clients.records(),
        }
    }

    /// The read-only globals that the program was loaded with.
    #[must_use]
    pub fn constants(&self) -> Constants {
        self.constants
    }

    /// How ticks and time relate.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The data path's present tick.
    ///
    /// # Errors
    ///
    /// If the kernel does not run the program.
    pub fn now(&self) -> Result<u32> {
        let options = TestRunOptions { data_in: Some(&[0; 64]), ..TestRunOptions::new() };
        Ok(program(&self.ebpf, object::CLOCK)?.test_run(options)?.return_value)
    }

    /// Runs the balancer over a packet of at least 14 bytes, as if it had come from an interface of this network namespace;
    /// `None`: from its loopback. Returns the XDP action and the packet afterwards.
    ///
    /// # Errors
    ///
    /// If the kernel does not run the program.
    pub fn run(&self, packet: &[u8], ingress: Option<u32>) -> Result<(u32, Vec<u8>)> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let words = [0, packet.len() as u32, 0, ingress.unwrap_or(0), 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut out = vec![0; packet.len() + 256];
        let result = program(&self.ebpf, object::PROGRAM)?.test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ctx_in: ingress.map(|_| context.as_slice()),
            ..TestRunOptions::new()
        })?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }

    /// Hands the filter of VIPs to the program.
    ///
    /// # Errors
    ///
    /// If the map cannot be written.
    pub fn publish_filter(&mut self) -> Result<()> {
        let bytes: Vec<u8> = self.vip_filter.iter().map(Word8::load).collect();
        let bytes: Box<[u8; FILTER_BYTES]> = bytes.into_boxed_slice().try_into().map_err(|_| anyhow!("its size"))?;
        let map = self.ebpf.map_mut(map::VIP_FILTER).context("the object has no filter of VIPs")?;
        Ok(Array::<_, [u8; FILTER_BYTES]>::try_from(map)?.set(0, *bytes, 0)?)
    }

    /// Names the device behind an egress index.
    ///
    /// # Errors
    ///
    /// If there is no such device.
    pub fn set_device(&mut self, egress: u32, ifindex: u32) -> Result<()> {
        let map = self.ebpf.map_mut(map::EGRESS_DEVICES).context("the object has no device map")?;
        let mut devices = DevMap::try_from(map)?;
        devices
            .set(egress, ifindex, None, 0)
            .with_context(|| format!("interface index {ifindex} cannot be redirected to"))
    }

    /// The node's counters, summed over CPUs and destinations.
    ///
    /// # Errors
    ///
    /// If a map cannot be read.
    pub fn node_counters(&self) -> Result<NodeCounters> {
        let sum = self.own_counters()?;
        let records = self.destinations.records();
        // Most ids of a large table were never given away, and ids are given away from the first.
        let used =
            records.iter().rposition(|destination| destination.state().generation != 0).map_or(0, |last| last + 1);
        self.add_sent(&sum, used as u32)?;
        Ok(sum)
    }

    /// What went to no destination, summed over CPUs.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn own_counters(&self) -> Result<NodeCounters> {
        let sum = NodeCounters::default();
        self.read_per_cpu(map::NODE_COUNTERS, 0..1, |_, words| sum.add_words(words))?;
        Ok(sum)
    }

    /// Adds what the destinations below an id were sent.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn add_sent(&self, sum: &NodeCounters, end: u32) -> Result<()> {
        let sent = DestinationCounters::default();
        self.read_per_cpu(map::DESTINATION_COUNTERS, 0..end, |_, words| sent.add_words(words))?;
        sum.add_sent(&sent);
        Ok(())
    }

    /// The counters of a destination, summed over CPUs.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn destination_counters(&self, id: u32) -> Result<DestinationCounters> {
        let sum = DestinationCounters::default();
        self.read_per_cpu(map::DESTINATION_COUNTERS, id..id + 1, |_, words| sum.add_words(words))?;
        Ok(sum)
    }

    /// What was seen of a destination's connections, summed over CPUs, since the table was made.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn passive_counters(&self, id: u32) -> Result<PassiveCounters> {
        let sum = PassiveCounters::default();
        self.read_per_cpu(map::PASSIVE_COUNTERS, id..id + 1, |_, words| sum.add_words(words))?;
        Ok(sum)
    }

    /// What was refused of services below an index, summed over CPUs.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn limit_counters(&self, services: Range<u32>) -> Result<Vec<LimitCounters>> {
        let sums: Vec<LimitCounters> = services.clone().map(|_| LimitCounters::default()).collect();
        let first = services.start;
        self.read_per_cpu(map::LIMIT_COUNTERS, services, |service, words| {
            sums[(service - first) as usize].add_words(words);
        })?;
        Ok(sums)
    }

    /// Lets the counters of a service's limits begin anew.
    ///
    /// # Errors
    ///
    /// If the map cannot be written.
    pub fn renew_limit_counters(&mut self, service: u32) -> Result<()> {
        set_per_cpu(&mut self.ebpf, map::LIMIT_COUNTERS, service, [0; LimitCounters::WORDS], self.cpus)
    }

    fn read_per_cpu<const N: usize>(
        &self,
        name: &str,
        places: Range<u32>,
        each: impl FnMut(u32, &[u64; N]),
    ) -> Result<()> {
        let fd = match self.ebpf.map(name) {
            Some(Map::PerCpuArray(data)) => data.fd().as_fd(),
            _ => bail!("the object has no per-CPU array {name}"),
        };
        per_cpu::read(fd, self.cpus, places, each)
    }

    /// Lets the counters of a destination begin anew before its id is given to another backend, and while no packet goes there.
    ///
    /// # Errors
    ///
    /// If the map cannot be read or written.
    pub fn renew_destination_counters(&mut self, id: u32) -> Result<()> {
        let mut array = per_cpu_mut::<{ DestinationCounters::WORDS }>(&mut self.ebpf, map::DESTINATION_COUNTERS)?;
        let renewed: Vec<_> = array.get(&id, 0)?.iter().map(|words| DestinationCounters::renew(*words)).collect();
        Ok(array.set(id, renewed.try_into()?, 0)?)
    }

    /// Each CPU's budget for replies.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn reply_budgets(&self) -> Result<Vec<ReplyBudget>> {
        let mut budgets = Vec::new();
        self.read_per_cpu(map::REPLY_BUDGET, 0..1, |_, [tokens, refilled]: &[u64; ReplyBudget::WORDS]| {
            let budget = ReplyBudget::default();
            budget.set(*tokens, *refilled);
            budgets.push(budget);
        })?;
        Ok(budgets)
    }

    /// Gives every CPU the same budget for replies: for tests.
    ///
    /// # Errors
    ///
    /// If the map cannot be written.
    pub fn set_reply_budgets(&mut self, budget: &ReplyBudget) -> Result<()> {
        let words: [u64; ReplyBudget::WORDS] = [budget.tokens.get(), budget.refilled.get()];
        set_per_cpu(&mut self.ebpf, map::REPLY_BUDGET, 0, words, self.cpus)
    }

    /// The balancer's program, for programs that call it.
    ///
    /// # Errors
    ///
    /// If there are no more file descriptors.
    pub fn program_fd(&self) -> Result<ProgramFd> {
        Ok(program(&self.ebpf, object::PROGRAM)?.fd()?.try_clone()?)
    }
}

impl attach::Attachable for Loaded {
    fn xdp(&mut self) -> Result<&mut Xdp> {
        program_mut(&mut self.ebpf, object::PROGRAM)
    }
}

/// These features without those that this kernel lacks.
fn possible(features: Features) -> Features {
    if object::takes_long_frames() { features } else { features.without(Features::LONG_FRAMES) }
}

fn load_object(options: &LoadOptions, clock: Clock) -> Result<Ebpf> {
    ensure!(options.sizes.flow_buckets.is_power_of_two(), "the flow table's buckets are not a power of two");
    ensure!(options.sizes.nat_buckets.is_power_of_two(), "the buckets of translated flows are not a power of two");
    let backend_mask = hairpin::size_for(options.sizes.destinations) as u32 - 1;
    let (mask, nat_mask) = (options.sizes.flow_buckets as u32 - 1, options.sizes.nat_buckets as u32 - 1);
    ensure!(
        options.sizes.fragment_buckets.is_power_of_two(),
        "the buckets of the table of fragments are not a power of two"
    );
    let fragment_mask = options.sizes.fragment_buckets as u32 - 1;
    ensure!(
        options.sizes.quic_buckets.is_power_of_two(),
        "the buckets of the table of server ids are not a power of two"
    );
    let quic_mask = options.sizes.quic_buckets as u32 - 1;
    ensure!(
        options.sizes.client_buckets.is_power_of_two(),
        "the buckets of the table of client prefixes are not a power of two"
    );
    let client_mask = options.sizes.client_buckets as u32 - 1;
    let fragment_timeout = clock.ticks(options.fragment_timeout);
    let ticks_per_second = clock.ticks_per_second();
    let features = options.features.bits();
    let mut loader = EbpfLoader::new();
    loader
        .override_global("HASH_KEY", &options.hash_key, true)
        .override_global("FEATURES", &features, true)
        .override_global("FLOW_MASK", &mask, true)
        .override_global("NAT_MASK", &nat_mask, true)
        .override_global("BACKEND_MASK", &backend_mask, true)
        .override_global("FRAGMENT_MASK", &fragment_mask, true)
        .override_global("QUIC_MASK", &quic_mask, true)
        .override_global("CLIENT_MASK", &client_mask, true)
        .override_global("FRAGMENT_TIMEOUT", &fragment_timeout, true)
        .override_global("TICK_SHIFT", &clock.shift, true)
        .override_global("TICKS_PER_SECOND", &ticks_per_second, true);
    for (name, entries) in options.entries() {
        loader.map_max_entries(name, entries);
    }
    if let Some(pins) = &options.pins {
        for name in Pins::MAPS {
            loader.map_pin_path(name, pins.map(name));
        }
        loader.map_pin_path(map::FLOWS, migration::place(pins, options.sizes.flow_buckets)?);
    }
    let object = object::balancer(object::takes_long_frames() && !options.one_buffer)?;
    let mut ebpf =
        loader.load(&object).context("the maps cannot be created; is this running as root, with CAP_BPF?")?;
    for name in [object::PROGRAM, object::CLOCK] {
        program_mut(&mut ebpf, name)?.load().with_context(|| format!("the kernel refuses program {name}"))?;
    }
    Ok(ebpf)
}

pub(super) fn program<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    let program = ebpf.program(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

pub(super) fn program_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

fn per_cpu_mut<'a, const N: usize>(ebpf: &'a mut Ebpf, name: &str) -> Result<PerCpuArray<&'a mut MapData, [u64; N]>> {
    let map = ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
    Ok(map.try_into()?)
}

/// Writes the same record for every CPU.
fn set_per_cpu<const N: usize>(ebpf: &mut Ebpf, name: &str, index: u32, words: [u64; N], cpus: usize) -> Result<()> {
    let mut array = per_cpu_mut(ebpf, name)?;
    array.set(index, vec![words; cpus].try_into()?, 0)?;
    Ok(())
}

pub(super) fn region<T: super::region::Record>(
    ebpf: &Ebpf,
    name: &str,
    len: usize,
    writable: bool,
) -> Result<Region<T>> {
    let fd = array_fd(ebpf, name)?;
    Region::map(fd, len, writable).with_context(|| format!("map {name} cannot be mapped into memory"))
}

fn array_fd<'a>(ebpf: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data.fd().as_fd()),
        Some(_) => bail!("map {name} is no array"),
        None => bail!("the object has no map {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_loads_and_tells_the_time() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let sizes = Sizes {
            service_buckets: 64,
            services: 16,
            slots: 1024,
            destinations: 16,
            flow_buckets: 1024,
            nat_buckets: 64,
            fragment_buckets: 64,
            quic_buckets: 64,
            list_bounds: 64,
            client_buckets: 64,
        };
        let options = LoadOptions {
            sizes,
            hash_key: [3; 20],
            fragment_timeout: Duration::from_secs(30),
            pins: None,
            features: Features::ALL,
            flows_writable: true,
            one_buffer: false,
        };
        let loaded = Loaded::load(&options).expect("the verifier takes the program");
        let info = program(&loaded.ebpf, object::PROGRAM).and_then(|program| Ok(program.info()?)).expect("readable");
        let verified = info.verified_instruction_count().expect("kernels from 5.16 on count");
        println!("with everything on: {verified} instructions verified");
        // The kernel gives up at a million, and other kernels prune less.
        assert!(verified < 300_000, "{verified} instructions");
        assert_ne!(loaded.now().expect("runs"), 0);
        let arp = [&[0xff; 12][..], &[0x08, 0x06], &[0; 46]].concat();
        let (action, out) = loaded.run(&arp, None).expect("runs");
        assert_eq!((action, out), (2, arp));
        let counters = loaded.node_counters().expect("readable");
        assert_eq!(counters.passed(lb_common::verdict::PassReason::NotIp).get(), 1);
    }
}
