//! The machine.

use std::{
    collections::HashSet,
    net::IpAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use lb_common::abi::MAX_POOL;

use super::{
    super::{
        field::{Field, Secret, ShortOrMap, Whole},
        model::{AttachMode, Interface, Limits, Nat, Node, TunnelSources},
        problem::{Findings, Position},
        raw,
    },
    address, values,
};

/// Reads a secret's file; the error says why it cannot.
pub(in super::super) type ReadSecret<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// Checks the machine's part.
pub(super) fn check(
    findings: &mut Findings,
    raw: &raw::Node,
    at: Position,
    read_secret: Option<ReadSecret<'_>>,
) -> Node {
    let api = raw.api.get();
    let fragments = raw.fragment_table.get();
    let socket = api.and_then(|api| socket(findings, &api.socket));
    Node {
        interfaces: interfaces(findings, &raw.interfaces, at),
        flow_entries: raw
            .flow_table
            .get()
            .and_then(|table| entries(findings, &table.entries, 1 << 28))
            .unwrap_or(1 << 20),
        fragment_entries: fragments.and_then(|table| entries(findings, &table.entries, 1 << 24)).unwrap_or(1 << 14),
        fragment_timeout: fragments
            .and_then(|table| values::time(findings, &table.timeout, "timeout", FRAGMENT_TIMEOUT))
            .unwrap_or(Duration::from_secs(30)),
        hash_secret: secret(findings, raw, read_secret),
        api_socket: socket.unwrap_or_else(|| "/run/evenkeel/evenkeel.sock".into()),
        api_group: api.and_then(|api| group(findings, &api.group)),
        pin_directory: values::path(findings, &raw.pin_directory, "pin_directory")
            .unwrap_or_else(|| "/sys/fs/bpf/evenkeel".into()),
        state_directory: values::path(findings, &raw.state_directory, "state_directory")
            .unwrap_or_else(|| "/var/lib/evenkeel".into()),
        tunnel: tunnel(findings, raw.tunnel.get().unwrap_or(&raw::Tunnel::default())),
        nat: nat(findings, raw.nat.get().unwrap_or(&raw::Nat::default())),
        icmp_echo: raw.icmp_echo.get().copied().unwrap_or(true),
        probe_mark: values::whole(findings, &raw.probe_mark, "probe_mark", 1..=u32::MAX.into()).unwrap_or(0x00e7_0000),
        verify_interval: values::time(findings, &raw.verify_interval, "verify_interval", VERIFY_INTERVAL)
            .unwrap_or(Duration::from_secs(60)),
        limits: limits(findings, raw.limits.get().unwrap_or(&raw::Limits::default())),
    }
}

fn interfaces(
    findings: &mut Findings,
    field: &Field<Vec<Field<ShortOrMap<raw::Interface>>>>,
    parent: Position,
) -> Vec<Interface> {
    let Some(list) = values::required(findings, field, parent, "interfaces") else { return Vec::new() };
    if list.is_empty() {
        findings.add(field.at(), "no interfaces", "name at least one interface that receives traffic");
    }
    let mut seen = HashSet::new();
    let mut checked = Vec::new();
    for item in list {
        let Some(ShortOrMap(raw)) = item.get() else { continue };
        let Some(interface) = interface(findings, raw, item.at()) else { continue };
        if !seen.insert(interface.name.clone()) {
            let reason = format!("interface `{}` is given twice", interface.name);
            findings.add(raw.name.at().or(item.at()), reason, "remove one of the two");
        }
        checked.push(interface);
    }
    checked
}

fn interface(findings: &mut Findings, raw: &raw::Interface, parent: Position) -> Option<Interface> {
    let name = values::required(findings, &raw.name, parent, "name")?;
    let at = raw.name.at().or(parent);
    // What Linux takes for a name: dev_valid_name() in net/core/dev.c.
    let wrong = |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '/' | ':');
    let (reason, remedy) = if name.len() > 15 {
        (format!("interface name `{name}` is longer than 15 bytes"), "shorten it")
    } else if name.is_empty() || name == "." || name == ".." || name.contains(wrong) {
        (format!("`{name}` is no name of an interface"), "use a name that `ip link` shows")
    } else {
        let mode = raw.mode.get().copied().unwrap_or(AttachMode::Auto);
        return Some(Interface { name: name.clone(), mode });
    };
    findings.add(at, reason, remedy);
    None
}

const VERIFY_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// As long as hosts put datagrams together (RFC 791, section 3.2: 15 s; RFC 1122, section 3.3.2: 60 to 120 s; RFC 8200, section
/// 4.5: 60 s). Linux takes 30 s.
const FRAGMENT_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);

fn entries(findings: &mut Findings, entries: &Field<Whole>, most: u32) -> Option<u32> {
    power_of_two(findings, entries, "entries", most)
}

fn power_of_two(findings: &mut Findings, entries: &Field<Whole>, key: &str, most: u32) -> Option<u32> {
    let count: u32 = values::whole(findings, entries, key, 1024..=most.into())?;
    if !count.is_power_of_two() {
        let (below, above) = (count.next_power_of_two() / 2, count.next_power_of_two());
        let reason = format!("`{key}` {count} is not a power of two");
        findings.add(entries.at(), reason, format!("use {below} or {above}"));
    }
    Some(count)
}

/// The longest path that fits the kernel's `sun_path` with its end mark.
const MAX_SOCKET_PATH: usize = 107;

fn socket(findings: &mut Findings, field: &Field<String>) -> Option<PathBuf> {
    let path = values::path(findings, field, "socket")?;
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        findings.add(field.at(), format!("`socket` is longer than {MAX_SOCKET_PATH} bytes"), "use a shorter path");
    }
    Some(path)
}

fn group(findings: &mut Findings, field: &Field<String>) -> Option<String> {
    let name = field.get()?;
    let wrong = |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, ':' | ',' | '/');
    if name.is_empty() || name.len() > 32 || name.contains(wrong) {
        let reason = format!("`{name}` is no name of a group");
        findings.add(field.at(), reason, "use a name of /etc/group");
        return None;
    }
    Some(name.clone())
}

const SECRET_LENGTH: RangeInclusive<usize> = 16..=1024;

fn secret(findings: &mut Findings, raw: &raw::Node, read: Option<ReadSecret<'_>>) -> Option<String> {
    let (given, file) = (&raw.hash_secret, &raw.hash_secret_file);
    if given.is_given() && file.is_given() {
        let at = given.at().max(file.at());
        findings.add(at, "both `hash_secret` and `hash_secret_file` are given", "remove one of the two");
        return None;
    }
    if let Some(Secret(secret)) = given.get() {
        return sized(findings, secret, given.at(), "`hash_secret`");
    }
    let path = values::path(findings, file, "hash_secret_file")?;
    let text = match read?(&path) {
        Ok(text) => text,
        Err(error) => {
            let reason = format!("`hash_secret_file` {} cannot be read: {error}", path.display());
            findings.add(file.at(), reason, "make it a file of text that the daemon may read");
            return None;
        }
    };
    sized(findings, text.trim_end_matches(['\r', '\n']), file.at(), "the secret in `hash_secret_file`")
}

/// The secret itself never gets into a message.
fn sized(findings: &mut Findings, secret: &str, at: Position, what: &str) -> Option<String> {
    let length = secret.chars().count();
    if SECRET_LENGTH.contains(&length) {
        return Some(secret.to_owned());
    }
    let word = if length < *SECRET_LENGTH.start() { "short" } else { "long" };
    let (least, most) = (SECRET_LENGTH.start(), SECRET_LENGTH.end());
    findings.add(at, format!("{what} is too {word}"), format!("use {least} to {most} random characters"));
    None
}

fn tunnel(findings: &mut Findings, raw: &raw::Tunnel) -> TunnelSources {
    let mut source = |field: &Field<String>, key: &str, is_v4: bool| -> Option<IpNet> {
        let text = field.get()?;
        let prefix = address::unicast_prefix(findings, text, field.at(), key)?;
        if prefix.addr().is_ipv4() == is_v4 {
            return Some(prefix);
        }
        let other = if is_v4 { "source_ipv6" } else { "source_ipv4" };
        findings.add(field.at(), format!("`{key}` {text} is of the other family"), format!("give it as `{other}`"));
        None
    };
    TunnelSources {
        ipv4: source(&raw.source_ipv4, "source_ipv4", true).and_then(|prefix| match prefix {
            IpNet::V4(prefix) => Some(prefix),
            IpNet::V6(_) => None,
        }),
        ipv6: source(&raw.source_ipv6, "source_ipv6", false).and_then(|prefix| match prefix {
            IpNet::V6(prefix) => Some(prefix),
            IpNet::V4(_) => None,
        }),
    }
}

fn nat(findings: &mut Findings, raw: &raw::Nat) -> Nat {
    let entries = entries(findings, &raw.entries, 1 << 26).unwrap_or(1 << 18);
    let mut pool: Vec<IpAddr> = Vec::new();
    for item in raw.pool.get().into_iter().flatten() {
        let Some(text) = item.get() else { continue };
        let Some(address) = address::backend(findings, text, item.at()) else { continue };
        if pool.contains(&address) {
            findings.add(item.at(), format!("pool address {address} is given twice"), "remove one of the two");
            continue;
        }
        pool.push(address);
    }
    for (family, is_v4) in [("IPv4", true), ("IPv6", false)] {
        let count = pool.iter().filter(|address| address.is_ipv4() == is_v4).count();
        if count > MAX_POOL as usize {
            let reason = format!("{count} {family} addresses in `pool`, and {MAX_POOL} are the most");
            findings.add(raw.pool.at(), reason, "remove some");
        }
    }
    Nat { entries, pool }
}

fn limits(findings: &mut Findings, raw: &raw::Limits) -> Limits {
    Limits {
        services: values::whole(findings, &raw.services, "services", 1..=65_536).unwrap_or(1024),
        backends: values::whole(findings, &raw.backends, "backends", 1..=1_048_576).unwrap_or(16_384),
        prefixes: values::whole(findings, &raw.prefixes, "prefixes", 16..=262_144).unwrap_or(16_384),
        clients: power_of_two(findings, &raw.clients, "clients", 16_777_216).unwrap_or(1 << 20),
        slots: values::whole(findings, &raw.slots, "slots", 1024..=268_435_456).unwrap_or(4_194_304),
    }
}
