//! The last slots of a table.
//!
//! A claim made while `f` of `size` slots are free succeeds with probability `f / size`: half of all claims would be
//! spent on the last half percent of the slots. When few are left it is cheaper to compute when each walker
//! would come to each of them, and to go through these moments in order.

use super::fill::{CLAIM, Slots, Walker};

/// A walker and a free slot on its way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    /// When the walker comes to the slot, counted from now: claims over weight, scaled.
    time: u64,
    walker: u32,
    slot: u32,
}

impl Pair {
    /// What computing and sorting one pair costs, counted in claims, so that the two ways break even.
    pub(super) const CLAIMS_SAVED: u64 = 16;
}

/// Gives the free slots to the walkers, whose rooms sum up to their number, in the order in which they would be claimed.
pub(super) fn finish(walkers: &mut [Walker], slots: &mut Slots) {
    let free = slots.free_slots();
    if let [walker] = walkers {
        for slot in free {
            slots.claim(slot, walker.member);
        }
        return;
    }
    for Pair { walker, slot, .. } in pairs(walkers, &free, slots.size()) {
        let walker = &mut walkers[walker as usize];
        if walker.room > 0 && slots.claim(slot, walker.member) {
            walker.room -= 1;
        }
    }
}

/// All pairs of a walker and a free slot, in the order of time.
fn pairs(walkers: &[Walker], free: &[u32], size: u32) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(walkers.len() * free.len());
    for (walker, index) in walkers.iter().zip(0..) {
        let inverse = inverse(walker.skip, size);
        pairs.extend(free.iter().map(|&slot| {
            let distance = u64::from(slot + size - walker.position);
            let steps = distance % u64::from(size) * inverse % u64::from(size);
            Pair { time: due(walker, steps), walker: index, slot }
        }));
    }
    pairs.sort_unstable();
    pairs
}

/// When `walker` makes the claim that comes after `steps` others.
fn due(walker: &Walker, steps: u64) -> u64 {
    // Steps are below 2^20, so this is below 2^52, and the shift only uses the room that is left: with the largest
    // weight a claim is still 2^11 units of time.
    (((steps + 1) * CLAIM - walker.credit) << 11) / u64::from(walker.weight)
}

/// The inverse of `value` (1 to `prime` - 1) modulo `prime`: `value` to the power of `prime` - 2 (Fermat).
fn inverse(value: u32, prime: u32) -> u64 {
    let prime = u64::from(prime);
    let (mut result, mut power, mut exponent) = (1, u64::from(value), prime - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * power % prime;
        }
        power = power * power % prime;
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::inverse;
    use crate::schedule::maglev::TABLE_SIZES;

    #[test]
    fn inverses_multiply_to_one() {
        for size in TABLE_SIZES {
            for value in [1, 2, 3, size / 2, size - 2, size - 1] {
                assert_eq!(u64::from(value) * inverse(value, size) % u64::from(size), 1, "{value} mod {size}");
            }
        }
    }
}
