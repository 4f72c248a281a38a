//! What it costs to read the server id of a QUIC connection id, in each way that QUIC-LB has.

use anyhow::{Context, Result, ensure};
use aya::{Ebpf, EbpfLoader, maps::Array, programs::ProgramFd};
use bench_ebpf::{Plan, QUIC_PAYLOAD, TEMPLATE_BYTES};
use lb_common::quic::{
    Parameters, QuicLb, ServerId,
    configuration::{MAX_BLOCK, MAX_SERVER_ID, MIN_NONCE},
    encode::{Encoder, LowBits},
    octets::Octets,
};

use crate::{
    data_path::Driver,
    figure::{Figure, Name},
    section::{Run, Section},
    subjects::{
        object::{Record, object, program},
        packets::Shape,
    },
};

/// The section.
pub(crate) const SECTION: Section =
    Section { name: "quic", about: "nanoseconds a packet to read a server id, by kind of connection id", run };

const PROGRAM: &str = "quic_route";
/// Bytes of a packet.
const LENGTH: u32 = 128;
/// Packets of a lap.
const PACKETS: u32 = 1 << 18;

/// One kind of connection id. The first is of no configuration: all the others do is what they take beyond it.
const KINDS: [Kind; 5] = [
    Kind { name: "unknown", server_id: 8, nonce: 8, encrypted: false, routed: false },
    Kind { name: "plain", server_id: 8, nonce: 8, encrypted: false, routed: true },
    Kind { name: "single-pass", server_id: 8, nonce: 8, encrypted: true, routed: true },
    Kind { name: "four-pass-3-undone", server_id: 4, nonce: 6, encrypted: true, routed: true },
    Kind { name: "four-pass-4-undone", server_id: 10, nonce: 5, encrypted: true, routed: true },
];

/// XDP actions.
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

struct Kind {
    name: &'static str,
    server_id: u8,
    nonce: u8,
    encrypted: bool,
    /// Whether the program knows the configuration.
    routed: bool,
}

impl Kind {
    fn parameters(&self, id: u8) -> Parameters {
        let key = self.encrypted.then_some(*b"key of the bench");
        Parameters { id, server_id_length: self.server_id, nonce_length: self.nonce, key }
    }

    fn server_id(&self) -> Vec<u8> {
        (0xa1..).take(usize::from(self.server_id)).collect()
    }

    /// A datagram with a short header.
    fn packet(&self, id: u8) -> Result<Vec<u8>> {
        let nonce: Vec<u8> = (0x11..).take(usize::from(self.nonce)).collect();
        let encoder = Encoder::new(&self.parameters(id))?;
        let octets = encoder.connection_id(&self.server_id(), &nonce, LowBits::Length)?;
        let mut packet = Shape { length: LENGTH, ..Shape::UDP4 }.bytes(0);
        let payload = &mut packet[QUIC_PAYLOAD..];
        payload.fill(0x5a);
        payload[0] = 0x43;
        payload[1..=octets.len()].copy_from_slice(&octets);
        Ok(packet)
    }
}

fn run(run: &Run) -> Result<Vec<Figure>> {
    let mut reader = Reader::load()?;
    let mut driver = Driver::load()?;
    driver.set_program(&reader.program)?;
    run.progress("every length that there is: is it read right");
    check_lengths(&mut reader, &mut driver)?;
    reader.set_kinds()?;
    let mut samples = KINDS.map(|_| Vec::new());
    run.progress("every kind of connection id in turn");
    for _ in 0..=run.repetitions() {
        for ((kind, id), samples) in KINDS.iter().zip(0..).zip(&mut samples) {
            let packet = kind.packet(id)?;
            driver.set_plan(plan(&packet), packet)?;
            reader.forget()?;
            let lap = driver.run(PACKETS)?;
            let expected = if kind.routed { XDP_TX } else { XDP_PASS };
            ensure!(lap.action == expected, "{}: XDP action {}", kind.name, lap.action);
            if kind.routed {
                let found = reader.found()?;
                ensure!(Some(found) == ServerId::from_slice(&kind.server_id()), "{}: read {found:x?}", kind.name);
            }
            samples.push(lap.nanoseconds);
        }
    }
    let mut figures = Vec::new();
    // The first lap of each warms up.
    let base = samples[0][1..].iter().copied().fold(f64::INFINITY, f64::min);
    for (kind, samples) in KINDS.iter().zip(&samples) {
        let name = |quantity| Name { section: SECTION.name, case: kind.name, subject: PROGRAM, quantity, flows: None };
        figures.push(Figure::of(name("raw"), "ns", &samples[1..]));
        if kind.routed {
            let net: Vec<f64> = samples[1..].iter().map(|raw| raw - base).collect();
            figures.push(Figure::of(name("net"), "ns", &net));
        }
        // With the driver, as all ratios of the data path have it.
        let ratios: Vec<f64> = samples[1..].iter().map(|raw| raw / base).collect();
        figures.push(Figure::of(name("of-unknown"), "", &ratios));
    }
    figures.extend(reader.sizes()?);
    Ok(figures)
}

/// The kernel must read what the encoder made, whatever the lengths: their tests know only the compiler for this machine.
fn check_lengths(reader: &mut Reader, driver: &mut Driver) -> Result<()> {
    for encrypted in [false, true] {
        for server_id in 1..=MAX_SERVER_ID {
            for nonce in MIN_NONCE..=MAX_BLOCK - server_id {
                let kind = Kind { name: "any", server_id, nonce, encrypted, routed: true };
                reader.set(&kind, 0)?;
                let packet = kind.packet(0)?;
                driver.set_plan(plan(&packet), packet)?;
                driver.run(1)?;
                let found = reader.found()?;
                let right = Some(found) == ServerId::from_slice(&kind.server_id());
                ensure!(right, "{server_id} + {nonce} octets, encrypted: {encrypted}: read {found:x?}");
            }
        }
    }
    Ok(())
}

/// The program, loaded.
struct Reader {
    ebpf: Ebpf,
    program: ProgramFd,
}

impl Reader {
    fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(object()?)?;
        let route = program(&mut ebpf, PROGRAM)?;
        route.load().with_context(|| format!("the kernel refuses {PROGRAM}"))?;
        let program = route.fd()?.try_clone()?;
        Ok(Self { ebpf, program })
    }

    fn set_kinds(&mut self) -> Result<()> {
        for (kind, id) in KINDS.iter().zip(0..) {
            self.set(kind, id)?;
        }
        Ok(())
    }

    fn set(&mut self, kind: &Kind, id: u8) -> Result<()> {
        let record = if kind.routed { QuicLb::new(&kind.parameters(id))? } else { QuicLb::NONE };
        let map = self.ebpf.map_mut("QUIC_LB").context("the program has no map QUIC_LB")?;
        Ok(Array::<_, Record<QuicLb>>::try_from(map)?.set(u32::from(id), Record(record), 0)?)
    }

    fn forget(&mut self) -> Result<()> {
        let map = self.ebpf.map_mut("SERVER_ID").context("the program has no map SERVER_ID")?;
        Ok(Array::<_, Record<Octets>>::try_from(map)?.set(0, Record(Octets::default()), 0)?)
    }

    fn found(&self) -> Result<ServerId> {
        let map = self.ebpf.map("SERVER_ID").context("the program has no map SERVER_ID")?;
        Ok(ServerId(Array::<_, Record<Octets>>::try_from(map)?.get(&0, 0)?.0))
    }

    fn sizes(&mut self) -> Result<Vec<Figure>> {
        let info = program(&mut self.ebpf, PROGRAM)?.info()?;
        let figures = [
            ("xlated-instructions", "", info.size_translated().map(|bytes| bytes / 8)),
            ("jited-bytes", "B", Some(info.size_jitted())),
            ("verified-instructions", "", info.verified_instruction_count()),
        ];
        let name = |quantity| Name { section: SECTION.name, case: "program", subject: PROGRAM, quantity, flows: None };
        let known = figures.into_iter().filter_map(|(quantity, unit, value)| Some((quantity, unit, value?)));
        Ok(known.map(|(quantity, unit, value)| Figure::of(name(quantity), unit, &[f64::from(value)])).collect())
    }
}

/// One flow; the driver writes the first 64 bytes anew each time.
fn plan(packet: &[u8]) -> Plan {
    let mut plan = Shape { length: LENGTH, ..Shape::UDP4 }.plan(1, 0);
    let words = packet[..TEMPLATE_BYTES].as_chunks().0;
    for (to, from) in plan.template.iter_mut().zip(words) {
        *to = u64::from_ne_bytes(*from);
    }
    plan
}
