//! Properties of the weighted Maglev tables.

use std::collections::HashSet;

use lb_common::schedule::maglev::{MaglevError, Member, TABLE_SIZES, build, member_id, table_size_for};
use proptest::prelude::*;
use proptest::sample::select;

/// `count` members of weight `weight` with ids as they come in practice.
fn equals(count: u32, weight: u32) -> Vec<Member> {
    (0..count).map(|i| Member { id: member_id(&mapped(0x0a00_0001 + i), 80), weight }).collect()
}

/// An IPv4 address as IPv4-mapped IPv6.
fn mapped(address: u32) -> [u8; 16] {
    (0xffff_0000_0000_u128 | u128::from(address)).to_be_bytes()
}

/// The owners of a table by id.
fn owners(members: &[Member], size: u32) -> Vec<u64> {
    build(members, size).unwrap().iter().map(|&i| members[i as usize].id).collect()
}

/// Slots of each member.
fn counts(members: &[Member], size: u32) -> Vec<u32> {
    let mut counts = vec![0; members.len()];
    build(members, size).unwrap().iter().for_each(|&i| counts[i as usize] += 1);
    counts
}

/// Percent of the slots that have another owner.
fn moved(before: &[Member], after: &[Member], size: u32) -> f64 {
    let changed = owners(before, size).iter().zip(owners(after, size)).filter(|&(&old, new)| old != new).count();
    100.0 * changed as f64 / f64::from(size)
}

/// The members without the `i`-th.
fn removed(members: &[Member], i: usize) -> Vec<Member> {
    [&members[..i], &members[i + 1..]].concat()
}

/// The members with twice the weight for the `i`-th.
fn doubled(members: &[Member], i: usize) -> Vec<Member> {
    let mut after = members.to_vec();
    after[i].weight *= 2;
    after
}

/// Largest and mean of the percentages that move when `change` is made to 25 of the members in turn, spread over all.
fn disruption(before: &[Member], size: u32, change: impl Fn(&[Member], usize) -> Vec<Member>) -> (f64, f64) {
    let all: Vec<f64> =
        (0..before.len()).step_by(before.len().div_ceil(25)).map(|i| moved(before, &change(before, i), size)).collect();
    (all.iter().copied().fold(0.0, f64::max), all.iter().sum::<f64>() / all.len() as f64)
}

/// Weights of every magnitude, small ones and zero often.
fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0u32..4, 3 => 1u32..=256, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

/// 1 to `most` members with distinct ids.
fn members(most: usize) -> impl Strategy<Value = Vec<Member>> {
    prop::collection::hash_map(any::<u64>(), weight(), 1..=most)
        .prop_map(|map| map.into_iter().map(|(id, weight)| Member { id, weight }).collect())
}

/// The documented rule, one round of setting aside at a time and in exact arithmetic: (least, most) slots of each.
fn allowed(members: &[Member], size: u32) -> Vec<(u32, u32)> {
    let mut aside: Vec<bool> = members.iter().map(|member| member.weight == 0).collect();
    loop {
        let total: u128 = (0..members.len()).filter(|&i| !aside[i]).map(|i| u128::from(members[i].weight)).sum();
        let single = (0..members.len()).filter(|&i| aside[i] && members[i].weight > 0).count();
        let product = |i: usize| u128::from(members[i].weight) * (size as usize - single) as u128;
        let below: Vec<usize> = (0..members.len()).filter(|&i| !aside[i] && product(i) < total).collect();
        if below.is_empty() {
            let bounds = |i: usize| match (members[i].weight, aside[i]) {
                (0, _) => (0, 0),
                (_, true) => (1, 1),
                _ => ((product(i) / total) as u32, product(i).div_ceil(total) as u32),
            };
            return (0..members.len()).map(bounds).collect();
        }
        below.into_iter().for_each(|i| aside[i] = true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn shares_follow_the_documented_rule(members in members(251), size in select(&TABLE_SIZES[..5])) {
        prop_assume!(members.iter().any(|member| member.weight > 0));
        let counts = counts(&members, size);
        prop_assert_eq!(counts.iter().sum::<u32>(), size);
        for ((count, (least, most)), member) in counts.iter().zip(allowed(&members, size)).zip(&members) {
            prop_assert!((least..=most).contains(count), "{member:?} has {count}, not {least}..={most}");
        }
    }

    #[test]
    fn equal_weights_differ_by_at_most_one(count in 1u32..251, weight in 1u32.., size in select(&TABLE_SIZES[..7])) {
        let counts = counts(&equals(count, weight), size);
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
    }

    #[test]
    fn order_of_the_members_does_not_matter(
        (members, shuffled) in members(80).prop_flat_map(|m| (Just(m.clone()), Just(m).prop_shuffle())),
    ) {
        prop_assume!(members.iter().any(|member| member.weight > 0));
        prop_assert_eq!(owners(&members, 2039), owners(&shuffled, 2039));
    }

    #[test]
    fn members_without_weight_change_nothing(members in members(80)) {
        let weighted: Vec<Member> = members.iter().copied().filter(|member| member.weight > 0).collect();
        prop_assert_eq!(owners(&members, 2039), owners(&weighted, 2039));
    }

    #[test]
    fn a_duplicate_id_is_refused(members in members(80), from: prop::sample::Index, weight in weight()) {
        let id = members[from.index(members.len())].id;
        let mut members = members;
        members.push(Member { id, weight });
        prop_assert_eq!(build(&members, 2039), Err(MaglevError::DuplicateId(id)));
    }

    #[test]
    fn each_bit_of_an_address_changes_about_half_of_the_id(address: [u8; 16], port: u16) {
        let id = member_id(&address, port);
        let flips = (0..128).map(|bit| member_id(&(u128::from_be_bytes(address) ^ (1 << bit)).to_be_bytes(), port));
        let flips: Vec<u64> = flips.chain((0..16).map(|bit| member_id(&address, port ^ (1 << bit)))).collect();
        // Binomial with n = 64, p = 1/2: ten bits changed are 5.5 standard deviations away.
        prop_assert!(flips.iter().all(|flip| (8..=56).contains(&(flip ^ id).count_ones())));
        let mean = flips.iter().map(|flip| f64::from((flip ^ id).count_ones())).sum::<f64>() / flips.len() as f64;
        prop_assert!((29.0..35.0).contains(&mean), "{mean} of 64 bits change");
    }
}

#[test]
fn removing_one_of_a_hundred_moves_less_than_published_maglev() {
    let (largest, mean) = disruption(&equals(100, 1), 65537, removed);
    assert!(largest < 1.45 && mean < 1.35, "largest {largest} %, mean {mean} %");
}

#[test]
fn a_larger_table_moves_little_more_than_it_must() {
    let (largest, mean) = disruption(&equals(100, 1), 655_373, removed);
    assert!(largest < 1.15 && mean < 1.10, "largest {largest} %, mean {mean} %");
}

#[test]
fn removing_a_weighted_member_moves_little_more_than_its_share() {
    let mut members = equals(100, 1);
    members.iter_mut().zip(0..).for_each(|(member, i)| member.weight = 1 + i % 10);
    for i in (0..100).step_by(7) {
        let share = 100.0 * f64::from(members[i].weight) / 550.0;
        let moved = moved(&members, &removed(&members, i), 65537);
        assert!(moved < share + 0.45, "{moved} % for a share of {share} %");
    }
}

#[test]
fn doubling_a_weight_moves_little_more_than_the_gain() {
    // From 1/100 to 2/101 of the table: 0.98 % has to move.
    let (largest, mean) = disruption(&equals(100, 10), 65537, doubled);
    assert!(largest < 1.45 && mean < 1.35, "largest {largest} %, mean {mean} %");
}

#[test]
fn neighbouring_slots_have_independent_owners() {
    let table = build(&equals(100, 1), 65537).unwrap();
    let repeats = table.windows(2).filter(|pair| pair[0] == pair[1]).count();
    // A run of one owner would send a range of hashes to one backend; 1 % is what chance gives.
    assert!((300..1300).contains(&repeats), "{repeats} of 65536");
}

#[test]
fn as_many_members_as_slots_fit_and_one_more_does_not() {
    assert_eq!(counts(&equals(251, 9), 251), vec![1; 251]);
    let members = equals(252, 9);
    assert_eq!(build(&members, 251), Err(MaglevError::TooManyMembers { members: 252, size: 251 }));
    let mut one_without = members;
    one_without[7].weight = 0;
    assert_eq!(build(&one_without, 251).map(|table| table.len()), Ok(251));
}

#[test]
fn nobody_with_a_weight_gives_an_empty_table() {
    assert_eq!(build(&[], 251), Ok(Vec::new()));
    assert_eq!(build(&equals(3, 0), 251), Ok(Vec::new()));
}

#[test]
fn sizes_are_ascending_primes_and_others_are_refused() {
    assert!(TABLE_SIZES.is_sorted_by(|a, b| a < b));
    assert!(TABLE_SIZES.iter().all(|&size| (2..).take_while(|i| i * i <= size).all(|i| size % i != 0)));
    for size in [0, 1, 250, 65536, u32::MAX] {
        assert_eq!(build(&equals(3, 1), size), Err(MaglevError::Size(size)));
    }
}

#[test]
fn a_table_has_a_hundred_slots_for_each_backend() {
    let cases =
        [(0, 251), (2, 251), (3, 509), (100, 16381), (655, 65537), (656, 131_071), (6553, 655_373), (6554, 655_373)];
    for (backends, size) in cases.into_iter().chain([(usize::MAX, 655_373)]) {
        assert_eq!(table_size_for(backends), size, "{backends} backends");
    }
}

/// Nodes of one cluster may run different versions: ids and tables must not change between them.
#[test]
fn ids_and_tables_are_the_same_in_every_version() {
    assert_eq!(member_id(&mapped(0xc000_0201), 80), 0xae5b_2307_1e6e_588c);
    assert_eq!(member_id(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 443), 0x908b_f8cd_f275_020a);
    let mut members = equals(7, 1);
    members[3].weight = 5;
    let table = build(&members, 251).unwrap();
    assert_eq!(table[..24], [5, 3, 3, 4, 6, 3, 6, 3, 4, 3, 6, 3, 0, 6, 4, 2, 2, 5, 4, 3, 3, 5, 3, 4]);
    let digest = |table: Vec<u32>| table.iter().fold(0u64, |sum, &i| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(i));
    assert_eq!(digest(table), 13085340047359152321);
    members.extend(equals(100, 3).drain(7..));
    assert_eq!(digest(build(&members, 65537).unwrap()), 18376271216949033128);
}

#[test]
fn ids_of_a_network_are_distinct() {
    let ids: HashSet<u64> =
        (0..1 << 16).flat_map(|i| [80, 443].map(|port| member_id(&mapped(0x0a00_0000 + i), port))).collect();
    assert_eq!(ids.len(), 2 << 16);
}
