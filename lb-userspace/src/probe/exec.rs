//! The exec probe: a program, without a shell. docs/health.md says what it is given.

use std::process::ExitStatus;

use super::{
    Target,
    trouble::{Trouble, shown},
};
use crate::{
    config::model::Exec,
    health::Advice,
    process::{Program, ending},
};

/// Runs the program; it is good if it ends with 0. If not, the first line of its output is the reason.
///
/// It is the leader of a process group, all of which is killed if the probe is given up.
pub(super) async fn check(target: &Target, exec: &Exec) -> Result<Advice, Trouble> {
    let environment = [
        ("EVENKEEL_ADDRESS", target.address.to_string()),
        ("EVENKEEL_PORT", target.port.to_string()),
        ("EVENKEEL_FAMILY", if target.address.is_ipv4() { "4" } else { "6" }.to_owned()),
    ];
    let program = Program::start(&exec.command, &environment).map_err(|error| {
        Trouble::Node(format!("{} cannot be started: {}", exec.command[0], super::trouble::words(&error)))
    })?;
    let (status, output) = program.end().await?;
    judge(status, &output)
}

fn judge(status: ExitStatus, output: &[u8]) -> Result<Advice, Trouble> {
    if status.success() {
        return Ok(Advice::default());
    }
    let (how, said) = (ending(status), shown(output));
    Err(Trouble::Target(if said.is_empty() { how } else { format!("{how}: {said}") }))
}
