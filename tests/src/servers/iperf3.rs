//! iperf3, for long flows.

use std::{
    fs,
    net::IpAddr,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::{log_file, with_log};
use crate::{names, namespace::Namespace, process::Process, wait::PATIENCE};

/// iperf3's own port.
pub const IPERF3_PORT: u16 = 5201;

/// A running iperf3 server.
#[derive(Debug)]
pub struct Iperf3 {
    process: Process,
    _directory: TempDir,
}

/// Starts an iperf3 server on [`IPERF3_PORT`].
///
/// A run is several connections (control and data) that must reach the same server: behind a balancer
/// use a service with this one backend.
///
/// # Errors
/// When iperf3 is missing or does not start; the message has its log.
pub fn iperf3(namespace: &Namespace) -> Result<Iperf3> {
    started(namespace, &[])
}

/// The same bound to one address: over UDP it would answer from another one than it was asked at.
///
/// # Errors
/// As [`iperf3`].
pub fn iperf3_at(namespace: &Namespace, address: IpAddr) -> Result<Iperf3> {
    started(namespace, &["--bind", &address.to_string()])
}

fn started(namespace: &Namespace, options: &[&str]) -> Result<Iperf3> {
    let directory = names::scratch("iperf3")?;
    let log = directory.path().join("log");
    let mut command = Command::new("iperf3");
    command.args(["--server", "--port", &IPERF3_PORT.to_string()]).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file(&log)?);
    let mut process = namespace.spawn(command)?;
    let ready = process.wait_ready("iperf3 listens", PATIENCE, || {
        // Not tried with a connection: iperf3 would take it for a client.
        ensure!(namespace.enter(|| listens(IPERF3_PORT))??, "nobody listens on port {IPERF3_PORT}");
        Ok(())
    });
    with_log(ready, &log)?;
    Ok(Iperf3 { process, _directory: directory })
}

impl Iperf3 {
    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Whether a TCP socket of the calling thread's namespace listens on the port, from the kernel's table (proc_pid_net(5)).
fn listens(port: u16) -> Result<bool> {
    const LISTEN: &str = "0A";
    let local = format!(":{port:04X}");
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")));
    for table in tables {
        let table = table?;
        let mut sockets = table.lines().skip(1).map(|line| line.split_whitespace().skip(1));
        if sockets.any(|mut row| row.next().is_some_and(|at| at.ends_with(&local)) && row.nth(1) == Some(LISTEN)) {
            return Ok(true);
        }
    }
    Ok(false)
}
