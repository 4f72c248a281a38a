//! How many slots each member owns, before any slot is given away.

use std::cmp::Reverse;

/// Slots for each of `weights` (all above 0, at most `size` of them); they sum up to `size`.
///
/// The rule is stated at [`build`](super::build). Rounding is by largest remainder; of equal remainders the earlier
/// member wins, so `weights` has to be in an order that depends on ids only.
pub(super) fn quotas(weights: &[u32], size: u32) -> Vec<u32> {
    let mut quotas = vec![1; weights.len()];
    let mut ascending: Vec<usize> = (0..weights.len()).collect();
    ascending.sort_by_key(|&i| weights[i]);

    let mut slots = u64::from(size);
    let mut total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let mut minimal = 0;
    // Each one-slot member takes more than its share, which leaves fewer slots per weight for the rest: once a member
    // reaches a share of 1, so do all heavier ones.
    for &i in &ascending {
        let weight = u64::from(weights[i]);
        if weight * slots >= total {
            break;
        }
        slots -= 1;
        total -= weight;
        minimal += 1;
    }
    share_out(&ascending[minimal..], weights, slots, total, &mut quotas);
    quotas
}

/// Shares `slots` among the members `sharing`, whose weights sum up to `total`, by largest remainder.
fn share_out(sharing: &[usize], weights: &[u32], slots: u64, total: u64, quotas: &mut [u32]) {
    let mut left = slots;
    let mut remainders = Vec::with_capacity(sharing.len());
    for &i in sharing {
        // Below 2^32 · 2^20.
        let product = u64::from(weights[i]) * slots;
        quotas[i] = (product / total) as u32;
        left -= product / total;
        remainders.push((Reverse(product % total), i));
    }
    remainders.sort_unstable();
    for &(_, i) in &remainders[..left as usize] {
        quotas[i] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::quotas;

    #[test]
    fn shares_follow_the_rule() {
        let cases: [(&str, &[u32], u32, &[u32]); 7] = [
            ("one member owns everything", &[7], 251, &[251]),
            ("the odd slot goes to the first of equals", &[5, 5], 251, &[126, 125]),
            ("the largest remainder wins, not the first", &[1, 2, 3], 251, &[42, 84, 125]),
            ("exact shares stay exact", &[1, 250], 251, &[1, 250]),
            ("a share below one is one slot", &[1, 1_000_000], 251, &[1, 250]),
            ("the slots set aside push the next one below one too", &[1, 999, 249_000, 2], 251, &[1, 1, 248, 1]),
            ("the largest weights", &[u32::MAX, u32::MAX, 1], 251, &[125, 125, 1]),
        ];
        for (name, weights, size, want) in cases {
            assert_eq!(quotas(weights, size), want, "{name}");
        }
    }

    #[test]
    fn as_many_members_as_slots_own_one_each() {
        let weights: Vec<u32> = (1..=251).map(|i| i * i).collect();
        assert_eq!(quotas(&weights, 251), vec![1; 251]);
    }
}
