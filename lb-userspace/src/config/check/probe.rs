//! Probes of services.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    super::{
        field::{Field, ShortOrMap},
        model::{Initial, Ports, Probe, ProbeKind, Protocol},
        problem::{Findings, Position},
        raw,
    },
    options::Use,
    values::{self, pick},
};

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);

type Given = Field<ShortOrMap<raw::Probe>>;

/// Checks and merges a service's probe: its own keys, then those of a default of the same type, then built-in values.
///
/// A default without `port` is not for UDP services: their port answers no TCP probe.
pub(super) fn check(findings: &mut Findings, own: &Given, default: &Given, used: Use) -> Option<Probe> {
    let udp = used.protocol == Some(Protocol::Udp);
    let fallback = default.get().map(|probe| &probe.0).filter(|probe| !udp || own.is_given() || probe.port.is_given());
    let at = if own.is_given() { own.at() } else { default.at() }.or(used.at);
    let built_in = raw::Probe { r#type: raw::ProbeType::Tcp.into(), ..raw::Probe::default() };
    let chosen = match (own.is_given(), own.get(), fallback) {
        (true, None, _) => return None,
        (true, Some(own), _) => &own.0,
        (false, _, Some(fallback)) => fallback,
        (false, _, None) if udp => return None,
        (false, _, None) => &built_in,
    };
    let kind = match values::required(findings, &chosen.r#type, at, "type")? {
        raw::ProbeType::None => return None,
        raw::ProbeType::Tcp => ProbeKind::Tcp,
    };
    let inherited = fallback.filter(|probe| probe.r#type.get() == chosen.r#type.get());
    let probe = merged(findings, kind, chosen, inherited.unwrap_or(chosen), at);
    check_port(findings, &probe, at, used);
    Some(probe)
}

fn merged(findings: &mut Findings, kind: ProbeKind, own: &raw::Probe, default: &raw::Probe, at: Position) -> Probe {
    let port = pick(&own.port, &default.port);
    let (interval, timeout) = times(findings, own, default, at);
    Probe {
        kind,
        interval,
        timeout,
        rise: values::whole(findings, pick(&own.rise, &default.rise), "rise", 1..=100).unwrap_or(2),
        fall: values::whole(findings, pick(&own.fall, &default.fall), "fall", 1..=100).unwrap_or(3),
        // A port that is wrong was noted; 1 keeps the check for a missing one quiet.
        port: values::whole(findings, port, "port", 1..=65_535).or(port.is_given().then_some(1)),
        initial: pick(&own.initial, &default.initial).get().copied().unwrap_or(Initial::Down),
    }
}

fn times(findings: &mut Findings, own: &raw::Probe, default: &raw::Probe, at: Position) -> (Duration, Duration) {
    let (interval, timeout) = (pick(&own.interval, &default.interval), pick(&own.timeout, &default.timeout));
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

fn check_port(findings: &mut Findings, probe: &Probe, at: Position, used: Use) {
    if probe.port.is_some() {
        return;
    }
    let reason = match used {
        Use { protocol: Some(Protocol::Udp), .. } => "a UDP service has no port that answers a TCP probe",
        Use { ports: Some(Ports::Any), .. } => "a service on any port has no port to probe",
        _ => return,
    };
    findings.add(at, reason, "give `port` in `probe`, or `probe: none`");
}
