//! Network namespaces: made, entered, and removed with all that runs in them.
//!
//! Only the network is apart. Programs keep the mount namespace, so that they see a bpffs the
//! test mounted; `/sys` therefore still shows the host's interfaces.

use std::{
    fs::{self, File},
    io::Write,
    os::{
        fd::{AsFd, AsRawFd},
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, bail};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::process::{Process, describe, spawn_bound};

/// Where `ip netns` keeps its namespaces.
pub const DIRECTORY: &str = "/run/netns";

/// A named network namespace, removed on drop together with the processes in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: Arc<File>,
}

impl Namespace {
    /// Makes an empty namespace with its loopback up.
    ///
    /// # Errors
    /// When not run as root, or without iproute2.
    pub fn create(name: &str) -> Result<Self> {
        let output = Command::new("ip").args(["netns", "add", name]).output().context("cannot run `ip` (iproute2)")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("cannot make the network namespace {name} (this needs root): {}", reason.trim());
        }
        let path = path_of(name);
        let handle = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let namespace = Self { name: name.to_owned(), handle: Arc::new(handle) };
        namespace.exec("ip", ["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name that `ip netns exec` takes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a program inside; its guard kills it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: Command) -> Result<Process> {
        let what = describe(&command);
        Ok(Process::new(what, spawn_bound(self.inside(command))?))
    }

    /// Runs a program inside to its end, its output captured.
    ///
    /// # Errors
    /// When it cannot be started; how it ends is in the output.
    pub fn run(&self, command: Command) -> Result<Output> {
        self.run_with_input(command, "")
    }

    /// Runs a program inside and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be started or ends with a failure; the message has its standard error.
    pub fn exec<I, S>(&self, program: &str, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = Command::new(program);
        command.args(arguments);
        self.checked(command, "")
    }

    /// Runs `ip -batch` on these lines.
    ///
    /// # Errors
    /// At the first line that fails; the message names it.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]);
        self.checked(command, &(lines.join("\n") + "\n")).map(drop)
    }

    /// Runs a closure on a thread of its own inside; sockets it opens stay inside wherever they are used.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// With the closure's panic.
    pub fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| self.join().map(|()| action()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread inside that may outlive the borrow; threads it starts are inside as well.
    pub fn thread<T: Send + 'static>(&self, action: impl FnOnce() -> T + Send + 'static) -> JoinHandle<Result<T>> {
        let handle = Arc::clone(&self.handle);
        thread::spawn(move || {
            setns(handle.as_fd(), CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
            Ok(action())
        })
    }

    /// Writes settings below `/proc/sys/`, for example `("net/ipv4/conf/all/arp_ignore", "1")`.
    ///
    /// # Errors
    /// At the first that cannot be written; the message names it.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        // /proc/sys/net shows the namespace of the thread that opens it.
        self.enter(|| {
            for (key, value) in settings {
                fs::write(Path::new("/proc/sys").join(key), value).with_context(|| format!("cannot set {key}"))?;
            }
            Ok(())
        })?
    }

    fn join(&self) -> Result<()> {
        setns(self.handle.as_fd(), CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", self.name))
    }

    fn inside(&self, mut command: Command) -> Command {
        let handle = Arc::clone(&self.handle);
        // SAFETY: the closure runs between fork and exec and makes one system call on a descriptor
        // that the closure itself keeps open.
        unsafe {
            command.pre_exec(move || match libc::setns(handle.as_raw_fd(), libc::CLONE_NEWNET) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        command
    }

    fn checked(&self, command: Command, input: &str) -> Result<String> {
        let what = describe(&command);
        let output = self.run_with_input(command, input)?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("`{what}` in {} ended with {}: {}", self.name, output.status, reason.trim());
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{what}` did not print text"))
    }

    fn run_with_input(&self, command: Command, input: &str) -> Result<Output> {
        let mut command = self.inside(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = describe(&command);
        let mut child = spawn_bound(command)?;
        // A program that does not read its input may have closed it; its exit code tells.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        child.wait_with_output().with_context(|| format!("no output of `{what}`"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        destroy(&self.name);
    }
}

/// Kills what runs in a named namespace and removes the name; what is gone already is no error.
pub(crate) fn destroy(name: &str) {
    for id in processes(name) {
        let _ = kill(id, Signal::SIGKILL);
    }
    let _ = Command::new("ip").args(["netns", "del", name]).output();
}

/// The processes whose main thread is in the namespace, without this one.
fn processes(name: &str) -> Vec<Pid> {
    let Ok(wanted) = fs::metadata(path_of(name)) else { return Vec::new() };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|id| {
            fs::metadata(format!("/proc/{id}/ns/net"))
                .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
        })
        .map(Pid::from_raw)
        .filter(|id| *id != Pid::this())
        .collect()
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}
