//! The host's side: makes the guest, runs it and passes on what it says.

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use evenkeel_tests::{
    names,
    vm::{
        self, DAEMON, INIT,
        archive::Archive,
        kernel::{self, Kernel},
        programs,
    },
};

use crate::orders::{self, Orders};

/// How long the guest may take: many times what it takes on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_secs(900);
/// The guest's memory, MiB: its whole file system is in it.
const MEMORY: u32 = 2048;
/// Programs of this machine that the tests run.
const PROGRAMS: &[&str] = &[
    "curl", "dig", "dnsmasq", "ethtool", "ip", "iperf3", "ipvsadm", "modprobe", "nft", "nginx", "ping", "sh", "sysctl",
];
/// nginx looks for the user that it would run its workers as.
const USERS: [(&str, &str); 2] = [
    ("/etc/passwd", "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nwww-data:x:33:33::/:/bin/false\n"),
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\nwww-data:x:33:\n"),
];

/// Runs test programs of this workspace on another kernel, in QEMU.
#[derive(Parser)]
#[command(name = "evenkeel-guest")]
struct Arguments {
    /// The kernel's series, such as 6.1.
    #[arg(long, value_parser = kernel::ALL)]
    kernel: String,
    /// The daemon under test.
    #[arg(long)]
    daemon: PathBuf,
    /// A test program; repeat it for more, which are run one after the other.
    #[arg(long = "test", required = true)]
    tests: Vec<PathBuf>,
    /// What the test programs are given.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Whether all tests went well.
pub(crate) fn main() -> Result<bool> {
    ensure!(cfg!(target_arch = "x86_64"), "the guest is made for x86-64 only: it runs programs of this machine");
    let arguments = Arguments::parse();
    names::sweep();
    let kernel = Kernel::find(&arguments.kernel)?;
    let folder = names::scratch("programs")?;
    let files = files(&arguments, &kernel, folder.path())?;
    println!("Linux {} boots", kernel.version);
    let started = Instant::now();
    let outcome =
        vm::run(&kernel, files, MEMORY, PATIENCE, |qemu| pass_on(|| qemu.line(), &mut std::io::stdout().lock()));
    println!("Linux {} ran for {} s", kernel.version, started.elapsed().as_secs());
    outcome
}

/// The guest's file system.
fn files(arguments: &Arguments, kernel: &Kernel, scratch: &Path) -> Result<Archive> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    let mut archive = Archive::default();
    let mut own = vec![(PathBuf::from(INIT), this), (DAEMON.into(), arguments.daemon.clone())];
    let mut paths = Vec::new();
    for test in &arguments.tests {
        let name = test.file_name().with_context(|| format!("{} is no program", test.display()))?;
        let path = Path::new("/tests").join(name);
        paths.push(path.display().to_string());
        own.push((path, test.clone()));
    }
    // What is for debuggers only is most of each, and would have to fit the guest's memory twice.
    for (i, (_, program)) in own.iter_mut().enumerate() {
        let stripped = scratch.join(format!("program{i}"));
        strip(program, &stripped)?;
        *program = stripped;
    }
    let own: Vec<_> = own.iter().map(|(path, program)| (path.as_path(), program.as_path())).collect();
    programs::add(&mut archive, PROGRAMS, &own)?;
    kernel.add_modules(&mut archive)?;
    USERS.iter().for_each(|(path, text)| archive.file(Path::new(path), text.as_bytes()));
    let orders = Orders { programs: paths, arguments: arguments.arguments.clone() };
    archive.file(Path::new(orders::PATH), &serde_json::to_vec(&orders)?);
    Ok(archive)
}

fn strip(program: &Path, stripped: &Path) -> Result<()> {
    let mut command = Command::new("strip");
    command.arg("--strip-debug").arg("-o").arg(stripped).arg(program);
    let output = command.output().context("cannot run `strip` (binutils)")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`strip {}`: {}", program.display(), reason.trim());
    Ok(())
}

/// Writes the guest's lines out until its last one, which says whether all tests went well.
fn pass_on(mut next: impl FnMut() -> Result<Option<String>>, out: &mut impl Write) -> Result<bool> {
    while let Some(line) = next()? {
        if let Some(success) = orders::read_last_line(&line) {
            return Ok(success);
        }
        writeln!(out, "{}", line.trim_end_matches('\r'))?;
    }
    bail!("the guest ended before its tests did")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_tells_success_and_all_others_are_passed_on() {
        let run = |lines: &[&str]| {
            let mut lines = lines.iter().map(|line| (*line).to_owned());
            let mut out = Vec::new();
            let outcome = pass_on(|| Ok(lines.next()), &mut out);
            (outcome, String::from_utf8(out).expect("text"))
        };
        let (good, bad) = (orders::last_line(true), orders::last_line(false));
        let (outcome, out) = run(&["running 1 test\r", "ok\r", &good, "more"]);
        assert_eq!((outcome.expect("it ended"), out.as_str()), (true, "running 1 test\nok\n"));
        assert!(!run(&["x", &bad]).0.expect("it ended"));
        let error = run(&["test result: ok. 1 passed; 0 failed; 0 ignored"]).0.expect_err("it was cut").to_string();
        assert!(error.contains("ended before"), "{error}");
    }
}
