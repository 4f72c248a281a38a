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

const PROGRAM: &str = "qemu-system-x86_64";

/// What the kernel is told. A panic ends the guest, and so does a restart (`-no-reboot`).
const KERNEL: &str = "console=ttyS0 loglevel=4 panic=-1 clocksource=tsc tsc=reliable";

/// A running guest. Ended on drop.
pub(super) struct Qemu {
    child: Child,
    lines: Receiver<String>,
    deadline: Instant,
}

impl Qemu {
    /// Boots a kernel with this archive as its file system; the first serial line goes into the file `console`.
    ///
    /// # Errors
    ///
    /// If QEMU cannot be started.
    pub(super) fn start(kernel: &Path, archive: &Path, console: &Path, patience: Duration) -> Result<Self> {
        let mut command = command(kernel, archive, console);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: the closure runs between fork and exec and makes one system call, which touches no memory.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let mut child =
            command.spawn().with_context(|| format!("cannot run {PROGRAM}; run `cargo xtask setup --vm`"))?;
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
    pub(super) fn line(&mut self) -> Result<Option<String>> {
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

fn command(kernel: &Path, archive: &Path, console: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]);
    command.args(["-machine", "pc", "-cpu", "max", "-smp", "1", "-m", "1024"]);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    let mut file = std::ffi::OsString::from("file:");
    file.push(console);
    command.arg("-serial").arg(file).args(["-serial", "stdio"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(archive).args(["-append", KERNEL]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_instructions_and_one_cpu_makes_them() {
        let command = command(Path::new("/k"), Path::new("/a"), Path::new("/c"));
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let line = arguments.join(" ");
        for expected in [
            "-accel tcg,thread=single -icount shift=0,sleep=off",
            "-smp 1",
            "-no-reboot",
            "-serial file:/c -serial stdio",
            "-kernel /k -initrd /a -append console=ttyS0",
        ] {
            assert!(line.contains(expected), "{expected:?} is not in {line:?}");
        }
    }
}
