//! wrk, each request on a connection of its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{namespace::Namespace, topology::VIP4};

use super::stage::HTTP;

/// Connections at a time.
const CONNECTIONS: u32 = 32;

/// What wrk did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Connections {
    /// Connections with an answer.
    pub(super) number: u64,
    /// Of them in a second.
    pub(super) rate: f64,
}

/// Opens connections for so many whole seconds. Every one must be answered.
pub(super) fn new_connections(client: &Namespace, seconds: u64) -> Result<Connections> {
    let (connections, duration) = (CONNECTIONS.to_string(), format!("{seconds}s"));
    let url = format!("http://{VIP4}:{HTTP}/who");
    let limit = Duration::from_secs(5).as_secs().to_string() + "s";
    let text = client.exec(
        "wrk",
        ["-t", "1", "-c", &connections, "-d", &duration, "--timeout", &limit, "-H", "Connection: close", &url],
    )?;
    parse(&text).with_context(|| format!("wrk said: {text}"))
}

fn parse(text: &str) -> Result<Connections> {
    let line = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start));
    for failure in ["Socket errors: ", "Non-2xx or 3xx responses: "] {
        ensure!(line(failure).is_none(), "not every connection was served");
    }
    let number = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    let number = number.context("no number of requests")?;
    let rate = line("Requests/sec:").context("no rate")?.trim().parse()?;
    ensure!(number > 0, "no connection was served");
    Ok(Connections { number, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "Running 2s test @ http://192.0.2.10:80/who\n  1 threads and 32 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n  17318 requests in 2.10s, 3.19MB read\n\
        Requests/sec:   8243.44\nTransfer/sec:      1.52MB\n";

    #[test]
    fn number_and_rate_are_read() {
        assert_eq!(parse(CLEAN).expect("clean"), Connections { number: 17318, rate: 8243.44 });
    }

    #[test]
    fn failures_do_not_count() {
        for failure in ["Socket errors: connect 0, read 3, write 0, timeout 0", "Non-2xx or 3xx responses: 7"] {
            assert!(parse(&format!("{CLEAN}  {failure}\n")).is_err(), "{failure}");
        }
        assert!(parse("unable to connect to 192.0.2.10:80").is_err());
        assert!(parse(&CLEAN.replace("17318", "0")).is_err());
    }
}
