//! Lists of prefixes: the longest that has the client's address says whether it is served.
//!
//! User space lays both lists of a service out as one: from one bound to the next all addresses are denied or all are not, and at
//! each bound it changes. So what is looked for is how many bounds an address is behind, in as many steps as that number has bits,
//! and a list is replaced by another with one word.

#[cfg(feature = "std")]
use std::net::IpAddr;

use crate::{environment::Environment, opaque::opaque};

/// Bounds that a node has at most: of so many steps is the search.
pub const MOST_BOUNDS: u32 = 1 << 20;
const STEPS: u32 = MOST_BOUNDS.ilog2() + 1;

/// Whether the client that was noted ([`crate::schedule::pick::note`]) is denied by a service's list; counted then.
#[inline(always)]
pub fn is_denied<E: Environment>(env: &E, service: u32) -> bool {
    let denies = search(env, service);
    if denies && let Some(counters) = env.limit_counters(service) {
        counters.denied.add(1);
    }
    denies
}

#[inline(always)]
fn search<E: Environment>(env: &E, service: u32) -> bool {
    let (Some(scratch), Some(limits)) = (env.scratch(), env.limits(service)) else { return false };
    let list = limits.list();
    let (high, low) = key_of(scratch.newcomer().source);
    let (mut behind, mut left) = (0_u64, list.size as u64);
    for _ in 0..STEPS {
        if left == 0 {
            break;
        }
        // Upper half: with one bound left it is that one.
        let half = opaque(left + 1) >> 1;
        let at = (list.offset as u64).wrapping_add(behind).wrapping_add(half).wrapping_sub(1);
        let Some(bound) = env.list_bound(at as u32) else { return list.denies };
        let (bound_high, bound_low) = bound.halves();
        let is_below = opaque(is_below(high, bound_high) | is_same(high, bound_high) & is_below(low, bound_low));
        // All ones if the address is at the bound or behind it. Without a branch: the verifier would follow both at each step.
        let is_behind = opaque(is_below.wrapping_sub(1));
        behind += half & is_behind;
        left = left.wrapping_sub(half) & is_behind | (half.wrapping_sub(1)) & !is_behind;
    }
    list.denies ^ (opaque(behind) & 1 != 0)
}

/// 1 if one number is below another.
#[inline(always)]
fn is_below(a: u64, b: u64) -> u64 {
    let (a, b) = (opaque(a), opaque(b));
    // The borrow of the subtraction.
    (!a & b | (!a | b) & a.wrapping_sub(b)) >> 63
}

/// 1 if two numbers are the same.
#[inline(always)]
fn is_same(a: u64, b: u64) -> u64 {
    let difference = opaque(a ^ b);
    (difference | difference.wrapping_neg()) >> 63 ^ 1
}

/// A client's address in two halves, the first byte highest; one of IPv4 lies in the highest four bytes.
#[inline(always)]
fn key_of([ab, cd]: [u64; 2]) -> (u64, u64) {
    let half = |words: u64| (u32::from_be(words as u32) as u64) << 32 | u32::from_be((words >> 32) as u32) as u64;
    (half(ab), half(cd))
}

/// An address as bounds have it.
#[cfg(feature = "std")]
#[must_use]
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A prefix that is allowed or denied.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The first address, as [`number`] gives it.
    pub first: u128,
    /// Bits that count, 0 to 128; of IPv4 as many as there.
    pub length: u8,
    /// Whether it is denied.
    pub denies: bool,
}

#[cfg(feature = "std")]
impl Rule {
    fn last(self) -> u128 {
        self.first | u128::MAX.checked_shr(self.length.into()).unwrap_or(0)
    }
}

/// Lays rules out: whether addresses below the first bound are denied, and the bounds. What no rule has is denied if some rule
/// allows. Of two rules for one prefix the later one counts.
#[cfg(feature = "std")]
#[must_use]
pub fn lay_out(rules: &[Rule]) -> (bool, Vec<u128>) {
    let mut sorted = rules.to_vec();
    sorted.sort_by_key(|rule| (rule.first, rule.length));
    let otherwise = rules.iter().any(|rule| !rule.denies);
    // Where something changes, and what holds from there.
    let mut changes: Vec<(u128, bool)> = Vec::new();
    let mut open: Vec<Rule> = Vec::new();
    let close = |open: &mut Vec<Rule>, changes: &mut Vec<(u128, bool)>, until: Option<u128>| {
        while let Some(rule) = open.pop_if(|rule| until.is_none_or(|at| rule.last() < at)) {
            if let Some(behind) = rule.last().checked_add(1) {
                changes.push((behind, open.last().map_or(otherwise, |outer| outer.denies)));
            }
        }
    };
    for rule in sorted {
        close(&mut open, &mut changes, Some(rule.first));
        changes.push((rule.first, rule.denies));
        open.push(rule);
    }
    close(&mut open, &mut changes, None);
    bounds_of(otherwise, changes)
}

/// Leaves of several changes at one place the last, and of those that change nothing none.
#[cfg(feature = "std")]
fn bounds_of(mut denies: bool, changes: Vec<(u128, bool)>) -> (bool, Vec<u128>) {
    let last = changes.chunk_by(|a, b| a.0 == b.0).filter_map(<[_]>::last);
    let mut bounds = Vec::new();
    let mut first = denies;
    for (at, now) in last {
        if *at == 0 {
            first = *now;
        } else if *now != denies {
            bounds.push(*at);
        }
        denies = *now;
    }
    (first, bounds)
}

#[cfg(all(test, not(target_arch = "bpf")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Longest match, rule by rule.
    fn is_denied(rules: &[Rule], address: u128) -> bool {
        let has = |rule: &&Rule| rule.first <= address && address <= rule.last();
        let longest = rules.iter().filter(has).max_by_key(|rule| rule.length);
        longest.map_or_else(|| rules.iter().any(|rule| !rule.denies), |rule| rule.denies)
    }

    fn by_bounds((first, bounds): &(bool, Vec<u128>), address: u128) -> bool {
        first ^ (bounds.iter().filter(|bound| **bound <= address).count() % 2 != 0)
    }

    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        // Few addresses, so that prefixes lie in each other and end at the same place.
        let rule = (0_u8..=128, any::<u128>(), any::<bool>()).prop_map(|(length, address, denies)| {
            let address = address & (u128::MAX << 124 | 0b111) | if length % 3 == 0 { u128::MAX << 64 } else { 0 };
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Rule { first: address & mask, length, denies }
        });
        prop::collection::vec(rule, 0..12)
    }

    proptest! {
        #[test]
        fn bounds_say_what_the_longest_prefix_says(rules in rules(), others in prop::collection::vec(any::<u128>(), 8)) {
            let laid_out = lay_out(&rules);
            prop_assert!(laid_out.1.is_sorted_by(|a, b| a < b));
            let near = rules.iter().flat_map(|rule| {
                let (first, last) = (rule.first, rule.last());
                [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
            });
            for address in near.chain(others).chain([0, u128::MAX]) {
                prop_assert_eq!(by_bounds(&laid_out, address), is_denied(&rules, address), "{:x}", address);
            }
        }

        #[test]
        fn numbers_compare_without_a_branch(a: u64, b: u64) {
            for (a, b) in [(a, b), (a, a), (a, a.wrapping_add(1)), (a, a ^ 1 << 63)] {
                prop_assert_eq!(is_below(a, b), u64::from(a < b));
                prop_assert_eq!(is_same(a, b), u64::from(a == b));
            }
        }
    }

    #[test]
    fn no_rule_denies_nobody() {
        assert_eq!(lay_out(&[]), (false, vec![]));
    }
}
