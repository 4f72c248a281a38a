//! Runs a long command quietly: a heartbeat while it runs, the end of its output when it fails.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufRead, BufReader, PipeReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// How many lines of a failed command's output are shown.
const TAIL: usize = 25;
/// How often the command is looked at while it prints nothing.
const POLL: Duration = Duration::from_millis(200);
/// How often a sign of life is printed.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be started or waited for.
    Start(io::Error),
    /// It ended with a failure; the last lines of what it printed.
    Ended { status: ExitStatus, tail: Vec<String> },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "could not be run: {error}"),
            Self::Ended { status, tail } => {
                for line in tail {
                    writeln!(f, "    | {line}")?;
                }
                write!(f, "failed: {status}")
            }
        }
    }
}

/// Runs `command` without input and returns how long it took. `beat` is called every ten seconds with the time so far
/// and the last line that the command printed.
///
/// # Errors
///
/// [`Failure`] when the command cannot be started or does not succeed.
pub(crate) fn run(command: Command, mut beat: impl FnMut(Duration, &str)) -> Result<Duration, Failure> {
    let started = Instant::now();
    let (mut child, output) = spawn(command).map_err(Failure::Start)?;
    let lines = lines_of(output);
    let mut tail = VecDeque::new();
    let mut next_beat = HEARTBEAT;
    let status = loop {
        match lines.recv_timeout(POLL) {
            Ok(line) => keep(&mut tail, line),
            Err(RecvTimeoutError::Disconnected) => break child.wait().map_err(Failure::Start)?,
            // A service that the command started may hold the pipe open: the command itself is what counts.
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = child.try_wait().map_err(Failure::Start)? {
                    break status;
                }
            }
        }
        if started.elapsed() >= next_beat {
            next_beat += HEARTBEAT;
            beat(started.elapsed(), tail.back().map_or("", String::as_str));
        }
    };
    if status.success() { Ok(started.elapsed()) } else { Err(Failure::Ended { status, tail: tail.into() }) }
}

fn keep(tail: &mut VecDeque<String>, line: String) {
    if line.trim().is_empty() {
        return;
    }
    if tail.len() == TAIL {
        tail.pop_front();
    }
    tail.push_back(line);
}

/// One pipe for both outputs keeps their lines in order. The command is consumed: it holds the pipe's other end.
fn spawn(mut command: Command) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    let child = command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn()?;
    Ok((child, reader))
}

fn lines_of(output: PipeReader) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            // What stands before a carriage return was meant to be overwritten.
            let text = String::from_utf8_lossy(&line);
            let last = text.trim_end().rsplit('\r').next().unwrap_or_default();
            if sender.send(last.to_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Duration, Failure> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, |_, _| {})
    }

    #[test]
    fn a_failed_command_shows_its_status_and_the_end_of_both_outputs() {
        let failure = shell("seq 100; echo oops >&2; exit 3").expect_err("it exits with 3");
        let Failure::Ended { status, tail } = &failure else { panic!("{failure:?}") };
        assert_eq!(status.code(), Some(3));
        assert_eq!(tail.len(), TAIL);
        assert_eq!(tail[TAIL - 2..], ["100", "oops"], "in the order in which they were printed");
    }

    #[test]
    fn a_command_without_input_does_not_wait_for_it() {
        shell("cat").expect("cat ends at once");
    }

    #[test]
    fn a_process_left_in_the_background_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let fifo = folder.path().join("fifo");
        // `cat` opens the fifo only when somebody writes to it: nobody does before the command has ended.
        let script = format!("mkfifo {0} && {{ cat {0} & }}", fifo.display());
        shell(&script).expect("the command itself ends");
        std::fs::write(&fifo, "end").expect("cat is still there to read it");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named_as_such() {
        let failure = run(Command::new("/nonexistent/program"), |_, _| {}).expect_err("there is none");
        assert!(matches!(failure, Failure::Start(_)), "{failure:?}");
    }

    #[test]
    fn a_progress_bar_leaves_only_its_last_state() {
        let failure = shell(r"printf '10%%\r50%%\r100%%\n'; exit 1").expect_err("it exits with 1");
        let Failure::Ended { tail, .. } = failure else { panic!("{failure:?}") };
        assert_eq!(tail, ["100%"]);
    }
}
