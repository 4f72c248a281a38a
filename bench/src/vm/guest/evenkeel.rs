//! Evenkeel, as its daemon sets it up.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context, Result};
use evenkeel_tests::{
    bpffs::Bpffs,
    daemon::{Daemon, Paths},
    vm::DAEMON,
};

use super::{
    stage::{BACKENDS, BALANCER, PORT, Stage, VIP},
    subject::Balancer,
};

/// The daemon, with its pins.
struct Evenkeel<'a> {
    daemon: Daemon<'a>,
    _bpffs: Bpffs,
}

impl Balancer for Evenkeel<'_> {
    fn new_flows(&self) -> Result<Option<u64>> {
        let status = self.daemon.cli(&["--json", "status"])?;
        let counters = &status["node"]["counters"];
        let count = |name: &str| counters[name].as_u64().with_context(|| format!("the status has no `{name}`"));
        // A flow that found no place is new with each packet.
        Ok(Some(count("flows_created")? + count("flows_untracked")?))
    }
}

/// Starts it.
pub(super) fn start(stage: &Stage) -> Result<Box<dyn Balancer + '_>> {
    let bpffs = Bpffs::mount()?;
    let daemon = Daemon::start_binary(PathBuf::from(DAEMON), &stage.balancer, &bpffs, configuration)?;
    Ok(Box::new(Evenkeel { daemon, _bpffs: bpffs }))
}

/// With the sizes that the daemon has if nothing is said.
fn configuration(paths: &Paths) -> String {
    let mut text = format!(
        "version: 1\nnode:\n  interfaces: [{}]\n  api: {{socket: {}}}\n  pin_directory: {}\n  state_directory: {}\n\
         services:\n  - name: bench\n    vip: {VIP}\n    port: {PORT}\n    protocol: udp\n    mode: dsr-l2\n    backends:\n",
        BALANCER.join(", "),
        paths.socket.display(),
        paths.pins.display(),
        paths.state.display()
    );
    for (i, backend) in BACKENDS.iter().enumerate() {
        let _ = writeln!(text, "      - {{name: b{i}, address: {backend}}}");
    }
    text
}
