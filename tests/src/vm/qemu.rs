//! QEMU, with a clock that counts instructions.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::{prctl::set_pdeathsig, signal::Signal};

use super::REMEDY;

const PROGRAM: &str = "qemu-system-x86_64";

/// What the kernel is told. A panic ends the guest, and so does a restart (`-no-reboot`).
const KERNEL: &str = "console=ttyS0 loglevel=4 panic=-1 clocksource=tsc tsc=reliable";

/// What is booted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest<'a> {
    /// The kernel.
    pub(super) kernel: &'a Path,
    /// The archive that is its file system.
    pub(super) archive: &'a Path,
    /// The file that takes what is said on the first serial line, which is the kernel's console.
    pub(super) console: &'a Path,
    /// Memory, MiB.
    pub(super) memory: u32,
}

/// A running guest. Ended on drop.
pub struct Qemu {
    child: Child,
    lines: Receiver<String>,
    deadline: Instant,
}

impl Qemu {
    /// Boots it; it may take as long as `patience`.
    ///
    /// # Errors
    ///
    /// If QEMU cannot be started.
    pub(super) fn start(guest: &Guest<'_>, patience: Duration) -> Result<Self> {
        let mut command = command(guest);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: the closure runs between fork and exec and makes one system call, which touches no memory.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let mut child = command.spawn().with_context(|| format!("cannot run {PROGRAM}; {REMEDY}"))?;
        let output = child.stdout.take().context("QEMU's output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, deadline: Instant::now() + patience })
    }

    /// The next line on the second serial line; `None` when the guest has ended.
    ///
    /// # Errors
    ///
    /// When the guest has had more time than it was given.
    pub fn line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("the guest did not end in time"),
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Nothing to be done if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(guest: &Guest<'_>) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]);
    command.args(["-machine", "pc", "-cpu", "max", "-smp", "1", "-m", &guest.memory.to_string()]);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    let mut file = std::ffi::OsString::from("file:");
    file.push(guest.console);
    command.arg("-serial").arg(file).args(["-serial", "stdio"]);
    command.arg("-kernel").arg(guest.kernel).arg("-initrd").arg(guest.archive).args(["-append", KERNEL]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_instructions_and_one_cpu_makes_them() {
        let command = command(&Guest {
            kernel: Path::new("/k"),
            archive: Path::new("/a"),
            console: Path::new("/c"),
            memory: 1024,
        });
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let line = arguments.join(" ");
        for expected in [
            "-accel tcg,thread=single -icount shift=0,sleep=off",
            "-smp 1 -m 1024",
            "-no-reboot",
            "-serial file:/c -serial stdio",
            "-kernel /k -initrd /a -append console=ttyS0",
        ] {
            assert!(line.contains(expected), "{expected:?} is not in {line:?}");
        }
    }
}
