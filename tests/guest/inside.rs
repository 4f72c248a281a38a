//! Inside the guest, as its first process.

use std::{
    fs::{self, File},
    io::Write,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use evenkeel_tests::vm::{DAEMON, first_process};

use crate::orders::{self, Orders};

/// Does as ordered and ends the guest; what goes wrong before there is a way to the host is on the console.
pub(crate) fn main() -> ExitCode {
    if let Err(error) = prepare_and_run() {
        eprintln!("{error:#}");
    }
    first_process::end()
}

fn prepare_and_run() -> Result<()> {
    first_process::prepare()?;
    let mut host = first_process::report()?;
    let success = run(&host).unwrap_or_else(|error| {
        eprintln!("{error:#}");
        // If the way to the host is gone, so is the guest's last line, and that is what the host complains of.
        let _ = writeln!(host, "error: {error:#}");
        false
    });
    Ok(host.write_all(orders::last_line(success).as_bytes())?)
}

/// Runs every program, whatever the others did; whether all ended well.
fn run(host: &File) -> Result<bool> {
    let orders: Orders = serde_json::from_slice(&fs::read(orders::PATH).context(orders::PATH)?)?;
    let mut success = true;
    for program in &orders.programs {
        let mut command = Command::new(program);
        command.args(&orders.arguments).env("PATH", "/bin").env("EVENKEEL_BIN", DAEMON);
        command.stdout(host.try_clone()?).stderr(host.try_clone()?);
        success &= command.status().with_context(|| format!("cannot run {program}"))?.success();
    }
    Ok(success)
}
