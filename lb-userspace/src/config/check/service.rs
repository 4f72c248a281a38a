//! Services.

use std::sync::Arc;

use super::{
    super::{
        field::{Field, ShortOrMap},
        model::{Backend, OnNoBackend, PoolFamilies, Service, TunnelSources},
        problem::{Findings, Position},
        raw,
    },
    across::Place,
    address,
    backend::{self, Surroundings},
    node::ReadSecret,
    options::{self, Use},
    quic, values,
};

/// Where the parts of a service stand, for problems that show only between services.
pub(super) struct Places {
    name: Position,
    vip: Position,
    ports: Position,
    scheduler: Position,
    probe: Position,
    quic: Position,
}

impl Places {
    fn of(raw: &raw::Service, at: Position) -> Self {
        Self {
            name: raw.name.at().or(at),
            vip: raw.vip.at().or(at),
            ports: raw.port.at().or(at),
            scheduler: raw.scheduler.at().or(at),
            probe: raw.probe.at().or(at),
            quic: raw.quic.at().or(at),
        }
    }

    /// Where a problem with a service stands.
    pub(super) fn find(all: &[Self], place: Place, services: Position) -> Position {
        let at = |index: usize, part: fn(&Self) -> Position| all.get(index).map_or(services, part);
        match place {
            Place::Services => services,
            Place::Name(index) => at(index, |places| places.name),
            Place::Vip(index) => at(index, |places| places.vip),
            Place::Ports(index) => at(index, |places| places.ports),
            Place::Scheduler(index) => at(index, |places| places.scheduler),
            Place::Probe(index) => at(index, |places| places.probe),
            Place::Quic(index) => at(index, |places| places.quic),
        }
    }
}

/// Checks a service that stands at `at`.
pub(super) fn check(
    findings: &mut Findings,
    raw: &raw::Service,
    defaults: raw::Options<'_>,
    ((tunnel, pool), flow_entries): ((TunnelSources, PoolFamilies), u32),
    read_secret: Option<ReadSecret<'_>>,
    at: Position,
) -> Option<(Arc<Service>, Places)> {
    let name = values::required(findings, &raw.name, at, "name")
        .and_then(|name| values::name(findings, name, raw.name.at(), "name"));
    let vip = values::required(findings, &raw.vip, at, "vip").and_then(|vip| address::vip(findings, vip, raw.vip.at()));
    let ports = values::required(findings, &raw.port, at, "port")
        .and_then(|ports| address::ports(findings, &ports.0, raw.port.at()));
    let protocol = values::required(findings, &raw.protocol, at, "protocol").copied();
    let options = options::check(findings, raw.options(), defaults, Use { at, protocol, ports, flow_entries });
    let backends = backends(findings, &raw.backends, Surroundings::new(vip, ports, options.mode, (tunnel, pool)), at);
    sorry_backup(findings, &raw.on_no_backend, &backends);
    let quic = quic::configurations(findings, &raw.quic, protocol, read_secret);
    let service = Service {
        name: name?,
        vip: vip?,
        ports: ports?,
        protocol: protocol?,
        mode: options.mode,
        tunnel,
        pool,
        scheduler: options.scheduler,
        probe: options.probe,
        passive_health: options.passive_health,
        quorum: options.quorum,
        hooks: options.hooks,
        on_no_backend: options.on_no_backend,
        overflow_threshold: options.overflow_threshold,
        on_backend_down: options.on_backend_down,
        fragments: options.fragments,
        on_unknown_flow: options.on_unknown_flow,
        max_connections: options.max_connections,
        limits: options.limits,
        affinity: options.affinity,
        slow_start: options.slow_start,
        drain_timeout: options.drain_timeout,
        on_drain_timeout: options.on_drain_timeout,
        timeouts: options.timeouts,
        quic,
        backends,
    };
    Some((Arc::new(service), Places::of(raw, at)))
}

/// A service that says itself that its backups go on has one. Of `defaults` it is for those that do.
fn sorry_backup(findings: &mut Findings, field: &Field<OnNoBackend>, backends: &[Backend]) {
    let asks = field.get() == Some(&OnNoBackend::Backup);
    if asks && !backends.is_empty() && backends.iter().all(|backend| !backend.backup) {
        let reason = "`on_no_backend: backup`, and no backend is a backup";
        findings.add(
            field.at(),
            reason,
            "give one of the backends `backup: true`, or use `drop`, `reject` or `fail-open`",
        );
    }
}

fn backends(
    findings: &mut Findings,
    field: &Field<Vec<Field<ShortOrMap<raw::Backend>>>>,
    mut around: Surroundings,
    parent: Position,
) -> Vec<Backend> {
    let Some(list) = values::required(findings, field, parent, "backends") else { return Vec::new() };
    if list.is_empty() {
        findings.add(field.at(), "no backends", "give at least one; one with weight 0 takes no flows");
    }
    let mut checked = Vec::new();
    for item in list {
        let Some(ShortOrMap(raw)) = item.get() else { continue };
        if let Some(backend) = backend::check(findings, &around, raw, item.at()) {
            around.add(&backend);
            checked.push(backend);
        }
    }
    checked
}
