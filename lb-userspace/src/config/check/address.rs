//! Addresses and ports.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{
    model::Ports,
    problem::{Findings, Position},
};

/// Addresses that can be no VIP and no backend.
const SPECIAL: [(&str, &str); 9] = [
    ("0.0.0.0/8", "unspecified (RFC 1122, section 3.2.1.3)"),
    ("127.0.0.0/8", "loopback (RFC 1122, section 3.2.1.3)"),
    ("169.254.0.0/16", "link-local (RFC 3927)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("255.255.255.255/32", "broadcast (RFC 919)"),
    ("::/128", "unspecified (RFC 4291, section 2.5.2)"),
    ("::1/128", "loopback (RFC 4291, section 2.5.3)"),
    ("fe80::/10", "link-local (RFC 4291, section 2.5.6)"),
    ("ff00::/8", "multicast (RFC 4291, section 2.7)"),
];

/// What kind of special address is in a prefix.
fn special(prefix: IpNet) -> Option<&'static str> {
    SPECIAL.iter().find_map(|&(other, kind)| {
        let other: IpNet = other.parse().ok()?;
        (other.contains(&prefix) || prefix.contains(&other)).then_some(kind)
    })
}

/// Whether it is an IPv4 address in IPv6 clothes (RFC 4291, section 2.5.5.2), which is never on the wire.
fn mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// Reads a virtual IP: an address or a prefix.
pub(super) fn vip(findings: &mut Findings, text: &str, at: Position) -> Option<IpNet> {
    unicast_prefix(findings, text, at, "vip")
}

/// Reads an address or a prefix of unicast addresses.
pub(super) fn unicast_prefix(findings: &mut Findings, text: &str, at: Position, key: &str) -> Option<IpNet> {
    let parsed = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
    let Ok(prefix) = parsed else {
        let reason = format!("`{key}` `{text}` is no address or prefix");
        findings.add(at, reason, "write it as `192.0.2.10`, `192.0.2.0/28` or \"2001:db8::10\"");
        return None;
    };
    let (reason, remedy) = if let Some(kind) = special(prefix) {
        (format!("`{key}` {text} is or holds an address that is {kind}"), "use a unicast address".to_owned())
    } else if mapped(prefix.addr()) {
        (format!("`{key}` {text} is an IPv4-mapped address"), "write the IPv4 address".to_owned())
    } else if prefix.trunc() != prefix {
        (format!("`{key}` {text} has host bits"), format!("use `{}` or `{}`", prefix.trunc(), prefix.addr()))
    } else {
        return Some(prefix);
    };
    findings.add(at, reason, remedy);
    None
}

/// Reads an address or a prefix of clients: any, since it only says whom a rule is about.
pub(super) fn client_prefix(findings: &mut Findings, text: &str, at: Position, key: &str) -> Option<IpNet> {
    let parsed = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
    let Ok(prefix) = parsed else {
        let reason = format!("`{text}` in `{key}` is no address or prefix");
        findings.add(at, reason, "write it as `192.0.2.10`, `192.0.2.0/24` or \"2001:db8::/32\"");
        return None;
    };
    let (reason, remedy) = if mapped(prefix.addr()) {
        (format!("{text} in `{key}` is an IPv4-mapped address"), "write the IPv4 address".to_owned())
    } else if prefix.trunc() != prefix {
        (format!("{text} in `{key}` has host bits"), format!("use `{}` or `{}`", prefix.trunc(), prefix.addr()))
    } else {
        return Some(prefix);
    };
    findings.add(at, reason, remedy);
    None
}

/// Reads a backend's address.
pub(super) fn backend(findings: &mut Findings, text: &str, at: Position) -> Option<IpAddr> {
    let Ok(address) = text.parse::<IpAddr>() else {
        let reason = format!("`{text}` is no address of a backend");
        findings.add(at, reason, "write it as `10.0.0.11` or \"2001:db8::11\", without port or prefix length");
        return None;
    };
    let (reason, remedy) = if let Some(kind) = special(address.into()) {
        (format!("backend {address} is {kind}"), "use a unicast address")
    } else if mapped(address) {
        (format!("backend {address} is an IPv4-mapped address"), "write the IPv4 address")
    } else {
        return Some(address);
    };
    findings.add(at, reason, remedy);
    None
}

/// Reads the ports of a service.
pub(super) fn ports(findings: &mut Findings, text: &str, at: Position) -> Option<Ports> {
    if text == "any" {
        return Some(Ports::Any);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Some(from), Some(to)) = (digits(first), digits(last)) else {
        let reason = format!("`port` `{text}` is no port");
        findings.add(at, reason, "use a number, a range such as `8000-8099`, or `any`");
        return None;
    };
    let (Some(from), Some(to)) = (port_number(from), port_number(to)) else {
        findings.add(at, format!("`port` {text} is out of range"), "use 1 to 65535");
        return None;
    };
    if from > to {
        findings.add(at, format!("`port` {text} is reversed"), format!("write `{to}-{from}`"));
        return None;
    }
    Some(Ports::Range(from, to))
}

fn digits(text: &str) -> Option<u64> {
    // Twenty digits are more than any port and fit no u64 either: they are out of range like 70000.
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().unwrap_or(u64::MAX))
}

fn port_number(number: u64) -> Option<u16> {
    u16::try_from(number).ok().filter(|&port| port != 0)
}
