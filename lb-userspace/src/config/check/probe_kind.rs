//! The options that only some kinds of probes have.

use std::{str::FromStr as _, sync::Arc};

use hickory_proto::rr::{Name, RecordType};
use http::{HeaderName, HeaderValue, Method, uri::Authority};
use regex::bytes::RegexBuilder;
use rustls::pki_types::ServerName;

use super::{
    super::{
        field::Field,
        model::{
            Agent, BodyMatch, ClientCertificate, Dns, Exec, Grpc, Http, ProbeKind, RCODES, StatusRanges, Tls, Trust,
            Udp,
        },
        problem::{Findings, Position},
        raw::{self, ProbeType, Verify},
        suggest,
    },
    values,
};
use crate::quic::Hex;

/// Most octets of a datagram: it should fit a packet.
const MOST_SENT: usize = 1400;
/// Most memory that a regular expression may take, in bytes.
const MOST_PATTERN: usize = 1 << 20;

/// What a probe of this type, which stands at `at`, tries; `None` if nothing, or if that cannot be told.
pub(super) fn check(findings: &mut Findings, r#type: ProbeType, raw: &raw::Probe, at: Position) -> Option<ProbeKind> {
    Some(match r#type {
        ProbeType::None => return None,
        ProbeType::Tcp => ProbeKind::Tcp,
        ProbeType::Icmp => ProbeKind::Icmp,
        ProbeType::Tls => ProbeKind::Tls(Arc::new(tls(findings, raw))),
        ProbeType::Http => ProbeKind::Http(Arc::new(http(findings, raw, None))),
        ProbeType::Https => {
            let tls = Some(tls(findings, raw));
            ProbeKind::Http(Arc::new(http(findings, raw, tls)))
        }
        ProbeType::Http2 => {
            let tls = optional_tls(findings, raw, r#type);
            ProbeKind::Http2(Arc::new(http(findings, raw, tls)))
        }
        ProbeType::Grpc => {
            let tls = optional_tls(findings, raw, r#type);
            let service = raw.service.get().cloned().unwrap_or_default();
            ProbeKind::Grpc(Arc::new(Grpc { tls, service, host: host(findings, &raw.host) }))
        }
        ProbeType::Udp => ProbeKind::Udp(Arc::new(udp(findings, raw, at)?)),
        ProbeType::Dns => ProbeKind::Dns(Arc::new(dns(findings, raw, at)?)),
        ProbeType::Exec => ProbeKind::Exec(Arc::new(exec(findings, raw, at)?)),
        ProbeType::Agent => ProbeKind::Agent(Arc::new(agent(findings, raw))),
    })
}

/// Notes a value that was refused; for use as the last step of a check.
fn refuse<T>(findings: &mut Findings, at: Position, reason: String, remedy: &str) -> Option<T> {
    findings.add(at, reason, remedy);
    None
}

/// TLS where it is a choice.
fn optional_tls(findings: &mut Findings, raw: &raw::Probe, r#type: ProbeType) -> Option<Tls> {
    if raw.tls.get() == Some(&true) {
        return Some(tls(findings, raw));
    }
    for key in raw.given().filter(|key| key.kinds.contains(&ProbeType::Tls) && !key.kinds.contains(&ProbeType::Http)) {
        let reason = format!("a probe of type `{}` without `tls: true` has no `{}`", r#type.name(), key.name);
        findings.add(key.at, reason, "add `tls: true`, or remove it");
    }
    None
}

fn tls(findings: &mut Findings, raw: &raw::Probe) -> Tls {
    let server_name = raw.server_name.get().and_then(|name| match ServerName::try_from(name.as_str()) {
        Ok(_) => Some(name.clone()),
        Err(_) => {
            let reason = format!("`server_name` `{name}` is no name of a host and no address");
            refuse(findings, raw.server_name.at(), reason, "give the name that stands in the certificate")
        }
    });
    let file = values::path(findings, &raw.ca_file, "ca_file");
    let trust = match (raw.verify.get(), file) {
        (Some(Verify::None), _) => {
            if raw.ca_file.is_given() {
                findings.add(raw.ca_file.at(), "`ca_file` with `verify: none`", "remove one of the two");
            }
            Trust::Everybody
        }
        (_, Some(file)) => Trust::File(file),
        (_, None) => Trust::System,
    };
    Tls { server_name, trust, client: client_certificate(findings, raw) }
}

fn client_certificate(findings: &mut Findings, raw: &raw::Probe) -> Option<ClientCertificate> {
    let certificate = values::path(findings, &raw.client_certificate, "client_certificate");
    let key = values::path(findings, &raw.client_key, "client_key");
    match (raw.client_certificate.is_given(), raw.client_key.is_given()) {
        (true, false) => findings.add(
            raw.client_certificate.at(),
            "`client_certificate` without `client_key`",
            "add `client_key`; it may name the same file",
        ),
        (false, true) => findings.add(
            raw.client_key.at(),
            "`client_key` without `client_certificate`",
            "add `client_certificate`, or remove it",
        ),
        _ => {}
    }
    Some(ClientCertificate { certificate: certificate?, key: key? })
}

fn http(findings: &mut Findings, raw: &raw::Probe, tls: Option<Tls>) -> Http {
    let method = method(findings, &raw.method).unwrap_or_else(|| "GET".to_owned());
    let body = body(findings, raw);
    if body.is_some() && method == "HEAD" {
        let at = if raw.body_contains.is_given() { raw.body_contains.at() } else { raw.body_matches.at() };
        findings.add(at, "the answer to `method: HEAD` has no body", "use `method: GET`");
    }
    Http {
        tls,
        method,
        path: path(findings, &raw.path).unwrap_or_else(|| "/".to_owned()),
        host: host(findings, &raw.host),
        headers: headers(findings, raw),
        status: status(findings, raw).unwrap_or_else(|| StatusRanges(vec![(200, 299)])),
        body,
        weight_header: raw.weight_header.get().and_then(|name| {
            let name = header_name(findings, name, raw.weight_header.at(), "weight_header")?;
            Some(name.as_str().to_owned())
        }),
    }
}

fn method(findings: &mut Findings, field: &Field<String>) -> Option<String> {
    let text = field.get()?;
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT) => refuse(findings, field.at(), "`method` `CONNECT` asks for a tunnel".into(), "use `GET`"),
        Ok(_) if text.bytes().all(|letter| !letter.is_ascii_lowercase()) => Some(text.clone()),
        Ok(_) => {
            refuse(findings, field.at(), format!("`method` `{text}` is not in capitals"), "methods are: use `GET`")
        }
        Err(_) => refuse(findings, field.at(), format!("`method` `{text}` is no method of HTTP"), "use `GET`"),
    }
}

fn path(findings: &mut Findings, field: &Field<String>) -> Option<String> {
    let text = field.get()?;
    if !text.starts_with('/') {
        return refuse(findings, field.at(), format!("`path` `{text}` does not begin with `/`"), "begin it with `/`");
    }
    let plain = text.bytes().all(|letter| letter.is_ascii_graphic() && letter != b'#');
    if !plain || http::uri::PathAndQuery::from_str(text).is_err() {
        let reason = format!("`path` `{text}` holds what a path may not");
        return refuse(findings, field.at(), reason, "write such characters as `%20`");
    }
    Some(text.clone())
}

fn host(findings: &mut Findings, field: &Field<String>) -> Option<String> {
    let text = field.get()?;
    match Authority::from_str(text) {
        Ok(authority) if !text.contains('@') && !authority.host().is_empty() => Some(text.clone()),
        _ => refuse(
            findings,
            field.at(),
            format!("`host` `{text}` is no host"),
            "give a name or an address, with `:port` if need be",
        ),
    }
}

fn header_name(findings: &mut Findings, name: &str, at: Position, key: &str) -> Option<HeaderName> {
    let refused = || format!("`{key}` `{name}` is no name of a header");
    HeaderName::from_str(name).ok().or_else(|| refuse(findings, at, refused(), "use letters, digits and `-`"))
}

/// Headers that the probe itself says.
const OWN_HEADERS: [&str; 8] =
    ["host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "keep-alive", "proxy-connection"];

fn headers(findings: &mut Findings, raw: &raw::Probe) -> Vec<(String, String)> {
    let mut checked = Vec::new();
    for (name, value) in raw.headers.get().into_iter().flatten() {
        let Some(known) = header_name(findings, name, raw.headers.at(), "headers") else { continue };
        let Some(text) = value.get() else { continue };
        if known == "host" {
            findings.add(value.at(), "`headers` has `Host`", "give `host` in `probe`");
        } else if OWN_HEADERS.contains(&known.as_str()) {
            findings.add(value.at(), format!("`headers` has `{name}`, which the probe sets itself"), "remove it");
        } else if HeaderValue::from_str(text).is_err() {
            findings.add(value.at(), format!("header `{name}` holds a control character"), "remove it");
        } else {
            checked.push((known.as_str().to_owned(), text.clone()));
        }
    }
    checked
}

fn status(findings: &mut Findings, raw: &raw::Probe) -> Option<StatusRanges> {
    let text = &raw.status.get()?.0;
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
        (100 <= range.0 && range.0 <= range.1 && range.1 <= 599).then_some(range)
    };
    let mut ranges = Vec::new();
    for part in text.split(',') {
        let Some(range) = range(part) else {
            let reason = format!("`status` `{}` is no code and no range of codes from 100 to 599", part.trim());
            return refuse(findings, raw.status.at(), reason, "write it as `200-299,301`");
        };
        ranges.push(range);
    }
    Some(StatusRanges(ranges))
}

fn body(findings: &mut Findings, raw: &raw::Probe) -> Option<BodyMatch> {
    if raw.body_contains.is_given() && raw.body_matches.is_given() {
        let reason = "`body_contains` and `body_matches`".to_owned();
        return refuse(findings, raw.body_matches.at(), reason, "remove one of the two");
    }
    if let Some(text) = raw.body_contains.get() {
        if text.is_empty() {
            let reason = "`body_contains` is empty".to_owned();
            return refuse(findings, raw.body_contains.at(), reason, "give a text, or remove it");
        }
        return Some(BodyMatch::Contains(text.clone()));
    }
    let text = raw.body_matches.get()?;
    match RegexBuilder::new(text).size_limit(MOST_PATTERN).build() {
        Ok(_) => Some(BodyMatch::Matches(text.clone())),
        Err(error) => {
            // The last line says what is wrong, those before show where.
            let words = error.to_string();
            let words = words.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let reason = format!("`body_matches` is no regular expression: {words}");
            refuse(findings, raw.body_matches.at(), reason, "correct it, or use `body_contains`")
        }
    }
}

/// Octets that are given as text or in digits.
fn octets(
    findings: &mut Findings,
    (text, key): (&Field<String>, &str),
    (digits, digits_key): (&Field<String>, &str),
) -> Vec<u8> {
    if text.is_given() && digits.is_given() {
        findings.add(digits.at(), format!("`{key}` and `{digits_key}`"), "remove one of the two");
    }
    let octets = match (text.get(), digits.get()) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(digits_text)) => match digits_text.parse::<Hex>() {
            Ok(Hex(octets)) => octets,
            Err(error) => {
                let message = error.to_string();
                let (reason, remedy) = message.split_once("; ").unwrap_or((&message, ""));
                findings.add(digits.at(), format!("`{digits_key}`: {reason}"), remedy);
                return Vec::new();
            }
        },
        (None, None) => return Vec::new(),
    };
    let (at, key) = if text.is_given() { (text.at(), key) } else { (digits.at(), digits_key) };
    if octets.is_empty() {
        findings.add(at, format!("`{key}` is empty"), "give at least one octet, or remove it");
    } else if octets.len() > MOST_SENT {
        findings.add(at, format!("`{key}` has {} octets", octets.len()), format!("use at most {MOST_SENT}"));
    }
    octets
}

fn udp(findings: &mut Findings, raw: &raw::Probe, at: Position) -> Option<Udp> {
    if !raw.send.is_given() && !raw.send_hex.is_given() {
        let reason = "a probe of type `udp` has nothing to send".to_owned();
        return refuse(findings, at, reason, "add `send` or `send_hex`");
    }
    let none = Field::default();
    Some(Udp {
        send: octets(findings, (&raw.send, "send"), (&raw.send_hex, "send_hex")),
        expect: octets(findings, (&raw.expect, "expect"), (&raw.expect_hex, "expect_hex")),
        contains: octets(findings, (&raw.contains, "contains"), (&none, "")),
    })
}

fn dns(findings: &mut Findings, raw: &raw::Probe, at: Position) -> Option<Dns> {
    let query = values::required(findings, &raw.query, at, "query")?;
    if query.is_empty() || Name::from_ascii(query).is_err() {
        let reason = format!("`query` `{query}` is no name of the DNS");
        return refuse(findings, raw.query.at(), reason, "give one such as `example.com`, or `.` for the root");
    }
    let query_type = match raw.query_type.get() {
        None => RecordType::A,
        Some(text) => match RecordType::from_str(&text.to_uppercase()) {
            Ok(found) => found,
            Err(_) => {
                let reason = format!("`query_type` `{text}` is no type of record");
                return refuse(findings, raw.query_type.at(), reason, "use `A`, `AAAA`, `SOA`, `NS`, `TXT` or another");
            }
        },
    };
    let rcode = match raw.rcode.get() {
        None => 0,
        Some(text) => match RCODES.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            Some(code) => code as u16,
            None => {
                let reason = format!("`rcode` `{text}` is no response code");
                return refuse(findings, raw.rcode.at(), reason, &format!("use {}", suggest::either(&RCODES)));
            }
        },
    };
    Some(Dns { query: query.clone(), query_type, rcode, answer: raw.answer.get().cloned() })
}

fn exec(findings: &mut Findings, raw: &raw::Probe, at: Position) -> Option<Exec> {
    let words = values::required(findings, &raw.command, at, "command")?;
    values::command(findings, words, raw.command.at(), "command").map(|command| Exec { command })
}

fn agent(findings: &mut Findings, raw: &raw::Probe) -> Agent {
    let none = Field::default();
    drop(octets(findings, (&raw.send, "send"), (&none, "")));
    Agent { send: raw.send.get().cloned().unwrap_or_default() }
}
