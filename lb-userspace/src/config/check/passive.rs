//! Checks of passive health.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    super::{
        field::{Field, ShortOrMap},
        model::{PassiveHealth, Protocol},
        problem::Findings,
        raw::{PassiveHealth as Raw, PassiveMode},
    },
    values,
};

const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const EJECTION: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const PERCENT: RangeInclusive<i64> = 1..=100;

/// Checks a service's own, else the default, which is for services with TCP alone.
pub(super) fn check(
    findings: &mut Findings,
    own: &Field<ShortOrMap<Raw>>,
    default: &Field<ShortOrMap<Raw>>,
    protocol: Option<Protocol>,
) -> Option<PassiveHealth> {
    let field = values::pick(own, default);
    let ShortOrMap(raw) = field.get()?;
    let mode = *values::required(findings, &raw.mode, field.at(), "mode")?;
    let built_in = PassiveHealth::default();
    let eject_for = values::time(findings, &raw.eject_for, "eject_for", EJECTION).unwrap_or(built_in.eject_for);
    let at_most = values::time(findings, &raw.eject_at_most, "eject_at_most", eject_for..=LONGEST);
    let checked = PassiveHealth {
        ejects: mode == PassiveMode::Eject,
        interval: values::time(findings, &raw.interval, "interval", INTERVAL).unwrap_or(built_in.interval),
        min_connections: values::whole(findings, &raw.min_connections, "min_connections", 1..=1_000_000)
            .unwrap_or(built_in.min_connections),
        failure_margin: values::whole(findings, &raw.failure_margin, "failure_margin", PERCENT)
            .unwrap_or(built_in.failure_margin),
        eject_for,
        eject_at_most: at_most.unwrap_or(built_in.eject_at_most.max(eject_for)),
        max_ejected: values::whole(findings, &raw.max_ejected, "max_ejected", PERCENT).unwrap_or(built_in.max_ejected),
    };
    if mode == PassiveMode::Off {
        return None;
    }
    if protocol == Some(Protocol::Udp) {
        if own.is_given() {
            let reason = "passive health goes by TCP connections, and this service has none";
            findings.add(own.at(), reason, "remove `passive_health`");
        }
        return None;
    }
    Some(checked)
}
