//! Quorums and hooks of services.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    super::{
        field::{Field, LevelSpec},
        model::{Hook, Hooks, Level, Quorum},
        problem::{Findings, Position},
        raw,
    },
    values,
};

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// Checks a quorum.
pub(super) fn quorum(findings: &mut Findings, field: &Field<raw::Quorum>) -> Option<Quorum> {
    let raw = field.get()?;
    let up = values::required(findings, &raw.up, field.at(), "up")?;
    let up = level(findings, up, raw.up.at(), "up")?;
    let Some(down) = raw.down.get() else { return Some(Quorum { up, down: up }) };
    let at = raw.down.at();
    let down = level(findings, down, at, "down")?;
    let is_more = match (up, down) {
        (Level::Backends(up), Level::Backends(down)) => down > up,
        (Level::Percent(up), Level::Percent(down)) => down > up,
        _ => {
            let reason = format!("`up` {up} and `down` {down} are of different kinds");
            findings.add(at, reason, "give both as numbers of backends, or both as percent of the weights");
            return None;
        }
    };
    if is_more {
        let reason = format!("`down` {down} is more than `up` {up}: it would be met and lost at a time");
        findings.add(at, reason, format!("set `down` to {up} or less"));
    }
    Some(Quorum { up, down })
}

fn level(findings: &mut Findings, LevelSpec(text): &LevelSpec, at: Position, key: &str) -> Option<Level> {
    let level = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse().ok().filter(|p| (1..=100).contains(p)).map(Level::Percent),
        None => text.parse().ok().filter(|count| (1..=65_535).contains(count)).map(Level::Backends),
    };
    if level.is_none() {
        let remedy = "use a number of backends, 1 to 65535, or a share of their weights, 1% to 100%";
        findings.add(at, format!("`{key}` `{text}` is no quorum"), remedy);
    }
    level
}

/// Checks hooks; one for a quorum needs one.
pub(super) fn hooks(findings: &mut Findings, field: &Field<raw::Hooks>, quorum: &Field<raw::Quorum>) -> Hooks {
    let Some(raw) = field.get() else { return Hooks::default() };
    let timeout = values::time(findings, &raw.timeout, "timeout", TIMEOUT).unwrap_or(Duration::from_secs(10));
    if raw.quorum.is_given() && !quorum.is_given() {
        findings.add(
            raw.quorum.at(),
            "a hook for a quorum, and no `quorum`",
            "add `quorum`, such as `quorum: {up: 1}`",
        );
    }
    let mut hook = |field: &Field<Vec<Field<String>>>, key| {
        let command = values::command(findings, field.get()?, field.at(), key)?;
        Some(Hook { command, timeout })
    };
    Hooks { backend: hook(&raw.backend, "backend"), quorum: hook(&raw.quorum, "quorum") }
}
