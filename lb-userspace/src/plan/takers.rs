//! The backends that take new flows, by priority, and what part of the flows each group of them takes.
//!
//! ```text
//! who can take flows            which groups                           what each takes
//! ─────────────────────────     ────────────────────────────────      ─────────────────────────────────
//! up, with a weight, enabled ─▶ priority 0 ─ below the threshold ─▶  its part of what is left, then
//!                               priority 1 ─ …                       the next group …
//! nobody                     ─▶ backups that are up               ─▶  everything
//! nobody                     ─▶ `on_no_backend` says who, if anybody
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{BackendKey, Inputs, backend_key};
use crate::config::model::{AdminState, Backend, OnNoBackend, Service, SlotKind};

/// The parts that new flows are shared out in.
pub const WHOLE: u32 = 1 << 31;

/// Who takes the new flows of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takers {
    /// Why it is these.
    pub because: Because,
    /// All groups, the first to be asked first.
    pub groups: Vec<Group>,
}

/// Why new flows go where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Backends are up that are no backups.
    Able,
    /// Only backups are up.
    Backups,
    /// Nobody is up, and the service fails open.
    FailOpen,
    /// Nobody is up, and the service takes its backups whatever their health.
    SorryBackups,
    /// Nobody may take flows.
    Nobody,
}

/// Backends of one priority, or the backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// 0 to 127, the lowest first; `None`: the backups, which come last.
    pub priority: Option<u8>,
    /// How many there are.
    pub backends: u32,
    /// Their configured weights.
    pub weight: u64,
    /// How many of them can take flows: up, enabled, with a weight and a next hop.
    pub able: u32,
    /// The weights of those.
    pub able_weight: u64,
    /// Its part of new flows, in parts of [`WHOLE`]; those of all groups sum up to that, or to 0.
    pub share: u32,
    /// Those of it that take flows.
    pub takers: BTreeSet<BackendKey>,
}

impl Takers {
    /// The same without who takes what.
    fn nobody(mut groups: Vec<Group>) -> Self {
        groups.iter_mut().for_each(|group| group.share = 0);
        Self { because: Because::Nobody, groups }
    }

    /// The groups that take flows.
    pub fn taking(&self) -> impl Iterator<Item = &Group> + Clone {
        self.groups.iter().filter(|group| group.share > 0)
    }

    /// The backends that take flows.
    pub fn keys(&self) -> impl Iterator<Item = BackendKey> + '_ {
        self.taking().flat_map(|group| group.takers.iter().copied())
    }

    /// Whether a backend takes flows.
    #[must_use]
    pub fn contains(&self, backend: &BackendKey) -> bool {
        self.taking().any(|group| group.takers.contains(backend))
    }
}

/// A backend's weight for new flows among those of its service: where they take turns, all that have one have the same.
pub fn own_weight(service: &Service, weight: u16) -> u32 {
    if service.scheduler.kind.table() == SlotKind::Turns { u32::from(weight.min(1)) } else { u32::from(weight) }
}

/// The backends that take new flows: healthy ones by priority; else healthy backups; else whom `on_no_backend` names, whatever
/// their health. Only enabled ones with a weight count, and those that say themselves that they want no flows do not.
///
/// A backend whose next hop is not known would lose every flow it is given: it takes none as long as anybody can be reached.
#[must_use]
pub fn takers(service: &Service, inputs: &Inputs) -> Takers {
    let members = members(service);
    let groups: Vec<Group> = members.iter().map(|((_, priority), of)| group(service, inputs, *priority, of)).collect();
    let after: &[Because] = match service.on_no_backend {
        OnNoBackend::FailOpen => &[Because::FailOpen],
        OnNoBackend::Backup => &[Because::SorryBackups],
        OnNoBackend::Drop | OnNoBackend::Reject => &[],
    };
    let preference: Vec<Choice> = [Because::Able, Because::Backups].iter().chain(after).flat_map(choices).collect();
    for is_reached in [true, false] {
        for choice in &preference {
            let able =
                |backend: &&&Backend| choice.allows(backend, inputs) && (!is_reached || is_reachable(backend, inputs));
            let able: Vec<Vec<&Backend>> =
                members.values().map(|of| of.iter().filter(able).copied().collect()).collect();
            if able.iter().any(|of| !of.is_empty()) {
                return share_out(service, inputs, choice.because, groups, &able);
            }
        }
    }
    Takers::nobody(groups)
}

/// Backends by group, the first one first.
fn members(service: &Service) -> BTreeMap<(bool, Option<u8>), Vec<&Backend>> {
    let mut members = BTreeMap::<_, Vec<_>>::new();
    for backend in &service.backends {
        let priority = (!backend.backup).then_some(backend.priority);
        members.entry((backend.backup, priority)).or_default().push(backend);
    }
    members
}

/// Whom to look at in search of takers.
#[derive(Clone, Copy)]
struct Choice {
    because: Because,
    backups: bool,
    whatever_health: bool,
}

fn choices(because: &Because) -> Vec<Choice> {
    let choice = |backups, whatever_health| Choice { because: *because, backups, whatever_health };
    match because {
        Because::Able => vec![choice(false, false)],
        Because::Backups => vec![choice(true, false)],
        Because::FailOpen => vec![choice(false, true), choice(true, true)],
        Because::SorryBackups => vec![choice(true, true)],
        Because::Nobody => Vec::new(),
    }
}

impl Choice {
    fn allows(self, backend: &Backend, inputs: &Inputs) -> bool {
        let wants = backend.admin_state == AdminState::Enabled && inputs.weight(backend) > 0;
        wants && backend.backup == self.backups && (self.whatever_health || is_healthy(backend, inputs))
    }
}

fn is_healthy(backend: &Backend, inputs: &Inputs) -> bool {
    let key = backend_key(backend);
    inputs.health.get(&key).is_none_or(|(_, eligible)| *eligible) && !inputs.ejected.contains(&key)
}

fn is_reachable(backend: &Backend, inputs: &Inputs) -> bool {
    inputs.next_hops.contains_key(&backend.address)
}

/// A group that takes nothing yet.
fn group(service: &Service, inputs: &Inputs, priority: Option<u8>, members: &[&Backend]) -> Group {
    let choice = Choice { because: Because::Able, backups: priority.is_none(), whatever_health: false };
    let able = members.iter().filter(|backend| choice.allows(backend, inputs) && is_reachable(backend, inputs));
    Group {
        priority,
        backends: members.len() as u32,
        weight: members.iter().map(|backend| u64::from(own_weight(service, backend.weight))).sum(),
        able: able.clone().count() as u32,
        able_weight: weight_of(service, inputs, able.copied()),
        share: 0,
        takers: BTreeSet::new(),
    }
}

/// The weights that backends have for new flows.
fn weight_of<'a>(service: &Service, inputs: &Inputs, backends: impl Iterator<Item = &'a Backend>) -> u64 {
    backends.map(|backend| u64::from(own_weight(service, inputs.weight(backend)))).sum()
}

/// Gives each group its part, where `able` are those of each that may take flows.
fn share_out(
    service: &Service,
    inputs: &Inputs,
    because: Because,
    mut groups: Vec<Group>,
    able: &[Vec<&Backend>],
) -> Takers {
    let weights: Vec<(u64, u64)> = groups
        .iter()
        .zip(able)
        .map(|(group, able)| (weight_of(service, inputs, able.iter().copied()), group.weight))
        .collect();
    for ((group, able), share) in groups.iter_mut().zip(able).zip(shares(&weights, service.overflow_threshold)) {
        group.share = share;
        if share > 0 {
            group.takers = able.iter().map(|backend| backend_key(backend)).collect();
        }
    }
    Takers { because, groups }
}

/// The part of flows of each group, in parts of [`WHOLE`], of what weight of each can take flows, and what it has in all.
///
/// A group can take its part of the weight over the threshold (percent), at most everything; each takes what it can of what the ones before
/// it left. If all can take less than everything together, they share it in that proportion.
#[must_use]
pub fn shares(weights: &[(u64, u64)], threshold: u8) -> Vec<u32> {
    let whole = u128::from(WHOLE);
    let can = |&(able, all): &(u64, u64)| {
        let (able, needed) = (u128::from(able) * 100, u128::from(all) * u128::from(threshold));
        if able == 0 {
            0
        } else if able >= needed {
            whole
        } else {
            // Rounded up: what one and two thirds leave is nothing, and nobody must take that.
            (whole * able).div_ceil(needed)
        }
    };
    let mut left = whole;
    let mut shares: Vec<u128> = Vec::with_capacity(weights.len());
    for can in weights.iter().map(can) {
        shares.push(can.min(left));
        left -= can.min(left);
    }
    let taken = whole - left;
    if taken > 0 && left > 0 {
        scale_up(&mut shares, taken);
    }
    shares.into_iter().map(|share| share as u32).collect()
}

/// From a sum of `taken` to one of [`WHOLE`]; what rounding leaves is the first group's that takes any.
fn scale_up(shares: &mut [u128], taken: u128) {
    let whole = u128::from(WHOLE);
    shares.iter_mut().for_each(|share| *share = *share * whole / taken);
    let rest = whole - shares.iter().sum::<u128>();
    if let Some(first) = shares.iter_mut().find(|share| **share > 0) {
        *first += rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In percent.
    fn percent(weights: &[(u64, u64)], threshold: u8) -> Vec<f64> {
        let of = |share: u32| (1000.0 * f64::from(share) / f64::from(WHOLE)).round() / 10.0;
        shares(weights, threshold).into_iter().map(of).collect()
    }

    #[test]
    fn groups_take_what_is_missing_before_them() {
        // Each group's weight is 4, of which so many can take flows; the first columns are those of Envoy's documentation
        // with its factor of 1.4 as a threshold.
        let cases: [(&str, &[u64], u8, &[f64]); 13] = [
            ("all is well", &[4, 4], 70, &[100.0, 0.0]),
            ("above the threshold", &[3, 4], 70, &[100.0, 0.0]),
            ("at the threshold", &[3, 4], 75, &[100.0, 0.0]),
            ("below it", &[2, 4], 70, &[71.4, 28.6]),
            ("far below it", &[1, 4], 70, &[35.7, 64.3]),
            ("nobody of the first", &[0, 4], 70, &[0.0, 100.0]),
            ("on to the third", &[1, 1, 4], 70, &[35.7, 35.7, 28.6]),
            ("too few in all", &[1, 1], 70, &[50.0, 50.0]),
            ("just enough in two of three", &[1, 2, 4], 75, &[33.3, 66.7, 0.0]),
            ("too few in the last", &[0, 1], 70, &[0.0, 100.0]),
            ("every one counts", &[3, 4], 100, &[75.0, 25.0]),
            ("no threshold", &[1, 4], 0, &[100.0, 0.0]),
            ("no threshold, nobody of the first", &[0, 1, 4], 0, &[0.0, 100.0, 0.0]),
        ];
        for (what, able, threshold, expected) in cases {
            let weights: Vec<_> = able.iter().map(|able| (*able, 4)).collect();
            assert_eq!(percent(&weights, threshold), expected, "{what}");
        }
        assert_eq!(shares(&[(0, 4), (0, 4)], 70), [0, 0]);
        assert_eq!(shares(&[(0, 0)], 0), [0]);
        assert_eq!(shares(&[(7, 0)], 70), [WHOLE], "who asks for more than it was given");
    }

    proptest! {
        #[test]
        fn shares_are_whole_and_just(
            weights in prop::collection::vec((0_u64..=20_000_000, 0_u64..=20_000_000), 1..12),
            threshold in 0_u8..=100,
        ) {
            let weights: Vec<_> = weights.into_iter().map(|(a, b)| (a.min(b), b)).collect();
            let shares = shares(&weights, threshold);
            let sum: u64 = shares.iter().map(|share| u64::from(*share)).sum();
            let anybody = weights.iter().any(|(able, _)| *able > 0);
            prop_assert_eq!(sum, if anybody { u64::from(WHOLE) } else { 0 });
            let is_enough =
                |(able, all): (u64, u64)| able > 0 && u128::from(able) * 100 >= u128::from(all) * u128::from(threshold);
            for (i, (share, (able, _))) in shares.iter().zip(&weights).enumerate() {
                prop_assert!(*able > 0 || *share == 0);
                // After one with enough nobody takes anything.
                if weights[..i].iter().any(|weight| is_enough(*weight)) {
                    prop_assert_eq!(*share, 0);
                }
            }
        }

        /// The more of a group can take flows, the more it takes, and the less the ones after it.
        #[test]
        fn a_group_that_grows_takes_no_less(able in 0_u64..1000, more in 0_u64..1000, other in 1_u64..1000, threshold in 0_u8..=100) {
            let share = |able: u64| shares(&[(able.min(1000), 1000), (other, 1000)], threshold);
            let (before, after) = (share(able), share(able + more));
            prop_assert!(after[0] >= before[0] && after[1] <= before[1]);
        }
    }
}
