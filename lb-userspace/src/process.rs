//! Programs that are run without a shell: for probes and hooks.

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

use crate::open_files;

/// Where programs are looked for that a script calls.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of the output is kept, in bytes.
const MOST_OUTPUT: usize = 4096;

/// A program that runs, as the leader of a process group; all of it is killed when this is dropped before the program has ended.
#[derive(Debug)]
pub(crate) struct Program {
    group: Group,
    output: Output,
}

impl Program {
    /// Starts a program by its absolute path, with its arguments and no other environment than this.
    ///
    /// # Errors
    ///
    /// Those of `fork(2)` and `execve(2)`.
    pub(crate) fn start(command: &[String], environment: &[(&str, String)]) -> io::Result<Self> {
        let (child, reader) = start(command, environment)?;
        let group = Group(child);
        Ok(Self { group, output: Output { pipe: Receiver::from_owned_fd(reader.into())?, kept: Vec::new() } })
    }

    /// Waits for its end: how it ended, and the beginning of what it wrote.
    ///
    /// # Errors
    ///
    /// Those of `waitpid(2)`.
    pub(crate) async fn end(mut self) -> io::Result<(ExitStatus, Vec<u8>)> {
        let status = tokio::select! {
            status = self.group.0.wait() => status?,
            // What it leaves running may hold the pipe for ever, so its end is not waited for; it comes first at most.
            never = self.output.read() => match never {},
        };
        self.output.read_rest();
        Ok((status, self.output.kept))
    }
}

/// How a program ended that did not end with 0.
pub(crate) fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with {code}"),
        None => status.to_string(),
    }
}

fn start(command: &[String], environment: &[(&str, String)]) -> io::Result<(Child, PipeReader)> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (reader, writer) = pipe()?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()?;
    // Beside it rather than before it: the program has hardly begun, and this needs no `unsafe`.
    child.id().into_iter().for_each(open_files::lower_for);
    Ok((child, reader))
}

/// What a program wrote.
#[derive(Debug)]
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
#[derive(Debug)]
struct Group(Child);

impl Drop for Group {
    /// While the leader is not reaped, its id cannot be that of another group. Once it is, there is nothing to give up.
    fn drop(&mut self) {
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
