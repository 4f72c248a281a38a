//! A DNS server: dnsmasq, which answers from the address it was asked on.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::{LOOPBACK, log_file, with_log};
use crate::{clients::dig, names, namespace::Namespace, process::Process, wait::PATIENCE};

/// The port of DNS (RFC 1035, section 4.2).
pub const DNS_PORT: u16 = 53;
/// Its TXT record is the name of the backend that answers.
pub const TXT_NAME: &str = "who.example";

/// A running DNS server.
#[derive(Debug)]
pub struct Dns {
    process: Process,
    _directory: TempDir,
}

/// Starts a DNS server on [`DNS_PORT`], UDP and TCP, whose TXT record of [`TXT_NAME`] is `name`.
///
/// # Errors
/// When dnsmasq is missing or does not start; the message has its log.
pub fn dns(namespace: &Namespace, name: &str) -> Result<Dns> {
    let directory = names::scratch("dns")?;
    let (configuration, log) = (directory.path().join("dnsmasq.conf"), directory.path().join("log"));
    let records = format!("txt-record={TXT_NAME},{name}\nlocal=/example/\n");
    fs::write(&configuration, format!("port={DNS_PORT}\nuser=root\nno-resolv\nno-hosts\ncache-size=0\n{records}"))?;
    let mut command = Command::new("dnsmasq");
    command.arg("--no-daemon").arg(format!("--conf-file={}", configuration.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file(&log)?);
    let mut process = namespace.spawn(command)?;
    let ready = process.wait_ready(&format!("the DNS server {name} answers"), PATIENCE, || {
        let said = dig(namespace, LOOPBACK, DNS_PORT, TXT_NAME, "TXT", Duration::from_secs(1))?;
        ensure!(said == [name], "{said:?} answers instead");
        Ok(())
    });
    with_log(ready, &log)?;
    Ok(Dns { process, _directory: directory })
}

impl Dns {
    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
