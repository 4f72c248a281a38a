//! `evenkeel status`

use std::time::Duration;

use super::{
    Daemon, limits,
    output::{self, Rows, Tone, ago, number, plain, span, until},
};
use crate::api::model::{
    AffinityStatus, BackendStatus, GroupStatus, PassiveChange, PassiveStatus, QuorumStatus, ServiceStatus, Status,
};

pub(super) fn main(daemon: &Daemon<'_>) -> anyhow::Result<()> {
    let status: Status = daemon.get("/v1/status")?;
    if daemon.json {
        return output::json(&status);
    }
    print_node(&status);
    for service in &status.services {
        output::print("");
        print_service(service);
    }
    Ok(())
}

fn print_node(status: &Status) {
    let node = &status.node;
    let interfaces: Vec<String> = node.interfaces.iter().map(|i| format!("{} ({})", i.name, i.mode)).collect();
    output::print(&format!(
        "evenkeel {}, up {}, on {}\nflow table: {} of {} entries in use",
        status.version,
        ago(status.started),
        interfaces.join(", "),
        number(node.flow_entries_used),
        number(node.flow_entries)
    ));
    let counters = &node.counters;
    let passed: u64 = counters.passed.values().sum();
    let dropped: u64 = counters.dropped.values().sum();
    output::print(&format!(
        "packets: {} received, {} forwarded, {} to the host, {} dropped",
        number(counters.received),
        number((counters.transmitted + counters.redirected).saturating_sub(counters.replies)),
        number(passed),
        number(dropped)
    ));
    for (reason, count) in counters.dropped.iter().filter(|(_, count)| **count > 0) {
        let help = lb_common::verdict::DropReason::ALL.iter().find(|known| known.name() == reason);
        output::print(&format!("  {} {reason}: {}", number(*count), help.map_or("", |known| known.help())));
    }
    if counters.flows_forgotten > 0 {
        output::print(&format!("  {} in a flood, by hash and not remembered", number(counters.flows_forgotten)));
    }
    if counters.quic_unrouted > 0 {
        output::print(&format!(
            "  {} with a QUIC connection id that names no backend, by flow table or hash",
            number(counters.quic_unrouted)
        ));
    }
    if counters.toa_omitted > 0 {
        output::print(&format!(
            "  {} without the TCP option that tells the backend its client, for want of room",
            number(counters.toa_omitted)
        ));
    }
    output::print(&format!("configuration: version {}, {}", status.config_version, status.config_file));
    if let Some(at) = status.verify.last_drift {
        output::print(&format!(
            "tables: {} records were not as they should be and were repaired, the last {} ago",
            number(status.verify.drifted),
            ago(at)
        ));
    }
    for reason in &status.left_out {
        output::print(&format!("left out, as it does not go with the configuration file:\n{reason}"));
    }
    if let Some(error) = &status.reload_error {
        output::print(&format!("the last reload was refused:\n{error}"));
    }
}

/// A service with its backends, and what is wrong with them.
pub(super) fn print_service(service: &ServiceStatus) {
    output::print(&format!(
        "{}: {} {} port {}, {} {}, {} flows, {} packets",
        service.name,
        service.protocol,
        service.vip,
        service.port,
        service.mode,
        service.scheduler,
        number(service.active_flows),
        number(service.packets)
    ));
    match &service.place {
        Some(place) => output::print(&format!("  from {place}")),
        None if service.origin == "runtime" => output::print("  applied at run time, in no configuration file"),
        None => {}
    }
    if let Some(AffinityStatus { r#type, prefix, timeout_ms }) = &service.affinity {
        let timeout = span(Duration::from_millis(*timeout_ms));
        output::print(&format!(
            "  affinity {type}, a /{prefix} stays with a backend until {timeout} after its last new flow"
        ));
    }
    if let Some(quorum) = &service.quorum {
        output::print(&format!("  quorum {}", quorum_words(quorum)));
    }
    for line in group_lines(service) {
        output::print(&format!("  {line}"));
    }
    for line in limits::lines(&service.limits) {
        output::print(&format!("  {line}"));
    }
    print_backends(service);
    if let Some(note) = &service.scheduler_note {
        output::print(&format!("  {}: {note}", service.scheduler));
    }
    for backend in &service.backends {
        for remark in remarks(service, backend) {
            output::print(&format!("  {}: {remark}", backend.name));
        }
    }
}

/// What each group takes, if there are several, and why it is not the first one alone.
fn group_lines(service: &ServiceStatus) -> Vec<String> {
    let flows = if service.by_score { "live" } else { "new" };
    let line = |group: &GroupStatus| {
        let name = group.priority.map_or("backups".to_owned(), |priority| format!("priority {priority}"));
        let &GroupStatus { share_percent, able, backends, able_weight, weight, .. } = group;
        let percent = (100 * able_weight).checked_div(weight).unwrap_or(0);
        format!(
            "{name}: {share_percent:.1}% of {flows} flows; able: {able} of {backends} backends, {percent}% of weight"
        )
    };
    let groups = if service.groups.len() > 1 { service.groups.as_slice() } else { &[] };
    groups.iter().map(line).chain(service.groups_note.clone()).collect()
}

fn quorum_words(quorum: &QuorumStatus) -> String {
    let percent = (100 * quorum.able_weight).checked_div(quorum.weight).unwrap_or(0);
    format!(
        "{} for {}: {} of {} backends can take flows, {percent}% of the weight; met with {}, lost below {}",
        quorum.state,
        ago(quorum.since),
        quorum.able,
        quorum.backends,
        quorum.up,
        quorum.down
    )
}

pub(super) fn print_backends(service: &ServiceStatus) {
    let mut rows = Rows::new(&["  BACKEND", "ADDRESS", ">WEIGHT", ">SHARE", "HEALTH", "STATE", ">FLOWS", ">PACKETS"]);
    for backend in &service.backends {
        rows.row([
            plain(format!("  {}", backend.name)),
            plain(backend.address),
            plain(backend.weight),
            plain(share(service, backend)),
            health(backend),
            state(backend),
            plain(number(backend.active_flows)),
            plain(number(backend.packets)),
        ]);
    }
    rows.print();
}

fn share(service: &ServiceStatus, backend: &BackendStatus) -> String {
    if service.by_score {
        return if backend.takes_flows { "by score" } else { "-" }.to_owned();
    }
    if service.slots == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", 100.0 * f64::from(backend.slots) / f64::from(service.slots))
}

fn health(backend: &BackendStatus) -> (String, Tone) {
    let tone = match backend.health.as_str() {
        "up" => Tone::Good,
        "down" => Tone::Bad,
        _ => Tone::Plain,
    };
    (backend.health.clone(), tone)
}

/// What the operator wants, and whether the file or somebody at run time said so (`*`).
fn state(backend: &BackendStatus) -> (String, Tone) {
    let mark = if backend.origin == "runtime" || !backend.runtime_changes.is_empty() { "*" } else { "" };
    if backend.leaving {
        return ("leaving*".to_owned(), Tone::Notable);
    }
    let name = crate::controller::change::state_name(backend.admin_state);
    let tone = if name == "enabled" { Tone::Plain } else { Tone::Notable };
    (format!("{name}{mark}"), tone)
}

/// What its clients' packets say.
fn passive(passive: &PassiveStatus) -> Option<String> {
    let said = match (passive.standing.as_str(), passive.failure_percent) {
        ("fine", Some(percent)) if percent >= 1.0 => {
            return Some(format!(
                "clients' packets: {percent:.0} % of {} connections were not answered",
                number(passive.connections)
            ));
        }
        ("fine", _) => return None,
        ("outlier", _) => "stands out, and takes flows all the same".to_owned(),
        ("ejected", _) => {
            let left = passive.until.map(|at| format!(", {} to go", until(at))).unwrap_or_default();
            format!("ejected: takes no new flows{left}, time {} in succession", passive.times)
        }
        (_, _) => "ejected: its time is over, and its probe has not succeeded since".to_owned(),
    };
    let caused = |change: &&PassiveChange| matches!(change.standing.as_str(), "ejected" | "outlier");
    let cause = passive.history.iter().rev().find(caused).map(|change| format!(": {}", change.reason));
    let since = passive.since.map(|since| format!(" for {}", ago(since))).unwrap_or_default();
    Some(format!("clients' packets: {said}{since}{}", cause.unwrap_or_default()))
}

pub(super) fn remarks(service: &ServiceStatus, backend: &BackendStatus) -> Vec<String> {
    let mut remarks = Vec::new();
    if backend.backup {
        remarks.push("backup".to_owned());
    } else if backend.priority > 0 {
        remarks.push(format!("priority {}", backend.priority));
    }
    if backend.max_connections > 0 {
        let (flows, most) = (number(backend.active_flows), number(backend.max_connections.into()));
        let is_full = backend.active_flows >= backend.max_connections.into();
        remarks.push(format!("{}{flows} of {most} connections", if is_full { "full: " } else { "" }));
    }
    if backend.health == "down"
        && let (Some(since), Some(reason)) = (backend.health_since, &backend.health_reason)
    {
        remarks.push(format!("down for {}: {reason}", ago(since)));
    }
    if let Some(held_until) = backend.held_until {
        remarks.push(format!("held down for flapping: {} to go, whatever its probes say", until(held_until)));
    }
    if let Some(error) = backend.last_probe.as_ref().and_then(|last| last.error.as_ref())
        && (backend.health == "unknown" || error.starts_with("cannot probe"))
    {
        remarks.push(format!("last probe: {error}"));
    }
    if let Some(wants) = &backend.wants {
        let effect = if wants == "maint" { "takes no flows and keeps none" } else { "takes no new flows" };
        remarks.push(format!("says {wants} itself: {effect}"));
    }
    remarks.extend(backend.passive.as_ref().and_then(passive));
    if let Some(percent) = backend.slow_start_percent {
        remarks.push(format!("slow start: has {percent} % of its weight"));
    }
    if let Some(percent) = backend.weight_percent.filter(|percent| *percent != 100) {
        remarks.push(format!("asks for {percent} % of its weight itself"));
    }
    if let Some(reason) = &backend.next_hop.reason {
        let since = backend.next_hop.since.map(|since| format!(" for {}", ago(since))).unwrap_or_default();
        let effect = match &backend.next_hop.drops {
            None => "its last known address is used".to_owned(),
            Some(counter) => format!("its packets are dropped and counted as {counter}"),
        };
        remarks.push(format!("no next hop{since}: {reason}; {effect}"));
    }
    if let Some(drain) = &backend.drain {
        let left = number(drain.flows_left);
        remarks.push(match (drain.ended, drain.empty, drain.overdue) {
            (Some(ended), true, _) => format!(
                "drained: no flow is left since {} ago, {} after the drain began",
                ago(ended),
                span(ended.duration_since(drain.since).unwrap_or_default())
            ),
            (_, true, _) => format!("drained: no flow is left, {} after the drain began", ago(drain.since)),
            (_, false, true) if drain.then == "reset" => {
                format!("drain overdue: {left} flows are left, each is reset with its next packet")
            }
            (_, false, true) => format!("drain overdue: {left} flows are left"),
            (_, false, false) => {
                let then = if drain.then.is_empty() { String::new() } else { format!(", then: {}", drain.then) };
                format!("draining: {left} flows are left, {} to go{then}", until(drain.deadline))
            }
        });
    }
    if backend.origin == "runtime" && service.origin != "runtime" {
        remarks.push("added at run time, not in the configuration file".to_owned());
    }
    if let Some(registration) = &backend.registration {
        let time = |ms| span(Duration::from_millis(ms));
        remarks.push(format!(
            "registered for {}: leaves in {} unless it is added again",
            time(registration.ttl_ms),
            time(registration.remaining_ms)
        ));
    }
    if !backend.runtime_changes.is_empty() {
        remarks.push(format!("changed at run time: {}", backend.runtime_changes.join(", ")));
    }
    if backend.admin_state == crate::config::model::AdminState::Enabled
        && backend.health == "unknown"
        && !backend.takes_flows
        && service.slots > 0
    {
        remarks.push("not probed often enough to take flows".to_owned());
    }
    remarks
}
