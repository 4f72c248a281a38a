//! What holds for whatever is counted.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use proptest::{collection::vec, prelude::*};

use super::{LastProbe, Sample, Seen, Standing, Totals, Watch, outliers};
use crate::{config::model::PassiveHealth, health::Moment};

/// Connections and answered ones, in thousandths, and weight, of a backend in an interval.
type Load = (u64, u64, u32);

fn load() -> impl Strategy<Value = Load> {
    (0..2000_u64, 0..=1000_u64, 1..10_u32)
}

fn rules() -> impl Strategy<Value = PassiveHealth> {
    (1..200_u32, 1..=100_u8, 1..=100_u8).prop_map(|(min_connections, failure_margin, max_ejected)| PassiveHealth {
        ejects: true,
        min_connections,
        failure_margin,
        max_ejected,
        ..PassiveHealth::default()
    })
}

fn totals((opened, thousandths, _): Load) -> Totals {
    Totals { opened, confirmed: opened * thousandths / 1000, ..Totals::default() }
}

fn samples(loads: &[Load]) -> Vec<Sample> {
    loads.iter().map(|load| Sample { totals: totals(*load), weight: load.2 }).collect()
}

fn moment(seconds: u64) -> Moment {
    Moment { clock: Duration::from_secs(seconds), shown: UNIX_EPOCH + Duration::from_secs(seconds) }
}

proptest! {
    /// All at fault alike, or the network of the clients: whatever the share that fails is.
    #[test]
    fn where_all_fail_alike_nobody_stands_out(
        rules in rules(), opened in vec((1..3000_u64, 1..10_u32), 0..12), thousandths in 0..=1000_u64, noise in 0..10_u64,
    ) {
        let rules = PassiveHealth { failure_margin: rules.failure_margin.max(3), min_connections: 100, ..rules };
        let loads: Vec<Load> = opened
            .iter()
            .enumerate()
            .map(|(i, (opened, weight))| (*opened, thousandths.saturating_sub(noise * (i as u64 % 2)), *weight))
            .collect();
        prop_assert_eq!(outliers(&rules, &samples(&loads)), vec![]);
    }

    /// Never more than half, never one that is no worse than the margin, and the worst first.
    #[test]
    fn those_who_stand_out_are_few_and_worse(rules in rules(), loads in vec(load(), 0..12)) {
        let samples = samples(&loads);
        let found = outliers(&rules, &samples);
        prop_assert!(2 * found.len() <= samples.len(), "{:?}", found);
        for one in &found {
            prop_assert!(samples[one.index].totals.opened >= u64::from(rules.min_connections));
            let margin = f64::from(rules.failure_margin) / 100.0;
            prop_assert!(one.failure - one.others >= margin);
            let better = samples.iter().filter(|other| other.totals.failure() + margin <= one.failure).count();
            prop_assert!(better > 0);
        }
        prop_assert!(found.is_sorted_by(|a, b| a.failure >= b.failure));
        prop_assert_eq!(found, outliers(&rules, &samples));
    }

    /// Whatever is counted, and whoever comes and goes: the share holds, and the same leads to the same.
    #[test]
    fn the_share_is_never_exceeded(
        rules in rules(), intervals in vec((vec(load(), 6), vec(any::<bool>(), 6)), 1..30),
    ) {
        let run = || {
            let mut watch = Watch::new(moment(0));
            let mut sums: BTreeMap<usize, Totals> = BTreeMap::new();
            let mut log = Vec::new();
            for (interval, (loads, able)) in intervals.iter().enumerate() {
                let ejected = watch.ejected();
                let mut seen = BTreeMap::new();
                for (key, load) in loads.iter().enumerate() {
                    let sum = sums.entry(key).or_default();
                    if !ejected.contains(&key) {
                        sum.opened += load.0;
                        sum.confirmed += totals(*load).confirmed;
                    }
                    let (totals, weight, able) = (*sum, load.2, able[key]);
                    seen.insert(key, Seen { identity: 1, totals, weight, able, probe: LastProbe::Unprobed });
                }
                for second in 0..11 {
                    let changed = watch.step(&rules, moment(10 * interval as u64 + second), &seen);
                    log.push((changed, watch.ejected()));
                    let weight = |keys: &mut dyn Iterator<Item = &usize>| -> u64 {
                        keys.filter(|key| seen[key].able).map(|key| u64::from(seen[key].weight)).sum()
                    };
                    let out = watch.ejected();
                    let (part, all) = (weight(&mut out.iter()), weight(&mut seen.keys()));
                    let single = out.iter().filter(|key| seen[key].able).count() == 1;
                    let fits = part == 0
                        || single && 2 * part <= all
                        || part < all && 100 * part <= u64::from(rules.max_ejected) * all;
                    prop_assert!(fits, "{part} of {all}, {out:?}");
                }
            }
            Ok(log)
        };
        prop_assert_eq!(run()?, run()?);
    }

    /// The same in each interval: after the first, nothing changes but by the times of ejections.
    #[test]
    fn what_stays_the_same_does_not_go_to_and_fro(rules in rules(), loads in vec(load(), 1..8)) {
        let rules = PassiveHealth { ejects: false, ..rules };
        let mut watch = Watch::new(moment(0));
        let mut seen: BTreeMap<usize, Seen> = BTreeMap::new();
        let (mut changes, mut standings) = (0, Vec::new());
        for second in 0..200 {
            for (key, load) in loads.iter().enumerate() {
                let known = seen.entry(key).or_insert(Seen {
                    identity: 1, totals: Totals::default(), weight: load.2, able: true, probe: LastProbe::Unprobed,
                });
                if second % 10 == 5 {
                    known.totals.opened += load.0;
                    known.totals.confirmed += totals(*load).confirmed;
                }
            }
            changes += watch.step(&rules, moment(second), &seen).len();
            if second == 15 {
                standings = loads.iter().enumerate().map(|(key, _)| watch.of(&key).unwrap().standing).collect();
                prop_assert!(changes <= loads.len());
            }
        }
        let last: Vec<Standing> = loads.iter().enumerate().map(|(key, _)| watch.of(&key).unwrap().standing).collect();
        prop_assert_eq!(changes, last.iter().filter(|standing| **standing == Standing::Outlier).count());
        prop_assert_eq!(standings, last);
    }
}
