//! Evenkeel's program alone, called by the bench's driver.

use anyhow::{Context, Result, ensure};
use aya::{
    EbpfLoader,
    programs::{ProgramFd, ProgramInfo, loaded_programs},
};

use super::{
    stage::Stage,
    traffic::{self, FLOWS},
};
use crate::{
    data_path::Driver,
    subjects::object::{object, program},
};

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// Packets of a sample, and samples.
const PACKETS: u32 = 4 * FLOWS;
const SAMPLES: usize = 5;

/// The program that the daemon loaded.
pub(super) fn evenkeel() -> Option<ProgramInfo> {
    loaded_programs().filter_map(Result::ok).find(|program| program.name_as_str() == Some("evenkeel"))
}

/// Instructions for a packet of a known flow in the driver with Evenkeel's program, and with the least that passes and
/// that transmits.
pub(super) fn measure(stage: &Stage, evenkeel: &ProgramInfo) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let mut driver = Driver::load()?;
    let (plan, packet) = traffic::packets(stage);
    driver.set_plan(plan, packet)?;
    let mut references = EbpfLoader::new().load(object()?)?;
    for name in ["pass", "mac_swap"] {
        program(&mut references, name)?.load().with_context(|| format!("the kernel refuses {name}"))?;
    }
    Ok(vec![
        ("evenkeel", samples(&mut driver, &evenkeel.fd()?, XDP_REDIRECT)?),
        ("pass", samples(&mut driver, program(&mut references, "pass")?.fd()?, XDP_PASS)?),
        ("mac-swap", samples(&mut driver, program(&mut references, "mac_swap")?.fd()?, XDP_TX)?),
    ])
}

fn samples(driver: &mut Driver, program: &ProgramFd, action: u32) -> Result<Vec<f64>> {
    driver.set_program(program)?;
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        let lap = driver.run(PACKETS)?;
        ensure!(lap.action == action, "action {} where {action} was expected", lap.action);
        samples.push(lap.nanoseconds);
    }
    Ok(samples)
}
