//! Limits of new flows.

use std::{collections::HashSet, num::NonZero, ops::RangeInclusive};

use ipnet::IpNet;
use lb_common::abi::Rate;

use super::{
    super::{
        field::{Field, FloodSpec, Whole},
        limits::{ClientLimit, FlowLimits, RateLimit},
        model::{Protocol, Timeouts},
        problem::{Findings, Position},
        raw,
    },
    address, values,
};

const RATES: RangeInclusive<i64> = 1..=Rate::MOST as i64;
/// The part of the flow table that a flood may fill with `flood: auto`.
const FLOOD_SHARE: u32 = 4;
/// What `flood: auto` is at least.
const LEAST_FLOOD: u32 = 100;

/// What `flood: auto` goes by.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) flow_entries: u32,
    pub(super) protocol: Option<Protocol>,
    pub(super) timeouts: Timeouts,
}

/// Checks the limits of a service: its own or the default's, and its lists likewise.
pub(super) fn check(
    findings: &mut Findings,
    own: raw::Options<'_>,
    defaults: raw::Options<'_>,
    room: Room,
) -> FlowLimits {
    let allow = prefixes(findings, values::pick(own.allow, defaults.allow), "allow");
    let deny = prefixes(findings, values::pick(own.deny, defaults.deny), "deny");
    contradictions(findings, values::pick(own.deny, defaults.deny).at(), &allow, &deny);
    let lists = FlowLimits { allow, deny, ..FlowLimits::default() };
    let Some(raw) = values::pick(own.limits, defaults.limits).get() else { return lists };
    if raw.burst.is_given() && !raw.new_per_second.is_given() {
        findings.add(raw.burst.at(), "`burst` without a rate", "add `new_per_second`");
    }
    FlowLimits {
        rate: rate(findings, &raw.new_per_second, &raw.burst),
        client: client(findings, &raw.client),
        flood: flood(findings, &raw.flood, room),
        on_exceed: raw.on_exceed.get().copied().unwrap_or_default(),
        ..lists
    }
}

/// How many connections a backend may have; 0: any number.
pub(super) fn connections(findings: &mut Findings, field: &Field<Whole>) -> Option<u32> {
    values::whole(findings, field, "max_connections", 0..=i64::from(i32::MAX))
}

fn rate(findings: &mut Findings, per_second: &Field<Whole>, burst: &Field<Whole>) -> Option<RateLimit> {
    let burst = values::whole(findings, burst, "burst", RATES).and_then(NonZero::new);
    let per_second = values::whole(findings, per_second, "new_per_second", RATES).and_then(NonZero::new)?;
    Some(RateLimit { per_second, burst: burst.unwrap_or(per_second) })
}

fn client(findings: &mut Findings, field: &Field<raw::ClientLimit>) -> Option<ClientLimit> {
    let raw = field.get()?;
    values::required(findings, &raw.new_per_second, field.at(), "new_per_second");
    let prefix_ipv4 = values::whole(findings, &raw.prefix_ipv4, "prefix_ipv4", 1..=32).unwrap_or(32);
    let prefix_ipv6 = values::whole(findings, &raw.prefix_ipv6, "prefix_ipv6", 1..=128).unwrap_or(64);
    Some(ClientLimit { rate: rate(findings, &raw.new_per_second, &raw.burst)?, prefix_ipv4, prefix_ipv6 })
}

fn flood(findings: &mut Findings, field: &Field<FloodSpec>, room: Room) -> Option<NonZero<u32>> {
    let FloodSpec(text) = field.get()?;
    if text == "auto" {
        let is_udp = matches!(room.protocol, Some(Protocol::Udp));
        let stay = if is_udp { room.timeouts.udp_single } else { room.timeouts.tcp_setup };
        let seconds = u32::try_from(stay.as_secs()).unwrap_or(u32::MAX).max(1);
        return NonZero::new((room.flow_entries / FLOOD_SHARE / seconds).max(LEAST_FLOOD));
    }
    let rate = text.parse().ok().filter(|rate| RATES.contains(rate)).and_then(|rate: i64| u32::try_from(rate).ok());
    if rate.is_none() {
        let remedy = format!("use {} to {}, or `auto`", RATES.start(), RATES.end());
        findings.add(field.at(), format!("`flood` {text} is no rate of new flows"), remedy);
    }
    rate.and_then(NonZero::new)
}

fn prefixes(findings: &mut Findings, field: &Field<Vec<Field<String>>>, key: &str) -> Vec<IpNet> {
    let items = field.get().into_iter().flatten();
    items.filter_map(|item| address::client_prefix(findings, item.get()?, item.at(), key)).collect()
}

/// The longest prefix counts, so that one must not be in both lists.
fn contradictions(findings: &mut Findings, at: Position, allow: &[IpNet], deny: &[IpNet]) {
    let allowed: HashSet<&IpNet> = allow.iter().collect();
    for prefix in deny.iter().filter(|prefix| allowed.contains(prefix)) {
        findings.add(at, format!("{prefix} is both in `allow` and in `deny`"), "remove it from one of the two");
    }
}
