//! curl, wrk, dig and iperf3, their output parsed.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// Fetches a URL and returns the body.
///
/// # Errors
/// When there is no answer within `timeout` (whole seconds, at least 1), or its status is 400 or above.
pub fn curl(namespace: &Namespace, url: &str, timeout: Duration) -> Result<String> {
    let limit = seconds(timeout);
    namespace
        .exec("curl", ["--silent", "--show-error", "--fail", "--globoff", "--noproxy", "*", "--max-time", &limit, url])
}

/// Asks a DNS server once over UDP and returns the answers, quotes of texts removed; empty when there are none.
///
/// # Errors
/// When there is no answer within `timeout` (whole seconds, at least 1), or it comes from another address than was asked.
pub fn dig(
    namespace: &Namespace,
    server: IpAddr,
    port: u16,
    name: &str,
    kind: &str,
    timeout: Duration,
) -> Result<Vec<String>> {
    ask(namespace, server, port, [name, kind, "+notcp"], timeout)
}

/// The same over TCP.
///
/// # Errors
/// As [`dig`].
pub fn dig_tcp(
    namespace: &Namespace,
    server: IpAddr,
    port: u16,
    name: &str,
    kind: &str,
    timeout: Duration,
) -> Result<Vec<String>> {
    ask(namespace, server, port, [name, kind, "+tcp"], timeout)
}

fn ask(
    namespace: &Namespace,
    server: IpAddr,
    port: u16,
    question: [&str; 3],
    timeout: Duration,
) -> Result<Vec<String>> {
    let (server, port, limit) = (format!("@{server}"), port.to_string(), format!("+time={}", seconds(timeout)));
    let fixed = ["-r", &server, "-p", &port, "+short", "+tries=1", "+noedns", &limit];
    let text = namespace.exec("dig", fixed.into_iter().chain(question))?;
    Ok(text.lines().map(|line| line.trim_matches('"').to_owned()).collect())
}

/// What wrk saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrkRun {
    /// Requests that were answered.
    pub requests: u64,
    /// Connections, reads and writes that failed, and requests that got no answer in time.
    pub socket_errors: u64,
    /// Answers whose status was not 2xx or 3xx.
    pub bad_statuses: u64,
}

/// Runs wrk with kept connections for a whole number of seconds.
///
/// # Errors
/// When wrk cannot run or prints what is not understood.
pub fn wrk(namespace: &Namespace, url: &str, connections: u32, length: Duration) -> Result<WrkRun> {
    let (connections, length) = (connections.max(1).to_string(), seconds(length) + "s");
    let text = namespace.exec("wrk", ["--threads", "1", "--connections", &connections, "--duration", &length, url])?;
    parse_wrk(&text).with_context(|| format!("wrk printed what is not understood: {text}"))
}

fn parse_wrk(text: &str) -> Option<WrkRun> {
    let line = |start: &str| text.lines().map(str::trim).find_map(|line| line.strip_prefix(start));
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "))?.0.parse().ok()?;
    // "connect 0, read 3, write 0, timeout 1"; the line is left out when all are 0.
    let socket_errors = match line("Socket errors: ") {
        Some(counts) => {
            counts.split(", ").map(|count| count.split_once(' ')?.1.parse::<u64>().ok()).sum::<Option<u64>>()?
        }
        None => 0,
    };
    let bad_statuses = line("Non-2xx or 3xx responses: ").map_or(Some(0), |count| count.parse().ok())?;
    Some(WrkRun { requests, socket_errors, bad_statuses })
}

/// What iperf3 saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iperf3Run {
    /// Bytes that the server received.
    pub received: u64,
    /// TCP segments that were sent again.
    pub retransmits: u64,
}

/// Sends over one TCP connection for a whole number of seconds.
///
/// # Errors
/// When the run fails; the message has iperf3's.
pub fn iperf3(namespace: &Namespace, server: IpAddr, length: Duration) -> Result<Iperf3Run> {
    let text = namespace.exec("iperf3", ["--client", &server.to_string(), "--time", &seconds(length), "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&text)?;
    let figure = |pointer: &str| {
        report.pointer(pointer).and_then(serde_json::Value::as_u64).with_context(|| format!("no {pointer} in: {text}"))
    };
    Ok(Iperf3Run { received: figure("/end/sum_received/bytes")?, retransmits: figure("/end/sum_sent/retransmits")? })
}

/// What iperf3 saw of datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iperf3Datagrams {
    /// Datagrams that were sent.
    pub sent: u64,
    /// Those that did not arrive.
    pub lost: u64,
}

/// Sends datagrams of so many bytes for a whole number of seconds, 20 Mbit/s.
///
/// # Errors
/// When the run fails; the message has iperf3's.
pub fn iperf3_datagrams(namespace: &Namespace, server: IpAddr, size: u16, length: Duration) -> Result<Iperf3Datagrams> {
    let (server, size, length) = (server.to_string(), size.to_string(), seconds(length));
    let options = ["--udp", "--bitrate", "20M", "--length", &size, "--time", &length, "--json"];
    let text = namespace.exec("iperf3", ["--client", &server].into_iter().chain(options))?;
    let report: serde_json::Value = serde_json::from_str(&text)?;
    let figure = |pointer: &str| {
        report.pointer(pointer).and_then(serde_json::Value::as_u64).with_context(|| format!("no {pointer} in: {text}"))
    };
    Ok(Iperf3Datagrams { sent: figure("/end/sum/packets")?, lost: figure("/end/sum/lost_packets")? })
}

/// Whole seconds, at least 1, for command lines.
fn seconds(duration: Duration) -> String {
    duration.as_secs().max(1).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "Running 1s test @ http://192.0.2.10/who\n  1 threads and 4 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n  17318 requests in 1.10s, 3.19MB read\n\
        Requests/sec:  15743.44\nTransfer/sec:      2.90MB\n";

    #[test]
    fn a_clean_run_of_wrk_has_no_errors() {
        assert_eq!(parse_wrk(CLEAN), Some(WrkRun { requests: 17318, socket_errors: 0, bad_statuses: 0 }));
    }

    #[test]
    fn errors_of_wrk_are_summed() {
        let text =
            format!("{CLEAN}  Socket errors: connect 1, read 20, write 0, timeout 3\n  Non-2xx or 3xx responses: 7\n");
        assert_eq!(parse_wrk(&text), Some(WrkRun { requests: 17318, socket_errors: 24, bad_statuses: 7 }));
    }

    #[test]
    fn other_output_of_wrk_is_refused() {
        assert_eq!(parse_wrk("unable to connect"), None);
    }
}
