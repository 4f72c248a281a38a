//! Child processes with a guard.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    sync::{LazyLock, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{self, Signal},
    unistd::{Pid, getpid},
};

use crate::wait::wait_ok;

/// A running child. Killed and reaped on drop; killed by the kernel when this process dies.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
}

type Job = Box<dyn FnOnce() + Send>;

/// The one thread that starts children. `PR_SET_PDEATHSIG` fires when the *thread* that forked ends
/// (prctl(2)), so a child started by a short-lived test thread would die with it.
static SPAWNER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("spawner".into())
        .spawn(move || jobs.into_iter().for_each(|job| job()))
        .expect("a thread can be started");
    sender
});

/// Starts `command` so that it dies with this process.
///
/// # Errors
/// When the program cannot be started; the message names it.
pub(crate) fn spawn_bound(mut command: Command) -> Result<Child> {
    let parent = getpid();
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe calls
    // (prctl, getppid); it touches no memory but its own copy of `parent`.
    unsafe {
        command.pre_exec(move || die_with(parent));
    }
    let what = describe(&command);
    let (reply, answer) = mpsc::channel();
    let job: Job = Box::new(move || drop(reply.send(command.spawn())));
    SPAWNER.send(job).expect("the spawner lives as long as the process");
    answer.recv().expect("the spawner answers every job").with_context(|| format!("cannot start `{what}`"))
}

/// Asks the kernel to kill the calling process when its parent dies.
fn die_with(parent: Pid) -> std::io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory of ours.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // The parent may have died before the call above; then no signal comes any more.
    if nix::unistd::getppid() != parent {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// The command line, for messages.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

impl Process {
    pub(crate) fn new(what: String, child: Child) -> Self {
        Self { what, child }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // While it is not reaped the id cannot belong to another process.
        self.check_running()?;
        let id = Pid::from_raw(i32::try_from(self.id()).context("process ids fit an i32")?);
        signal::kill(id, signal).with_context(|| format!("cannot send {signal} to `{}`", self.what))
    }

    /// Kills it with SIGKILL and waits for its end; nothing when it has ended already.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let (what, child) = (&self.what, &mut self.child);
        wait_ok(&format!("`{what}` ends"), deadline, || child.try_wait()?.context("it still runs"))
    }

    /// Polls until `attempt` succeeds, as [`wait_ok`] does, but gives up at once when the process ends.
    ///
    /// # Errors
    /// When it has ended (the message says with which code or signal), or after `deadline`.
    pub fn wait_ready<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let running_or_ended = wait_ok(what, deadline, || match self.check_running() {
            Ok(()) => attempt().map(Ok),
            Err(ended) => Ok(Err(ended)),
        });
        running_or_ended?
    }

    fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("`{}` has ended: {status}", self.what),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
