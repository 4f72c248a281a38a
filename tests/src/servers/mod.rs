//! Real servers for the backends. Each returns once it answers, and ends with its guard.
//!
//! They listen on every address, so that they answer on the VIP they were asked on and to probes of the backend's own address.

mod dns;
mod echo;
mod iperf3;
mod nginx;
mod slow;

use std::{fs, net::IpAddr, path::Path, process::Stdio};

use anyhow::{Context, Result};
pub use dns::{DNS_PORT, Dns, TXT_NAME, dns};
pub use echo::{Echo, echo};
pub use iperf3::{IPERF3_PORT, Iperf3, iperf3, iperf3_at};
pub use nginx::{FILE_PATH, Nginx, nginx};
pub use slow::{Slow, slow};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A file for a server's standard output and error.
fn log_file(path: &Path) -> Result<Stdio> {
    let file = fs::File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(file.into())
}

/// Adds the end of a server's log to an error.
fn with_log<T>(result: Result<T>, log: &Path) -> Result<T> {
    result.with_context(|| format!("it said: {}", fs::read_to_string(log).unwrap_or_default().trim()))
}
