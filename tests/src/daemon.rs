//! The `evenkeel` binary under test.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{bpffs::Bpffs, names, namespace::Namespace, process::Process, wait::PATIENCE};

/// Where a daemon under test keeps its things; the configuration must name them.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The configuration file.
    pub config: PathBuf,
    /// The API's Unix socket.
    pub socket: PathBuf,
    /// The directory for pins, on the test's bpffs.
    pub pins: PathBuf,
    /// The directory for what survives a restart.
    pub state: PathBuf,
    /// The standard error of all runs, one after the other.
    pub log: PathBuf,
}

/// A daemon in a namespace. Killed on drop; its log is printed when the test fails.
///
/// What the daemon pinned stays until the [`Bpffs`] is dropped, as after a crash.
#[derive(Debug)]
pub struct Daemon<'a> {
    binary: PathBuf,
    namespace: &'a Namespace,
    paths: Paths,
    process: Option<Process>,
    _directory: TempDir,
}

impl<'a> Daemon<'a> {
    /// Starts the binary that [`find_binary`] finds and waits until its API answers.
    ///
    /// `configure` makes the configuration from the paths it must name.
    ///
    /// # Errors
    /// When there is no binary, or it ends or does not answer; the message has its log.
    pub fn start(namespace: &'a Namespace, bpffs: &Bpffs, configure: impl FnOnce(&Paths) -> String) -> Result<Self> {
        Self::start_binary(find_binary()?, namespace, bpffs, configure)
    }

    /// As [`Self::start`], with a binary of one's choice.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_binary(
        binary: PathBuf,
        namespace: &'a Namespace,
        bpffs: &Bpffs,
        configure: impl FnOnce(&Paths) -> String,
    ) -> Result<Self> {
        let directory = names::scratch("daemon")?;
        let inside = |name: &str| directory.path().join(name);
        let paths = Paths {
            config: inside("evenkeel.yaml"),
            socket: inside("api.sock"),
            pins: bpffs.pins(),
            state: inside("state"),
            log: inside("log"),
        };
        fs::create_dir(&paths.state)?;
        File::create(&paths.log)?;
        let mut daemon = Self { binary, namespace, paths, process: None, _directory: directory };
        daemon.configure(configure)?;
        daemon.resume()?;
        Ok(daemon)
    }

    /// Its paths.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Writes the configuration anew; [`Self::hangup`] or [`Self::restart`] makes the daemon read it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, configure: impl FnOnce(&Paths) -> String) -> Result<()> {
        fs::write(&self.paths.config, configure(&self.paths)).context("cannot write the configuration")
    }

    /// Kills it with SIGKILL; the data path should not notice.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Ends it with SIGABRT, as a failed assertion would, at whatever it is doing.
    ///
    /// # Errors
    /// When it does not run, or has not ended after [`PATIENCE`].
    pub fn abort(&mut self) -> Result<()> {
        let process = self.running()?;
        process.signal(Signal::SIGABRT)?;
        process.wait_exit(PATIENCE)?;
        self.process = None;
        Ok(())
    }

    /// Uses another binary from the next start on.
    pub fn set_binary(&mut self, binary: PathBuf) {
        self.binary = binary;
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it does not run, or has not ended after [`PATIENCE`].
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let process = self.running()?;
        process.signal(Signal::SIGTERM)?;
        let status = process.wait_exit(PATIENCE)?;
        self.process = None;
        Ok(status)
    }

    /// Sends SIGHUP: the daemon reads its configuration again. What came of it is the test's to await.
    ///
    /// # Errors
    /// When it does not run.
    pub fn hangup(&mut self) -> Result<()> {
        self.running()?.signal(Signal::SIGHUP)
    }

    /// Starts it again after [`Self::kill9`] or [`Self::terminate`] (killing it first if it runs), and waits until it answers.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill9();
        self.resume()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Its log so far, all runs.
    pub fn log(&self) -> String {
        fs::read(&self.paths.log)
            .map_or_else(|error| error.to_string(), |log| String::from_utf8_lossy(&log).into_owned())
    }

    /// Runs `evenkeel --socket PATH ARGUMENTS…` beside the daemon.
    ///
    /// # Errors
    /// When it cannot be started; how it ends is in the output.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.arg("--socket").arg(&self.paths.socket).args(arguments);
        self.namespace.run(command)
    }

    /// Runs a command that prints JSON (the arguments contain `--json`).
    ///
    /// # Errors
    /// When it fails, with what it wrote to standard error, or when it prints no JSON.
    pub fn cli(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = self.cli_text(arguments)?;
        serde_json::from_str(&text)
            .with_context(|| format!("`evenkeel {}` printed no JSON: {text}", arguments.join(" ")))
    }

    /// Runs a command and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with what it wrote to standard error.
    pub fn cli_text(&self, arguments: &[&str]) -> Result<String> {
        let Output { status, stdout, stderr } = self.command(arguments)?;
        let what = arguments.join(" ");
        ensure!(status.success(), "`evenkeel {what}` ended with {status}: {}", String::from_utf8_lossy(&stderr).trim());
        String::from_utf8(stdout).with_context(|| format!("`evenkeel {what}` printed no text"))
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the daemon is not running")
    }

    fn resume(&mut self) -> Result<()> {
        let log = OpenOptions::new().append(true).open(&self.paths.log)?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--config").arg(&self.paths.config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = self.namespace.spawn(command)?;
        let ready = process.wait_ready("the daemon's API answers", PATIENCE, || speaks_http(&self.paths.socket));
        ready.with_context(|| format!("the daemon said:\n{}", self.log()))?;
        self.process = Some(process);
        Ok(())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("--- log of the daemon in {} ---\n{}--- end ---", self.namespace.name(), self.log());
        }
    }
}

/// The binary under test: `EVENKEEL_BIN`, or the one built beside this program, or the workspace's.
///
/// # Errors
/// When there is none.
pub fn find_binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("EVENKEEL_BIN").map(PathBuf::from) {
        ensure!(path.is_file(), "EVENKEEL_BIN is {}, which is no file", path.display());
        return Ok(path);
    }
    // Tests are in target/PROFILE/deps, tools in target/PROFILE.
    let program = env::current_exe().context("cannot tell where this program is")?;
    let beside = program.ancestors().skip(1).take(2).map(Path::to_path_buf);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let places = beside.chain(["debug", "release"].map(|profile| target.join(profile)));
    match places.map(|place| place.join("evenkeel")).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("there is no `evenkeel`: build it with `cargo build -p evenkeel`, or set EVENKEEL_BIN"),
    }
}

/// Asks for nothing in particular: any answer, 404 too, shows that the API serves.
fn speaks_http(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut start = [0; 5];
    stream.read_exact(&mut start)?;
    ensure!(&start == b"HTTP/", "{} does not speak HTTP", socket.display());
    Ok(())
}
