//! Sends live frames out of a veth.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions},
};
use bench_ebpf::{Plan, Progress};
use evenkeel_tests::namespace::Namespace;

use crate::subjects::object::{Record, object, program};

/// Frames that are sent at once, as many as a driver polls for.
const BATCH: u32 = 64;

/// How long a repetition should take: the kernel ends a run on its tick, which must not matter.
const REPETITION: Duration = Duration::from_millis(330);

/// A generator on a device.
pub(super) struct Generator {
    ebpf: Ebpf,
    interface: u32,
    packet: Vec<u8>,
}

impl Generator {
    /// Loads it. The device must have an XDP program, or GRO: without either the kernel has no receive queue to lend.
    pub(super) fn load(interface: u32, plan: Plan, packet: Vec<u8>) -> Result<Self> {
        let mut ebpf =
            EbpfLoader::new().load(object()?).context("the bench's maps cannot be created; is this root?")?;
        program(&mut ebpf, "generator")?.load().context("the kernel refuses the generator")?;
        let mut generator = Self { ebpf, interface, packet: Vec::new() };
        generator.set_plan(plan, packet)?;
        Ok(generator)
    }

    /// Chooses the packets.
    pub(super) fn set_plan(&mut self, plan: Plan, packet: Vec<u8>) -> Result<()> {
        let map = self.ebpf.map_mut("PLAN").context("the generator has no map PLAN")?;
        Array::<_, Record<Plan>>::try_from(map)?.set(0, Record(plan), 0)?;
        self.packet = packet;
        Ok(())
    }

    /// Sends so many packets from the namespace of its device. Returns how long it took.
    pub(super) fn send(&mut self, from: &Namespace, packets: u32) -> Result<Duration> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let words = [0, self.packet.len() as u32, 0, self.interface, 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let before = self.made()?;
        let program = program(&mut self.ebpf, "generator")?;
        let packet = &self.packet;
        let elapsed = from.enter(|| -> Result<Duration> {
            let start = Instant::now();
            program.test_run(TestRunOptions {
                data_in: Some(packet),
                ctx_in: Some(&context),
                repeat: packets,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            })?;
            Ok(start.elapsed())
        })??;
        let made = self.made()? - before;
        ensure!(made == u64::from(packets), "the generator made {made} of {packets} packets");
        Ok(elapsed)
    }

    fn made(&self) -> Result<u64> {
        let map = self.ebpf.map("PROGRESS").context("the generator has no map PROGRESS")?;
        Ok(Array::<_, Record<Progress>>::try_from(map)?.get(&0, 0)?.0.packets)
    }
}

/// How many packets a repetition needs, if so many took so long.
pub(super) fn packets_for_a_repetition(packets: u32, took: Duration) -> u32 {
    let wanted = f64::from(packets) * REPETITION.as_secs_f64() / took.as_secs_f64().max(1e-3);
    wanted.clamp(f64::from(1 << 16), f64::from(1 << 23)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_takes_its_time_at_the_same_pace() {
        assert_eq!(packets_for_a_repetition(1_000_000, Duration::from_millis(165)), 2_000_000);
        assert_eq!(packets_for_a_repetition(1_000_000, Duration::from_secs(100)), 1 << 16);
        assert_eq!(packets_for_a_repetition(1_000_000, Duration::ZERO), 1 << 23);
    }
}
