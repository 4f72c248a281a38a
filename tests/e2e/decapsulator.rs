//! `evenkeel decap` at a backend, for tests.

use std::{
    fs::{self, File},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    daemon::find_binary,
    names::scratch,
    namespace::Namespace,
    process::Process,
    topology::{Backend, Topology},
    wait::PATIENCE,
};
use serde_json::Value;
use tempfile::TempDir;

/// How long a wait for readiness looks at a time.
const LOOK: Duration = Duration::from_millis(50);

/// Outer sources of the node, which the backends trust: what `node.tunnel` is in its configuration.
const SOURCES: &str = "{source_ipv4: 10.66.0.0/16, source_ipv6: \"2001:db8:66::/64\"}";

/// A node's configuration with sources for tunnels.
pub(crate) fn with_sources(configuration: &str) -> String {
    configuration.replace("  limits:", &format!("  tunnel: {SOURCES}\n  limits:"))
}

/// `evenkeel decap` at every backend, trusting the node.
pub(crate) fn at_every_backend<'a>(topology: &'a Topology, bpffs: &Bpffs) -> Result<Vec<Decap<'a>>> {
    // The interface with the addresses that the balancer knows.
    let interface = topology.balancer_interfaces().last().context("an interface")?;
    let trusted = ["--interface", interface, "--from", "10.66.0.0/16", "--from", "2001:db8:66::/64"];
    let start = |backend: &'a Backend| {
        let pins = bpffs.path().join(format!("decap-{}", backend.name()));
        let mut decapsulator = Decap::new(backend.namespace(), pins)?;
        decapsulator.run(&trusted)?;
        Ok(decapsulator)
    };
    topology.backends().iter().map(start).collect()
}

/// `evenkeel decap` in a backend's namespace.
pub(crate) struct Decap<'a> {
    namespace: &'a Namespace,
    pins: PathBuf,
    directory: TempDir,
    ready: UnixDatagram,
    pub(crate) process: Option<Process>,
}

impl<'a> Decap<'a> {
    /// Nothing runs yet.
    pub(crate) fn new(namespace: &'a Namespace, pins: PathBuf) -> Result<Self> {
        let directory = scratch("decap")?;
        let ready = UnixDatagram::bind(directory.path().join("notify"))?;
        ready.set_read_timeout(Some(LOOK))?;
        Ok(Self { namespace, pins, directory, ready, process: None })
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn command(&self, what: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(find_binary()?);
        command.args(["decap", what, "--pin-directory"]).arg(&self.pins).args(arguments);
        Ok(command)
    }

    /// Starts `decap run` and does not wait.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Result<Process> {
        let log = File::create(self.directory.path().join("log"))?;
        let mut command = self.command("run", arguments)?;
        command.env("NOTIFY_SOCKET", self.directory.path().join("notify"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.namespace.spawn(command)
    }

    /// Starts `decap run`, killing the one before, and waits until it tells systemd that it is ready.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> Result<()> {
        self.process = None;
        let mut process = self.spawn(arguments)?;
        let ready = process.wait_ready("decap is ready", PATIENCE, || {
            let mut bytes = [0; 256];
            let len = self.ready.recv(&mut bytes)?;
            ensure!(bytes[..len].starts_with(b"READY=1"), "{}", String::from_utf8_lossy(&bytes[..len]));
            Ok(())
        });
        ready.with_context(|| format!("decap said: {}", self.log()))?;
        self.process = Some(process);
        Ok(())
    }

    /// A start that must be refused with these words.
    pub(crate) fn is_refused(&self, arguments: &[&str], words: &[&str]) -> Result<()> {
        let status = self.spawn(arguments)?.wait_exit(PATIENCE)?;
        let said = self.log();
        ensure!(status.code() == Some(1), "{status}: {said}");
        for word in words {
            ensure!(said.contains(word), "no {word:?} in: {said}");
        }
        Ok(())
    }

    pub(crate) fn cli(&self, what: &str, arguments: &[&str]) -> Result<String> {
        let output = self.namespace.run(self.command(what, arguments)?)?;
        if !output.status.success() {
            bail!("decap {what}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.cli("status", &["--json"])?)?)
    }

    pub(crate) fn dropped(&self, reason: &str) -> Result<u64> {
        self.status()?["dropped"][reason].as_u64().context("a number")
    }
}
