//! The decapsulator in the kernel, and its maps in our memory.

use std::os::fd::AsFd as _;

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::decap::{Control, Counters, Rules, map};

use super::{
    Pins,
    attach::Attachable,
    grace,
    loaded::{program, program_mut},
    object,
    region::Region,
};

/// The loaded program with its tables.
#[derive(Debug)]
pub struct Decapsulator {
    ebpf: Ebpf,
    tables: DecapTables,
}

/// The tables, of this process's program or of one that was attached before.
#[derive(Debug)]
pub struct DecapTables {
    control: Region<Control>,
    counters: Map,
}

impl Decapsulator {
    /// Loads the program; adopts maps that are pinned already, which [`Pins::check_decap`] has to have compared. Without
    /// pins the maps end with this value.
    ///
    /// # Errors
    ///
    /// What the kernel refuses, with the verifier's log.
    pub fn load(pins: Option<&Pins>) -> Result<Self> {
        let has_long_frames = object::takes_long_frames();
        let long_frames = u32::from(has_long_frames);
        let mut loader = EbpfLoader::new();
        loader.override_global("LONG_FRAMES", &long_frames, true);
        if let Some(pins) = pins {
            for name in Pins::DECAP_MAPS {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut ebpf = loader
            .load(&object::decapsulator(has_long_frames)?)
            .context("the maps cannot be created; is this running as root, with CAP_BPF?")?;
        program_mut(&mut ebpf, object::DECAP_PROGRAM)?.load().context("the kernel refuses the program")?;
        let mut take = |name| ebpf.take_map(name).with_context(|| format!("the object has no map {name}"));
        let tables = DecapTables::of(take(map::CONTROL)?, take(map::COUNTERS)?)?;
        Ok(Self { ebpf, tables })
    }

    /// Its tables.
    #[must_use]
    pub fn tables(&self) -> &DecapTables {
        &self.tables
    }

    /// Runs the program over a packet of at least 14 bytes. Returns the XDP action and the packet afterwards.
    ///
    /// # Errors
    ///
    /// If the kernel does not run the program.
    pub fn run(&self, packet: &[u8]) -> Result<(u32, Vec<u8>)> {
        let mut out = vec![0; packet.len()];
        let options = TestRunOptions { data_in: Some(packet), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = program(&self.ebpf, object::DECAP_PROGRAM)?.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }
}

impl Attachable for Decapsulator {
    fn xdp(&mut self) -> Result<&mut Xdp> {
        program_mut(&mut self.ebpf, object::DECAP_PROGRAM)
    }
}

impl DecapTables {
    /// Opens tables that are pinned, which [`Pins::check_decap`] has to have compared.
    ///
    /// # Errors
    ///
    /// If they cannot be opened.
    pub fn open(pins: &Pins) -> Result<Self> {
        let open = |name| {
            let path = pins.map(name);
            MapData::from_pin(&path).with_context(|| format!("pinned map {} cannot be opened", path.display()))
        };
        Self::of(Map::Array(open(map::CONTROL)?), Map::PerCpuArray(open(map::COUNTERS)?))
    }

    fn of(control: Map, counters: Map) -> Result<Self> {
        let Map::Array(control) = control else { return Err(anyhow!("map {} is no array", map::CONTROL)) };
        let control = Region::map(control.fd().as_fd(), 1, true)
            .with_context(|| format!("map {} cannot be mapped into memory", map::CONTROL))?;
        Ok(Self { control, counters })
    }

    /// The control record: the kernel's own memory.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control.records()[0]
    }

    /// Puts rules in force: every packet is judged by the ones before or by these as a whole.
    ///
    /// # Errors
    ///
    /// If there are too many prefixes, or the kernel cannot wait for packets under way.
    pub fn publish(&self, rules: &Rules<'_>) -> Result<()> {
        // Whoever published before may have ended right after it, and a program may still read what it replaced.
        grace::wait()?;
        let control = self.control();
        rules.write(control.inactive()).map_err(|error| {
            let most = lb_common::decap::MAX_PREFIXES;
            anyhow!("{} prefixes or addresses of one family, at most {most} are possible", error.count)
        })?;
        control.switch();
        Ok(())
    }

    /// What was counted, summed over CPUs.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn counters(&self) -> Result<Counters> {
        let array = PerCpuArray::<_, [u64; Counters::WORDS]>::try_from(&self.counters)?;
        let sum = Counters::default();
        for words in array.get(&0, 0)?.iter() {
            sum.add_words(words);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instructions that the verifier may look at, by the project's own rule for its programs.
    const MOST: u32 = 300_000;

    #[test]
    fn the_verifier_takes_the_program_without_much_work() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let mut loaded = Decapsulator::load(None).expect("the verifier takes the program");
        let info = loaded.xdp().and_then(|program| Ok(program.info()?)).expect("a loaded program");
        let count = info.verified_instruction_count().expect("kernels from 5.16 on count");
        println!("the verifier looked at {count} instructions");
        assert!(count < MOST, "{count}");
    }
}
