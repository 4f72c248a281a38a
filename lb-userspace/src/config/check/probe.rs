//! Probes of services: the options that all kinds have. Those of a kind are checked in `probe_kind`.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use super::{
    super::{
        field::{Field, ShortOrMap},
        model::{Damping, ForwardingMode, Initial, Ports, Probe, ProbeKind, ProbeVia, Protocol},
        problem::{Findings, Position},
        raw::{self, ProbeType},
        suggest,
    },
    options::Use,
    probe_kind, values,
};

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);

type Given = Field<ShortOrMap<raw::Probe>>;

/// Checks and merges a service's probe: its own keys, then those of a default of the same type, then built-in values.
///
/// A default that the port of a service cannot answer, such as `tcp` for a UDP service, is not for it, unless it has a port.
pub(super) fn check(findings: &mut Findings, own: &Given, default: &Given, used: Use) -> Option<Probe> {
    let fits = |probe: &&raw::Probe| {
        let r#type = probe.r#type.get().copied().unwrap_or(ProbeType::None);
        probe.port.is_given() || !is_deaf(used.protocol, r#type)
    };
    let fallback = default.get().map(|probe| &probe.0).filter(|probe| own.is_given() || fits(probe));
    let at = if own.is_given() { own.at() } else { default.at() }.or(used.at);
    let built_in = raw::Probe { r#type: ProbeType::Tcp.into(), ..raw::Probe::default() };
    let chosen = match (own.is_given(), own.get(), fallback) {
        (true, None, _) => return None,
        (true, Some(own), _) => &own.0,
        (false, _, Some(fallback)) => fallback,
        (false, _, None) if used.protocol == Some(Protocol::Udp) => return None,
        (false, _, None) => &built_in,
    };
    let r#type = *values::required(findings, &chosen.r#type, at, "type")?;
    let inherited = fallback.filter(|probe| probe.r#type.get() == Some(&r#type));
    let merged = chosen.over(inherited.unwrap_or(chosen));
    check_keys(findings, r#type, &merged);
    let kind = probe_kind::check(findings, r#type, &merged, at)?;
    let probe = common(findings, kind, &merged, at);
    check_port(findings, r#type, &probe, at, used);
    Some(probe)
}

/// Whether a port of a service of this protocol cannot answer such a probe.
fn is_deaf(protocol: Option<Protocol>, r#type: ProbeType) -> bool {
    match r#type {
        ProbeType::None | ProbeType::Icmp | ProbeType::Exec => false,
        ProbeType::Udp | ProbeType::Dns => protocol == Some(Protocol::Tcp),
        _ => protocol == Some(Protocol::Udp),
    }
}

/// Keys that a probe of this type does not have.
fn check_keys(findings: &mut Findings, r#type: ProbeType, probe: &raw::Probe) {
    for key in probe.given() {
        let of_none = r#type == ProbeType::None && !key.kinds.is_empty();
        if of_none || !key.kinds.is_empty() && !key.kinds.contains(&r#type) {
            let names: Vec<&str> = key.kinds.iter().map(|kind| kind.name()).collect();
            let reason = format!("a probe of type `{}` has no `{}`", r#type.name(), key.name);
            findings.add(key.at, reason, format!("remove it; it is for {}", suggest::either(&names)));
        }
    }
}

fn common(findings: &mut Findings, kind: ProbeKind, raw: &raw::Probe, at: Position) -> Probe {
    let (interval, timeout) = times(findings, raw, at);
    Probe {
        kind,
        interval,
        fast_interval: fast_interval(findings, raw, interval),
        timeout,
        rise: values::whole(findings, &raw.rise, "rise", 1..=100).unwrap_or(2),
        fall: values::whole(findings, &raw.fall, "fall", 1..=100).unwrap_or(3),
        // A port that is wrong was noted; 1 keeps the check for a missing one quiet.
        port: values::whole(findings, &raw.port, "port", 1..=65_535).or(raw.port.is_given().then_some(1)),
        source: source(findings, &raw.source),
        initial: raw.initial.get().copied().unwrap_or(Initial::Down),
        via: raw.via.get().copied().unwrap_or_default(),
        damping: raw.damping.get().map(|damping| check_damping(findings, damping)),
    }
}

const DAMPING: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

fn check_damping(findings: &mut Findings, raw: &raw::Damping) -> Damping {
    let mut time = |field, key, built_in| values::time(findings, field, key, DAMPING).unwrap_or(built_in);
    let stable = time(&raw.stable, "stable", Duration::from_secs(60));
    let hold = time(&raw.hold, "hold", Duration::from_secs(30));
    let max_hold = time(&raw.max_hold, "max_hold", hold.max(Duration::from_secs(600)));
    if max_hold < hold {
        let [short, long] = [max_hold, hold].map(humantime::format_duration);
        let reason = format!("`max_hold` {short} is shorter than `hold` {long}");
        findings.add(raw.max_hold.at(), reason, format!("set it to {long} or more, or remove it"));
    }
    let flaps = values::whole(findings, &raw.flaps, "flaps", 1..=100).unwrap_or(3);
    Damping { flaps, stable, hold, max_hold }
}

fn times(findings: &mut Findings, raw: &raw::Probe, at: Position) -> (Duration, Duration) {
    let (interval, timeout) = (&raw.interval, &raw.timeout);
    let checked =
        (values::time(findings, interval, "interval", INTERVAL), values::time(findings, timeout, "timeout", TIMEOUT));
    let both = (checked.0.unwrap_or(Duration::from_secs(2)), checked.1.unwrap_or(Duration::from_secs(1)));
    let readable = checked.0.is_some() == interval.is_given() && checked.1.is_some() == timeout.is_given();
    if readable && both.1 > both.0 {
        let [long, short] = [both.1, both.0].map(humantime::format_duration);
        let reason = format!("`timeout` {long} is longer than `interval` {short}");
        findings.add(timeout.at().or(interval.at()).or(at), reason, format!("set `timeout` to {short} or less"));
    }
    both
}

fn fast_interval(findings: &mut Findings, raw: &raw::Probe, interval: Duration) -> Duration {
    let Some(fast) = values::time(findings, &raw.fast_interval, "fast_interval", INTERVAL) else { return interval };
    if fast > interval {
        let [long, short] = [fast, interval].map(humantime::format_duration);
        let reason = format!("`fast_interval` {long} is longer than `interval` {short}");
        findings.add(raw.fast_interval.at(), reason, format!("set it to {short} or less, or remove it"));
    }
    fast
}

fn source(findings: &mut Findings, field: &Field<String>) -> Option<IpAddr> {
    let text = field.get()?;
    match text.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => return Some(address),
        Ok(_) => {
            findings.add(field.at(), format!("`source` `{text}` is no address of a host"), "give one of this node's")
        }
        Err(_) => findings.add(field.at(), format!("`source` `{text}` is no address"), "give an address of this node"),
    }
    None
}

/// A service's own wish for a way that its mode does not have. (A default is for those that have it.)
pub(super) fn check_via(findings: &mut Findings, own: &Given, mode: ForwardingMode) {
    let Some(ShortOrMap(probe)) = own.get() else { return };
    if probe.via.get() == Some(&ProbeVia::Vip) && mode.is_nat() {
        let reason =
            format!("`via: vip` in mode `{}`: packets to its backends are for their own addresses", mode.name());
        findings.add(probe.via.at(), reason, "remove it; `direct` tries the same");
    }
}

fn check_port(findings: &mut Findings, r#type: ProbeType, probe: &Probe, at: Position, used: Use) {
    if probe.port.is_some() || matches!(r#type, ProbeType::Icmp | ProbeType::Exec) {
        return;
    }
    let reason = match used {
        _ if r#type == ProbeType::Agent => "an agent listens on a port of its own",
        Use { protocol: Some(Protocol::Udp), .. } if is_deaf(used.protocol, r#type) => {
            "a UDP service has no port that answers a TCP probe"
        }
        Use { protocol: Some(Protocol::Tcp), .. } if is_deaf(used.protocol, r#type) => {
            "a TCP service has no port that answers a UDP probe"
        }
        Use { ports: Some(Ports::Any), .. } => "a service on any port has no port to probe",
        _ => return,
    };
    findings.add(at, reason, "give `port` in `probe`, or `probe: none`");
}
