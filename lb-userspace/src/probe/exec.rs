//! The exec probe: a program, without a shell. docs/health.md says what it is given.

use std::{
    io::{self, PipeReader, pipe},
    process::{ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe::Receiver,
    process::{Child, Command},
};

use super::{
    Target,
    trouble::{Trouble, shown},
};
use crate::{config::model::Exec, health::Advice};

/// Where programs are looked for that a script calls.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of the output is kept, in bytes.
const MOST_OUTPUT: usize = 4096;

/// Runs the program; it is good if it ends with 0. If not, the first line of its output is the reason.
///
/// It is the leader of a process group, all of which is killed if the probe is given up.
pub(super) async fn check(target: &Target, exec: &Exec) -> Result<Advice, Trouble> {
    let (child, reader) = start(target, exec).map_err(|error| {
        Trouble::Node(format!("{} cannot be started: {}", exec.command[0], super::trouble::words(&error)))
    })?;
    let mut group = Group(child);
    let mut output = Output { pipe: Receiver::from_owned_fd(reader.into())?, kept: Vec::new() };
    let status = tokio::select! {
        status = group.0.wait() => status?,
        // What it leaves running may hold the pipe for ever, so its end is not waited for; it comes first at most.
        never = output.read() => match never {},
    };
    output.read_rest();
    judge(status, &output.kept)
}

fn start(target: &Target, exec: &Exec) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = pipe()?;
    let child = Command::new(&exec.command[0])
        .args(&exec.command[1..])
        .env_clear()
        .env("PATH", PATH)
        .env("EVENKEEL_ADDRESS", target.address.to_string())
        .env("EVENKEEL_PORT", target.port.to_string())
        .env("EVENKEEL_FAMILY", if target.address.is_ipv4() { "4" } else { "6" })
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()?;
    Ok((child, reader))
}

fn judge(status: ExitStatus, output: &[u8]) -> Result<Advice, Trouble> {
    if status.success() {
        return Ok(Advice::default());
    }
    let how = match status.code() {
        Some(code) => format!("ended with {code}"),
        None => status.to_string(),
    };
    let said = shown(output);
    Err(Trouble::Target(if said.is_empty() { how } else { format!("{how}: {said}") }))
}

/// What a program wrote.
struct Output {
    pipe: Receiver,
    kept: Vec<u8>,
}

impl Output {
    /// Reads and keeps the beginning; does not end.
    async fn read(&mut self) -> std::convert::Infallible {
        let mut buffer = [0; MOST_OUTPUT];
        loop {
            match self.pipe.read(&mut buffer).await {
                Ok(length @ 1..) => self.keep(&buffer[..length]),
                Ok(0) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Takes what is in the pipe.
    fn read_rest(&mut self) {
        let mut buffer = [0; MOST_OUTPUT];
        while self.kept.len() < MOST_OUTPUT
            && let Ok(length @ 1..) = self.pipe.try_read(&mut buffer)
        {
            self.keep(&buffer[..length]);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = MOST_OUTPUT.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&part[..part.len().min(room)]);
    }
}

/// A process group by its leader.
struct Group(Child);

impl Drop for Group {
    /// While the leader is not reaped, its id cannot be that of another group. Once it is, there is nothing to give up.
    fn drop(&mut self) {
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
