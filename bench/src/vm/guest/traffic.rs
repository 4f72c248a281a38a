//! Packets of known flows at one end of the stage, a counter at the other.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, xdp::XdpMode},
};
use bench_ebpf::{Plan, SINK_SPAN, SINK_STAMPS, TEMPLATE_BYTES};
use nix::{
    net::if_::if_nametoindex,
    sched::sched_yield,
    time::{ClockId, clock_gettime},
};

use super::stage::{CLIENT, PORT, SERVER, Stage, VIP};
use crate::subjects::object::{Record, object, program};

/// Different flows, a power of two; every span has each of them once.
pub(super) const FLOWS: u32 = SINK_SPAN as u32;
/// Bytes of a frame, as short as Ethernet allows (with its checksum, which veth has not).
const LENGTH: usize = 64;
/// Bytes that the generator takes off the front of what it is given. A tunnel's header then fits without taking from the
/// room that XDP wants in front of a packet: the sink would have to copy it, which is not the balancer's doing.
const ROOM: usize = 32;
/// Frames that the kernel hands over at once.
const BATCH: u32 = 64;
/// Source of all packets: the generator leaves the last two bytes 0, as all flows differ in their ports.
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 0);
/// How long packets may be under way, instructions: they are there when the generator has ended, or never.
const UNDER_WAY: u64 = 20_000_000;

/// Generator and sink of a stage.
pub(super) struct Traffic<'a> {
    stage: &'a Stage,
    ebpf: Ebpf,
}

impl<'a> Traffic<'a> {
    /// Attaches both.
    pub(super) fn on(stage: &'a Stage) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(object()?)?;
        let plan = plan(&frame(stage.client_mac, stage.first_hop));
        let map = ebpf.map_mut("PLAN").context("the generator has no map PLAN")?;
        Array::<_, Record<Plan>>::try_from(map)?.set(0, Record(plan), 0)?;
        program(&mut ebpf, "generator")?.load().context("the kernel refuses the generator")?;
        // The kernel lets frames come from an interface only if that has an XDP program.
        let pass = program(&mut ebpf, "pass")?;
        pass.load()?;
        stage.client.enter(|| pass.attach(CLIENT, XdpMode::Driver))??;
        let sink = program(&mut ebpf, "timed_sink")?;
        sink.load().context("the kernel refuses the sink")?;
        stage.server.enter(|| sink.attach(SERVER, XdpMode::Driver))??;
        Ok(Self { stage, ebpf })
    }

    /// Sends `spans` times [`SINK_SPAN`] packets, each flow as often as any other. Returns the instructions for a packet
    /// in each span but the first, from the arrival of the span before to its own.
    ///
    /// # Errors
    ///
    /// If a packet is lost or doubled.
    pub(super) fn send(&mut self, spans: u32) -> Result<Vec<f64>> {
        ensure!(spans <= SINK_STAMPS, "the sink has room for {SINK_STAMPS} spans");
        let map = self.ebpf.map_mut("SUNK").context("the sink has no counter")?;
        Array::<_, u64>::try_from(map)?.set(0, 0, 0)?;
        let client = &self.stage.client;
        client.enter(|| self.send_inside(spans * SINK_SPAN as u32))??;
        let map = self.ebpf.map("STAMPS").context("the sink has no stamps")?;
        let map = Array::<_, u64>::try_from(map)?;
        let stamps = (0..spans).map(|i| map.get(&i, 0)).collect::<Result<Vec<_>, _>>()?;
        Ok(stamps.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / SINK_SPAN as f64).collect())
    }

    fn send_inside(&mut self, packets: u32) -> Result<()> {
        let context = context((ROOM + LENGTH) as u32, if_nametoindex(CLIENT)?);
        let given = [0; ROOM + LENGTH];
        let options = TestRunOptions {
            data_in: Some(&given),
            ctx_in: Some(&context),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        program(&mut self.ebpf, "generator")?.test_run(options)?;
        let start = instructions()?;
        while self.arrived()? < u64::from(packets) && instructions()? - start < UNDER_WAY {
            sched_yield()?;
        }
        let arrived = self.arrived()?;
        ensure!(arrived == u64::from(packets), "{arrived} of {packets} packets arrived");
        Ok(())
    }

    fn arrived(&self) -> Result<u64> {
        let map = self.ebpf.map("SUNK").context("the sink has no counter")?;
        Ok(Array::<_, u64>::try_from(map)?.get(&0, 0)?)
    }
}

/// The packets of a stage, for the bench's driver: how they are made, and the first.
pub(super) fn packets(stage: &Stage) -> (Plan, Vec<u8>) {
    let frame = frame(stage.client_mac, stage.first_hop);
    (plan(&frame), frame.to_vec())
}

/// The guest's clock: a nanosecond is an instruction.
fn instructions() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// `struct xdp_md` for packets from an interface: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
/// egress_ifindex.
fn context(length: u32, ingress: u32) -> Vec<u8> {
    [0, length, 0, ingress, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// A UDP packet to the service, without UDP checksum.
fn frame(from: [u8; 6], to: [u8; 6]) -> [u8; LENGTH] {
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&(LENGTH as u16 - 14).to_be_bytes());
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = 17;
    ip[12..16].copy_from_slice(&SOURCE.octets());
    ip[16..].copy_from_slice(&VIP.octets());
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    let mut frame = [0; LENGTH];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[12] = 0x08;
    frame[14..34].copy_from_slice(&ip);
    frame[36..38].copy_from_slice(&PORT.to_be_bytes());
    frame[38..40].copy_from_slice(&(LENGTH as u16 - 34).to_be_bytes());
    frame
}

fn plan(frame: &[u8; LENGTH]) -> Plan {
    let mut template = [0; TEMPLATE_BYTES / 8];
    for (word, bytes) in template.iter_mut().zip(frame.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    Plan { template, length: LENGTH as u64, version: 4, flow_mask: FLOWS - 1, restore_tail: 0, service_mask: 0 }
}

#[cfg(test)]
mod tests {
    use lb_common::{features::Features, memory::Packet, parse, wire::ip::Protocol};

    use super::*;

    #[test]
    fn the_frame_is_a_packet_of_the_service_that_every_stack_takes() {
        let frame = frame([1; 6], [2; 6]);
        let sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the header's checksum");
        let mut parsed = parse::Parsed::new();
        parse::parse(Features::ALL, &Packet::new(frame.to_vec()), &mut parsed).expect("a whole packet");
        assert_eq!((parsed.protocol, parsed.destination_port), (Protocol::Udp, PORT));
        let plan = plan(&frame);
        assert_eq!(plan.template[0].to_ne_bytes(), frame[..8]);
        assert_eq!(plan.template[7].to_ne_bytes(), frame[56..]);
    }
}
