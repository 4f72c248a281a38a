//! Options of services: the service's own, else the default, else the built-in value.

use std::{ops::RangeInclusive, time::Duration};

use lb_common::{nat::toa, schedule::maglev::TABLE_SIZES};

use super::{
    super::{
        field::{Field, ShortOrMap, Time, Whole},
        model::{
            Affinity, FlowLimits, ForwardingMode, Fragments, Hooks, OnBackendDown, OnDrainTimeout, OnNoBackend,
            OnUnknownFlow, PassiveHealth, Ports, Probe, Protocol, Quorum, Scheduler, SchedulerKind, SlotKind,
            SlowStart, Timeouts,
        },
        problem::{Findings, Position},
        raw,
    },
    limits::{self, Room},
    passive, probe, values, watch,
};

/// The options of one service, checked.
pub(super) struct Options {
    pub(super) mode: ForwardingMode,
    pub(super) scheduler: Scheduler,
    pub(super) probe: Option<Probe>,
    pub(super) passive_health: Option<PassiveHealth>,
    pub(super) quorum: Option<Quorum>,
    pub(super) hooks: Hooks,
    pub(super) on_no_backend: OnNoBackend,
    pub(super) overflow_threshold: u8,
    pub(super) on_backend_down: OnBackendDown,
    pub(super) fragments: Fragments,
    pub(super) on_unknown_flow: OnUnknownFlow,
    pub(super) max_connections: u32,
    pub(super) limits: FlowLimits,
    pub(super) affinity: Option<Affinity>,
    pub(super) slow_start: Option<SlowStart>,
    pub(super) drain_timeout: Duration,
    pub(super) on_drain_timeout: OnDrainTimeout,
    pub(super) timeouts: Timeouts,
}

/// What the options are for; unknown parts are not checked.
#[derive(Clone, Copy)]
pub(super) struct Use {
    pub(super) at: Position,
    pub(super) protocol: Option<Protocol>,
    pub(super) ports: Option<Ports>,
    pub(super) flow_entries: u32,
}

/// As what others overprovision by.
const OVERFLOW: u8 = 70;
const DRAIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const SLOW_START: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// Checks and merges the options of a service.
pub(super) fn check(findings: &mut Findings, own: raw::Options<'_>, defaults: raw::Options<'_>, used: Use) -> Options {
    let quorum = values::pick(own.quorum, defaults.quorum);
    let mode = given_mode(findings, values::pick(own.mode, defaults.mode)).unwrap_or(ForwardingMode::DsrL2);
    // The defaults themselves are of no protocol; they are for services of other modes, too.
    if used.protocol.is_some() {
        probe::check_via(findings, own.probe, mode);
    }
    let drain = values::pick(own.drain_timeout, defaults.drain_timeout);
    let timeouts = timeouts(findings, own.timeouts, defaults.timeouts);
    let room = Room { flow_entries: used.flow_entries, protocol: used.protocol, timeouts };
    let overflow = values::pick(own.overflow_threshold, defaults.overflow_threshold);
    let connections = values::pick(own.max_connections, defaults.max_connections);
    let scheduler = scheduler(findings, values::pick(own.scheduler, defaults.scheduler));
    let kind = scheduler.kind;
    let checked = Options {
        mode,
        scheduler,
        quorum: watch::quorum(findings, quorum),
        hooks: watch::hooks(findings, values::pick(own.hooks, defaults.hooks), quorum),
        passive_health: passive::check(findings, own.passive_health, defaults.passive_health, used.protocol),
        probe: probe::check(findings, own.probe, defaults.probe, used),
        on_no_backend: plain(own.on_no_backend, defaults.on_no_backend, OnNoBackend::Drop),
        overflow_threshold: values::whole(findings, overflow, "overflow_threshold", 0..=100).unwrap_or(OVERFLOW),
        on_backend_down: plain(own.on_backend_down, defaults.on_backend_down, OnBackendDown::Move),
        fragments: plain(own.fragments, defaults.fragments, Fragments::Drop),
        on_unknown_flow: plain(own.on_unknown_flow, defaults.on_unknown_flow, OnUnknownFlow::Hash),
        affinity: affinity(findings, values::pick(own.affinity, defaults.affinity), kind),
        slow_start: slow_start(findings, values::pick(own.slow_start, defaults.slow_start)),
        drain_timeout: values::time(findings, drain, "drain_timeout", DRAIN).unwrap_or(Duration::from_secs(300)),
        on_drain_timeout: plain(
            own.on_drain_timeout,
            defaults.on_drain_timeout,
            OnDrainTimeout::of(used.protocol.unwrap_or(Protocol::Tcp)),
        ),
        max_connections: limits::connections(findings, connections).unwrap_or(0),
        limits: limits::check(findings, own, defaults, room),
        timeouts,
    };
    forgotten(findings, values::pick(own.limits, defaults.limits), &checked);
    checked
}

/// What is not remembered in a flood would be reset.
fn forgotten(findings: &mut Findings, at: &Field<raw::FlowLimits>, options: &Options) {
    let resets = !options.scheduler.kind.pick().is_stateless() && options.on_unknown_flow == OnUnknownFlow::Reset;
    if resets && options.limits.flood.is_some() {
        let reason = "with `limits.flood` flows are not remembered that `on_unknown_flow: reset` then ends";
        findings.add(at.at(), reason, "remove one of the two");
    }
}

fn plain<T: Copy>(own: &Field<T>, default: &Field<T>, built_in: T) -> T {
    values::pick(own, default).get().copied().unwrap_or(built_in)
}

/// A forwarding mode, if one is given.
pub(super) fn given_mode(findings: &mut Findings, field: &Field<ShortOrMap<raw::Mode>>) -> Option<ForwardingMode> {
    let ShortOrMap(mode) = field.get()?;
    let port: Option<u16> = values::whole(findings, &mode.port, "port", 1..=65_535);
    let kind = values::required(findings, &mode.r#type, field.at(), "type")?;
    if mode.port.is_given() && *kind != raw::ModeType::Gue {
        findings.add(mode.port.at(), "only mode `gue` has a `port`", "remove it");
    }
    let toa = toa(findings, &mode.toa, *kind);
    Some(match kind {
        raw::ModeType::DsrL2 => ForwardingMode::DsrL2,
        raw::ModeType::Ipip => ForwardingMode::Ipip,
        raw::ModeType::Nat => ForwardingMode::Nat,
        raw::ModeType::FullNat => ForwardingMode::FullNat { toa },
        raw::ModeType::Gue => ForwardingMode::Gue { port: port.unwrap_or(ForwardingMode::GUE_PORT) },
    })
}

/// The kind of the TCP option that tells a backend its client.
fn toa(findings: &mut Findings, field: &Field<Whole>, mode: raw::ModeType) -> Option<u8> {
    let &Whole(value) = field.get()?;
    if mode != raw::ModeType::FullNat {
        let reason = "only mode `full-nat` has a `toa`: in the others the backend sees the client's own address";
        findings.add(field.at(), reason, "remove it");
        return None;
    }
    let kind = u8::try_from(value).ok().filter(|kind| toa::is_free_kind(*kind));
    if kind.is_none() {
        let reason = format!("`toa` {value} is no kind of TCP option that is free");
        let remedy = format!(
            "use {}, as others do, or what backends look for of 31 to 254 and IANA has not given away",
            toa::USUAL_KIND
        );
        findings.add(field.at(), reason, remedy);
    }
    kind
}

fn scheduler(findings: &mut Findings, field: &Field<ShortOrMap<raw::Scheduler>>) -> Scheduler {
    let Some(ShortOrMap(raw)) = field.get() else { return Scheduler::of(SchedulerKind::Maglev) };
    let kind = values::required(findings, &raw.r#type, field.at(), "type").copied().unwrap_or(SchedulerKind::Maglev);
    if kind.table() != SlotKind::Maglev && raw.table_size.is_given() {
        let reason = format!("scheduler `{}` has no Maglev table", kind.name());
        findings.add(raw.table_size.at(), reason, "remove `table_size`");
    }
    for (prefix, key) in [(&raw.prefix_ipv4, "prefix_ipv4"), (&raw.prefix_ipv6, "prefix_ipv6")] {
        if kind != SchedulerKind::SourceHash && prefix.is_given() {
            let reason = format!("scheduler `{}` does not go by clients' addresses", kind.name());
            findings.add(prefix.at(), reason, format!("remove `{key}`, or use `source-hash`"));
        }
    }
    let built_in = Scheduler::of(kind);
    Scheduler {
        table_size: table_size(findings, raw),
        prefix_ipv4: values::whole(findings, &raw.prefix_ipv4, "prefix_ipv4", 1..=32).unwrap_or(built_in.prefix_ipv4),
        prefix_ipv6: values::whole(findings, &raw.prefix_ipv6, "prefix_ipv6", 1..=128).unwrap_or(built_in.prefix_ipv6),
        ..built_in
    }
}

fn affinity(
    findings: &mut Findings,
    field: &Field<ShortOrMap<raw::Affinity>>,
    scheduler: SchedulerKind,
) -> Option<Affinity> {
    let ShortOrMap(raw) = field.get()?;
    values::required(findings, &raw.r#type, field.at(), "type")?;
    if scheduler == SchedulerKind::SourceHash {
        let reason = "scheduler `source-hash` holds a client's flows together already";
        findings.add(field.at(), reason, "remove `affinity`, or take another scheduler");
    }
    let timeout = values::time(findings, &raw.timeout, "timeout", Duration::from_secs(1)..=Affinity::LONGEST);
    if timeout.is_some_and(|timeout| timeout.subsec_nanos() != 0) {
        findings.add(raw.timeout.at(), "`timeout` of affinity has parts of a second", "use whole seconds");
    }
    Some(Affinity {
        prefix_ipv4: values::whole(findings, &raw.prefix_ipv4, "prefix_ipv4", 1..=32).unwrap_or(32),
        prefix_ipv6: values::whole(findings, &raw.prefix_ipv6, "prefix_ipv6", 1..=128).unwrap_or(128),
        timeout: timeout.unwrap_or(Duration::from_secs(300)),
    })
}

fn slow_start(findings: &mut Findings, field: &Field<ShortOrMap<raw::SlowStart>>) -> Option<SlowStart> {
    let ShortOrMap(raw) = field.get()?;
    values::required(findings, &raw.duration, field.at(), "duration")?;
    let duration = values::time(findings, &raw.duration, "duration", SLOW_START)?;
    let exponent = values::whole(findings, &raw.exponent, "exponent", 1..=10).unwrap_or(1);
    Some(SlowStart { duration, exponent })
}

fn table_size(findings: &mut Findings, raw: &raw::Scheduler) -> Option<u32> {
    let Whole(size) = *raw.table_size.get()?;
    let known = TABLE_SIZES.into_iter().find(|&known| i64::from(known) == size);
    if known.is_none() {
        let sizes = TABLE_SIZES.map(|size| size.to_string()).join(", ");
        let reason = format!("`table_size` {size} is none of the sizes of Maglev tables");
        findings.add(raw.table_size.at(), reason, format!("use one of {sizes}"));
    }
    known
}

fn timeouts(findings: &mut Findings, own: &Field<raw::Timeouts>, default: &Field<raw::Timeouts>) -> Timeouts {
    let none = raw::Timeouts::default();
    let (own, default) = (own.get().unwrap_or(&none), default.get().unwrap_or(&none));
    let built_in = Timeouts::default();
    let mut one = |own: &Field<Time>, default: &Field<Time>, key: &str, built_in| {
        values::time(findings, values::pick(own, default), key, IDLE).unwrap_or(built_in)
    };
    Timeouts {
        tcp_setup: one(&own.tcp_setup, &default.tcp_setup, "tcp_setup", built_in.tcp_setup),
        tcp_established: one(
            &own.tcp_established,
            &default.tcp_established,
            "tcp_established",
            built_in.tcp_established,
        ),
        tcp_closing: one(&own.tcp_closing, &default.tcp_closing, "tcp_closing", built_in.tcp_closing),
        udp: one(&own.udp, &default.udp, "udp", built_in.udp),
        udp_single: one(&own.udp_single, &default.udp_single, "udp_single", built_in.udp_single),
    }
}
