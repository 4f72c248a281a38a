//! Making one probe: the table of kinds, the time-out, and the words for what went wrong.

use std::{future::Future, io, time::Duration};

use nix::errno::Errno;
use tokio::time::{Instant, timeout};

use super::{Target, tcp};
use crate::{config::model::ProbeKind, health::Outcome};

/// Makes single probes. The tests put a script in the place of the network.
pub(super) trait Check: Clone + Send + Sync + 'static {
    /// Tries the target once, without a time-out of its own.
    fn check(&self, target: Target) -> impl Future<Output = io::Result<()>> + Send;
}

/// Probes over the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network;

impl Check for Network {
    async fn check(&self, target: Target) -> io::Result<()> {
        match target.kind {
            ProbeKind::Tcp => tcp::connect(target.socket_address()).await,
        }
    }
}

/// Makes one probe and judges it.
///
/// `timeout` polls the probe before the timer: an answer that arrived while this process did not run still counts.
pub(super) async fn outcome(check: &impl Check, target: Target, limit: Duration) -> Outcome {
    let begun = Instant::now();
    match timeout(limit, check.check(target)).await {
        Ok(Ok(())) => Outcome::Success(begun.elapsed()),
        Ok(Err(error)) if lies_with_us(&error) => Outcome::Inconclusive(format!("cannot probe: {}", words(&error))),
        Ok(Err(error)) => Outcome::Failure(words(&error)),
        Err(_) => Outcome::Failure(format!("timed out after {}", span(limit))),
    }
}

/// Whether the error is about this node's resources rather than about the target.
fn lies_with_us(error: &io::Error) -> bool {
    const OURS: [Errno; 5] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| OURS.contains(&Errno::from_raw(code)))
}

/// The kernel's own words, as an operator knows them from other tools, without the number.
fn words(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else { return error.to_string() };
    let description = Errno::from_raw(code).desc();
    let mut letters = description.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn span(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_operators_know_them() {
        for (errno, expected) in [
            (Errno::ECONNREFUSED, "connection refused"),
            (Errno::EHOSTUNREACH, "no route to host"),
            (Errno::ENETUNREACH, "network is unreachable"),
            (Errno::ECONNRESET, "connection reset by peer"),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(words(&error), expected);
            assert!(!lies_with_us(&error));
        }
        assert!(lies_with_us(&io::Error::from_raw_os_error(Errno::EMFILE as i32)));
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(span(Duration::from_secs(2)), "2 s");
        assert_eq!(span(Duration::from_millis(1500)), "1500 ms");
    }
}
