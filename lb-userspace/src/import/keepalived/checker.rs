//! Checkers of real servers, as probes.

mod http;

use std::{net::IpAddr, str::FromStr as _, time::Duration};

use hickory_proto::rr::{Name, RecordType};

use super::{
    super::{
        Context,
        model::{Probe, Times, Transport},
        report::{Outcome, Place},
        values::{self, scalar},
    },
    command,
    settings::{self, Settings},
    tree::Statement,
};

/// The server that is checked.
pub(super) struct Surroundings<'a> {
    pub(super) address: IpAddr,
    /// 0: any.
    pub(super) port: u16,
    pub(super) transport: Transport,
    pub(super) settings: &'a Settings,
}

/// A probe that would do what a checker does.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) at: Place,
    pub(super) probe: Probe,
    /// Of `MISC_CHECK`: what is run for this server, and which line says so.
    pub(super) command: Option<(Place, Vec<String>)>,
}

/// Names of checkers, and how much each can tell: of several the one that tells the most is taken.
const CHECKERS: [(&str, u8); 10] = [
    ("HTTP_GET", 4),
    ("SSL_GET", 4),
    ("DNS_CHECK", 4),
    ("MISC_CHECK", 3),
    ("SMTP_CHECK", 2),
    ("UDP_CHECK", 2),
    ("TCP_CHECK", 2),
    ("PING_CHECK", 1),
    ("BFD_CHECK", 0),
    ("FILE_CHECK", 0),
];

pub(super) fn is_one(name: &str) -> bool {
    CHECKERS.iter().any(|(known, _)| *known == name)
}

fn rank(name: &str) -> u8 {
    CHECKERS.iter().find(|(known, _)| *known == name).map_or(0, |(_, rank)| *rank)
}

/// The probe of the checker that tells the most; the others are noted.
pub(super) fn best(context: &mut Context, checkers: &[&Statement], around: &Surroundings<'_>) -> Option<Candidate> {
    let mut ranked: Vec<&Statement> = checkers.to_vec();
    // Stable: of equal ones the first.
    ranked.sort_by_key(|checker| std::cmp::Reverse(rank(checker.name())));
    let mut found: Option<Candidate> = None;
    for checker in ranked {
        if let Some(found) = &found {
            let note = format!("one probe for each backend: that of line {}", found.at.line);
            checker.cover(context, Outcome::NoCounterpart, &note);
            continue;
        }
        found = read(context, checker, around);
    }
    found
}

/// What a block says that all checkers have.
struct Common<'a> {
    settings: Settings,
    port: Option<u16>,
    source: Option<IpAddr>,
    /// Lines of this kind alone.
    own: Vec<&'a Statement>,
}

fn read(context: &mut Context, checker: &Statement, around: &Surroundings<'_>) -> Option<Candidate> {
    match checker.name() {
        "BFD_CHECK" => {
            checker.cover(
                context,
                Outcome::NoCounterpart,
                "there is no BFD; probes with a short `interval` find a dead host",
            );
            return None;
        }
        "FILE_CHECK" => {
            checker.cover(context, Outcome::NoCounterpart, "no probe reads a file; `exec` can run a program that does");
            return None;
        }
        _ => {}
    }
    let at = checker.at();
    checker.taken(context);
    let mut common = common(context, checker, around);
    let settings = common.settings.over(around.settings);
    let mut command = None;
    let (kind, keys) = match checker.name() {
        "TCP_CHECK" => ("tcp", Vec::new()),
        "PING_CHECK" => ("icmp", Vec::new()),
        "SMTP_CHECK" => ("tcp", smtp(context, checker, &mut common)),
        "DNS_CHECK" => ("dns", dns(context, &mut common)),
        "UDP_CHECK" => ("udp", udp(context, &mut common)),
        "MISC_CHECK" => {
            command = Some(misc(context, checker, &mut common)?);
            ("exec", Vec::new())
        }
        name => http::read(context, checker, &mut common, &settings, name == "SSL_GET"),
    };
    for line in &common.own {
        let note = format!("`{}` is not known here; look whether it matters", line.name());
        line.cover(context, Outcome::NoCounterpart, &note);
    }
    let port = port(context, at, kind, &common, around)?;
    let source = common.source.filter(|_| kind != "exec");
    let times = times(context, checker, &settings);
    Some(Candidate { at, probe: Probe { kind, keys, port, source, times }, command })
}

fn common<'a>(context: &mut Context, checker: &'a Statement, around: &Surroundings<'_>) -> Common<'a> {
    let mut common = Common { settings: Settings::default(), port: None, source: None, own: Vec::new() };
    for line in &checker.block {
        if !common.settings.take(context, line) && !common.take(context, line, around.address) {
            common.own.push(line);
        }
    }
    common
}

impl<'a> Common<'a> {
    /// Takes a line about the connection.
    fn take(&mut self, context: &mut Context, line: &Statement, address: IpAddr) -> bool {
        let at = line.at();
        match line.name() {
            "connect_ip" if line.text(0).parse() == Ok(address) => context.ledger.taken(at),
            "connect_ip" => context.ledger.no_counterpart(
                at,
                "a backend is probed at its own address; `exec` can run a program that looks elsewhere",
            ),
            "connect_port" => {
                context.ledger.taken(at);
                self.port = settings::number(context, line, 1, 65_535).and_then(|port| u16::try_from(port).ok());
            }
            "bindto" => match line.text(0).parse::<IpAddr>() {
                Ok(source) if source.is_ipv4() == address.is_ipv4() => {
                    context.ledger.note(at, Outcome::Taken, "source");
                    self.source = Some(source);
                }
                _ => context.ledger.no_counterpart(at, "`source` of a probe is an address of the backend's family"),
            },
            "bind_if" | "bind_port" | "fwmark" => {
                context.ledger.no_counterpart(at, "probes choose this by themselves; `source` gives their address");
            }
            _ => return false,
        }
        true
    }

    /// The first own line of a name; further ones stay.
    fn line(&mut self, name: &str) -> Option<&'a Statement> {
        let index = self.own.iter().position(|line| line.name() == name)?;
        Some(self.own.remove(index))
    }
}

/// The port that has to be given; `None` if there is nothing that could be probed.
fn port(
    context: &mut Context,
    at: Place,
    kind: &str,
    common: &Common<'_>,
    around: &Surroundings<'_>,
) -> Option<Option<u16>> {
    let is_deaf = match kind {
        "icmp" => return Some(None),
        "exec" => return Some(common.port),
        "udp" | "dns" => around.transport == Transport::Tcp,
        _ => around.transport == Transport::Udp,
    };
    match common.port.or((around.port != 0).then_some(around.port)) {
        None => {
            context.ledger.no_counterpart(at, "there is no port to probe; give connect_port");
            None
        }
        Some(port) if port == around.port && !is_deaf => Some(None),
        Some(port) => Some(Some(port)),
    }
}

fn smtp(context: &mut Context, checker: &Statement, common: &mut Common<'_>) -> Vec<(&'static str, String)> {
    context.ledger.changed(checker.at(), "tcp: that the port accepts; `exec` can run a program that speaks SMTP");
    while let Some(line) = common.line("helo_name") {
        context.ledger.no_counterpart(line.at(), "nothing is said after the connection");
    }
    let mut is_first = true;
    while let Some(host) = common.line("host") {
        let port = host.block.iter().find(|line| line.name() == "connect_port");
        let at = host.at();
        if is_first && let Some(line) = port {
            common.port = settings::number(context, line, 1, 65_535).and_then(|port| u16::try_from(port).ok());
        }
        let note = if is_first {
            "of several hosts the backend itself is probed, at the port of the first"
        } else {
            "a backend is probed at its own address"
        };
        let outcome = if is_first { Outcome::Changed } else { Outcome::NoCounterpart };
        host.cover(context, outcome, note);
        context.ledger.note(at, outcome, note);
        is_first = false;
    }
    Vec::new()
}

fn dns(context: &mut Context, common: &mut Common<'_>) -> Vec<(&'static str, String)> {
    let (mut query, mut kind) = (".".to_owned(), "SOA".to_owned());
    if let Some(line) = common.line("name") {
        context.ledger.taken(line.at());
        query = settings::text(context, line).unwrap_or(query);
        if query.is_empty() || Name::from_ascii(&query).is_err() {
            context.fault(
                line.at(),
                format!("`{query}` is no name of the DNS"),
                "give one such as example.com, or `.`",
            );
        }
    }
    if let Some(line) = common.line("type") {
        context.ledger.taken(line.at());
        kind = settings::text(context, line).unwrap_or(kind).to_uppercase();
        if RecordType::from_str(&kind).is_err() {
            context.fault(
                line.at(),
                format!("`{kind}` is no type of record"),
                "use A, AAAA, CNAME, MX, NS, SOA or TXT",
            );
        }
    }
    vec![("query", scalar(&query)), ("query_type", scalar(&kind))]
}

fn udp(context: &mut Context, common: &mut Common<'_>) -> Vec<(&'static str, String)> {
    let mut keys = Vec::new();
    if let Some(line) = common.line("payload") {
        context.ledger.taken(line.at());
        match hex(line) {
            Some(octets) if !octets.contains('x') && !octets.is_empty() => keys.push(("send_hex", scalar_hex(&octets))),
            _ => context.fault(line.at(), "`payload` is not hexadecimal", "give octets such as 00 ff"),
        }
    } else {
        keys.push(("send_hex", scalar_hex("00")));
        context
            .ledger
            .added("probes of type udp without payload send one octet, 0, where keepalived sends random ones");
    }
    if let Some(line) = common.line("require_reply") {
        match hex(line) {
            Some(octets) if octets.is_empty() => context.ledger.no_counterpart(
                line.at(),
                "with nothing to `expect` silence is a success; say what the answer begins with",
            ),
            Some(octets) => {
                // What comes before the first digit that may be any.
                let known = octets.find('x').map_or(octets.len(), |end| end & !1);
                if known < octets.len() {
                    context.ledger.changed(line.at(), "`expect_hex` ends before the first x");
                }
                context.ledger.taken(line.at());
                if known > 0 {
                    keys.push(("expect_hex", scalar_hex(&octets[..known])));
                }
            }
            None => context.fault(
                line.at(),
                "`require_reply` is not hexadecimal",
                "give octets such as 00 ff, or x for any digit",
            ),
        }
    }
    for name in ["min_reply_length", "max_reply_length"] {
        while let Some(line) = common.line(name) {
            context.ledger.no_counterpart(line.at(), "lengths of answers are not looked at; use `require_reply`");
        }
    }
    keys
}

fn scalar_hex(octets: &str) -> String {
    format!("\"{octets}\"")
}

/// Octets in keepalived's free form: digits in pairs, a digit before a blank alone; `x` is any digit.
fn hex(line: &Statement) -> Option<String> {
    let mut octets = String::new();
    let words = line.words[1..].iter().flat_map(|word| word.text.split_whitespace());
    for word in words {
        let word = word.to_ascii_lowercase();
        if !word.chars().all(|digit| digit.is_ascii_hexdigit() || digit == 'x') {
            return None;
        }
        // The last digit of an odd number stands alone.
        let (pairs, last) = word.split_at(word.len() & !1);
        octets.push_str(pairs);
        if !last.is_empty() {
            octets.push('0');
            octets.push_str(last);
        }
    }
    Some(octets)
}

fn misc(context: &mut Context, checker: &Statement, common: &mut Common<'_>) -> Option<(Place, Vec<String>)> {
    let path = common.line("misc_path");
    if let Some(line) = common.line("misc_timeout") {
        context.ledger.taken(line.at());
        common.settings.connect_timeout =
            settings::number(context, line, 0, 1 << 31).filter(|seconds| *seconds > 0).map(Duration::from_secs);
    }
    while let Some(line) = common.line("misc_dynamic") {
        context.ledger.no_counterpart(line.at(), "an exit code changes no weight; `agent` and `weight_header` do");
    }
    while let Some(line) = common.line("user") {
        context.ledger.no_counterpart(line.at(), "programs run as the daemon does");
    }
    let Some(path) = path else {
        context.fault(checker.at(), "`MISC_CHECK` has no `misc_path`", "add it");
        return None;
    };
    context.ledger.taken(path.at());
    let words = command::words(&settings::text(context, path)?);
    if !words.first().is_some_and(|program| program.starts_with('/')) {
        let note = "a program is named by its absolute path; `probe: {type: exec, command: [/…]}`";
        checker.cover(context, Outcome::NoCounterpart, note);
        return None;
    }
    Some((path.at(), words))
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3600);

/// keepalived asks every `delay_loop`, after a failure `retry` times more with `delay_before_retry` between.
fn times(context: &mut Context, checker: &Statement, settings: &Settings) -> Times {
    let at = checker.at();
    let wanted = settings.delay_loop.unwrap_or(Duration::from_secs(60));
    // Milliseconds are the finest that probes have.
    let round = |time: Duration| Duration::from_millis(time.as_millis() as u64);
    let interval = round(wanted.clamp(SHORTEST, LONGEST));
    if interval != wanted {
        context.ledger.changed(at, format!("interval {}: 100ms to 1h are possible", values::time(interval)));
    }
    let usual_retry = match checker.name() {
        "DNS_CHECK" => 3,
        "MISC_CHECK" => 0,
        _ => 1,
    };
    let usual_delay = match checker.name() {
        "DNS_CHECK" | "MISC_CHECK" => interval,
        "HTTP_GET" | "SSL_GET" => Duration::from_secs(3),
        _ => Duration::from_secs(1),
    };
    let delay = round(settings.delay_before_retry.unwrap_or(usual_delay).clamp(SHORTEST, interval));
    let usual_timeout = if checker.name() == "MISC_CHECK" { interval } else { Duration::from_secs(5) };
    let wanted = settings.connect_timeout.unwrap_or(usual_timeout);
    let timeout = round(wanted.clamp(Duration::from_millis(10), interval));
    if timeout < wanted && settings.connect_timeout.is_some() {
        context.ledger.changed(at, format!("timeout {}, as the interval", values::time(timeout)));
    }
    let fall = settings.retry.unwrap_or(usual_retry).saturating_add(1);
    if fall > 100 {
        context.ledger.changed(at, "fall 100, the most");
    }
    Times {
        interval,
        retry: delay,
        timeout,
        fall: fall.min(100) as u8,
        is_up_at_first: settings.is_alpha != Some(true),
    }
}
