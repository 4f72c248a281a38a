//! Limits of services, and how time passes for them.

use std::net::IpAddr;

use lb_common::{
    abi::{LimitSettings, PrefixList, Rate, Word64},
    features::Features,
    flow::TICK_MASK,
    limits::list::{self, Rule},
};

use crate::{
    machine::Machine,
    world::{Backend, Service},
};

/// Limits of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) rate: Rate,
    pub(crate) client: Rate,
    pub(crate) client_prefix: u8,
    pub(crate) flood: u32,
    pub(crate) rejects: bool,
    /// Flows that each backend may have.
    pub(crate) most: u32,
    /// Addresses or prefixes, and whether they are denied; those of the other family count for nothing.
    pub(crate) rules: Vec<(&'static str, bool)>,
}

/// Bounds set aside for each service.
const BOUNDS_EACH: u32 = 16;
/// Seconds after which an exhausted bucket is full again, at a token a second.
const EXHAUSTED: u64 = 1000;

impl Limits {
    /// What a program needs for them.
    pub(crate) fn features(&self) -> Features {
        let listed = if self.rules.is_empty() { Features::NONE } else { Features::PREFIX_LISTS };
        let settings = LimitSettings { list: PrefixList::default(), ..self.settings(PrefixList::default()) };
        Features::of_limits(&settings).with(Features::of_most_flows(self.most)).with(listed)
    }

    fn settings(&self, list: PrefixList) -> LimitSettings {
        let Self { rate, client, client_prefix, flood, rejects, .. } = self;
        LimitSettings {
            list,
            rate: *rate,
            client: *client,
            client_prefix: *client_prefix,
            flood: *flood,
            rejects: *rejects,
        }
    }
}

fn rule((text, denies): &(&str, bool)) -> (bool, Rule) {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().expect("an address");
    let length = length.parse().unwrap_or(if address.is_ipv4() { 32 } else { 128 });
    (address.is_ipv4(), Rule { first: list::number(address), length, denies: *denies })
}

/// Sets the limits of a service (from 0).
pub(crate) fn set(machine: &impl Machine, service: usize, description: &Service, limits: &Limits) {
    let is_own = |(is_v4, _): &(bool, Rule)| *is_v4 != description.vip.contains(':');
    let rules: Vec<Rule> = limits.rules.iter().map(rule).filter(is_own).map(|(_, rule)| rule).collect();
    let (denies, bounds) = list::lay_out(&rules);
    let offset = service as u32 * BOUNDS_EACH;
    let tables = machine.tables();
    let places = tables.list_bounds[offset as usize..][..BOUNDS_EACH as usize].iter();
    assert!(bounds.len() <= BOUNDS_EACH as usize);
    places.zip(&bounds).for_each(|(place, bound)| place.set(*bound));
    tables.control.set_counted(Some(machine.now()));
    let record = &tables.limits[service + 1];
    record.set(&limits.settings(PrefixList { offset, size: bounds.len() as u32, denies }));
    for backend in Backend::ALL {
        tables.scores[backend.id(service) as usize].set_most(limits.most);
    }
}

/// As if nothing had ever been limited.
pub(crate) fn reset(machine: &impl Machine) {
    let tables = machine.tables();
    for limits in tables.limits {
        limits.set(&LimitSettings::default());
        limits.fill();
    }
    for entry in tables.clients.iter().flat_map(|bucket| &bucket.entries) {
        entry.tag.store(0);
        entry.word.store(0);
    }
    for score in tables.scores {
        score.set_most(0);
        score.adjust_live(-score.live());
    }
}

fn buckets(machine: &impl Machine) -> Vec<&Word64> {
    let tables = machine.tables();
    let clients = tables.clients.iter().flat_map(|bucket| &bucket.entries);
    let clients = clients.filter(|entry| entry.tag.load() != 0).map(|entry| &entry.word);
    tables.limits.iter().flat_map(|limits| limits.buckets()).chain(clients).collect()
}

/// Empties all buckets that there are, for a long time.
pub(crate) fn exhaust(machine: &impl Machine) {
    let taken = EXHAUSTED * u64::from(machine.constants().ticks_per_second);
    buckets(machine).iter().for_each(|bucket| bucket.store(taken << 24 | u64::from(machine.now())));
}

/// Lets all buckets grow older, where the clock cannot be set.
pub(crate) fn age(machine: &impl Machine, ticks: u32) {
    let earlier = |tick: u32| tick.wrapping_sub(ticks) & TICK_MASK;
    for bucket in buckets(machine) {
        let word = bucket.load();
        bucket.store(word & !u64::from(TICK_MASK) | u64::from(earlier(word as u32)));
    }
    let control = machine.tables().control;
    control.set_counted(control.counted().map(earlier));
}
