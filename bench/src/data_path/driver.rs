//! Runs the program under test over packets that the driver makes.

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions},
};
use bench_ebpf::{Plan, Progress};
use nix::time::{ClockId, clock_gettime};

use crate::subjects::object::{Record, object, program};

/// The driver, loaded.
pub(crate) struct Driver {
    ebpf: Ebpf,
    packet: Vec<u8>,
}

/// One run over many packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    /// CPU time for a packet, nanoseconds, driver included.
    pub(crate) nanoseconds: f64,
    /// XDP action of the last packet.
    pub(crate) action: u32,
    /// Length of the last packet afterwards.
    pub(crate) length: u32,
}

impl Driver {
    /// Loads it.
    pub(crate) fn load() -> Result<Self> {
        let mut ebpf =
            EbpfLoader::new().load(object()?).context("the bench's maps cannot be created; is this root?")?;
        program(&mut ebpf, "driver")?.load().context("the kernel refuses the driver")?;
        Ok(Self { ebpf, packet: Vec::new() })
    }

    /// Chooses the packets.
    pub(crate) fn set_plan(&mut self, plan: Plan, packet: Vec<u8>) -> Result<()> {
        let map = self.ebpf.map_mut("PLAN").context("the driver has no map PLAN")?;
        Array::<_, Record<Plan>>::try_from(map)?.set(0, Record(plan), 0)?;
        self.packet = packet;
        Ok(())
    }

    /// Chooses the program under test.
    pub(crate) fn set_program(&mut self, program: &ProgramFd) -> Result<()> {
        let map = self.ebpf.map_mut("PROGRAMS").context("the driver has no map PROGRAMS")?;
        let mut programs = ProgramArray::try_from(map)?;
        programs
            .set(0, program, 0)
            .context("the program cannot be called by the driver: it needs the same type, attach type and `frags`")
    }

    /// Runs it over so many packets.
    pub(crate) fn run(&mut self, packets: u32) -> Result<Lap> {
        let before = self.progress()?;
        let mut out = vec![0; self.packet.len() + 256];
        let program = program(&mut self.ebpf, "driver")?;
        let start = cpu_time()?;
        let result = program.test_run(TestRunOptions {
            data_in: Some(&self.packet),
            data_out: Some(&mut out),
            repeat: packets,
            ..TestRunOptions::new()
        })?;
        let spent = cpu_time()? - start;
        let after = self.progress()?;
        ensure!(after.packets - before.packets == u64::from(packets), "the driver made other than {packets} packets");
        ensure!(after.lost == before.lost, "{} packets did not reach the program", after.lost - before.lost);
        Ok(Lap { nanoseconds: spent / f64::from(packets), action: result.return_value, length: result.data_size_out })
    }

    fn progress(&self) -> Result<Progress> {
        let map = self.ebpf.map("PROGRESS").context("the driver has no map PROGRESS")?;
        Ok(Array::<_, Record<Progress>>::try_from(map)?.get(&0, 0)?.0)
    }
}

/// CPU time of this thread, nanoseconds: what others take from the CPU meanwhile does not count.
fn cpu_time() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
}
