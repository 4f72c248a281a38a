//! Maglev tables: time to build, and slots that change with the members, each beside the plain published algorithm.
//!
//! Compare within one run only; absolute times are the machine's.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lb_common::schedule::maglev::{Member, build, member_id};

/// Listing 1 of the Maglev paper (without weights), with the remainder taken out of its inner loop as here.
fn published(members: &[Member], size: u32) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let mut walks: Vec<(u32, u32)> =
        members.iter().map(|member| ((member.id >> 32) as u32 % size, 1 + member.id as u32 % (size - 1))).collect();
    let mut owners = vec![FREE; size as usize];
    let mut taken = 0;
    loop {
        for ((position, skip), member) in walks.iter_mut().zip(0..) {
            loop {
                let owner = &mut owners[*position as usize];
                *position += *skip;
                if *position >= size {
                    *position -= size;
                }
                if *owner == FREE {
                    *owner = member;
                    break;
                }
            }
            taken += 1;
            if taken == size {
                return owners;
            }
        }
    }
}

/// `count` members in 10/8, the weight of the i-th given by `weight`.
fn members(count: u32, weight: impl Fn(u32) -> u32) -> Vec<Member> {
    (0..count)
        .map(|i| {
            let mut address = [0; 16];
            address[10..12].fill(0xff);
            address[12..].copy_from_slice(&(0x0a00_0001 + i).to_be_bytes());
            Member { id: member_id(&address, 80), weight: weight(i) }
        })
        .collect()
}

fn time(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("maglev");
    group.sample_size(20);
    for (size, count) in [(65537, 10), (65537, 100), (65537, 1000), (655_373, 1000)] {
        let parameter = format!("{size}x{count}");
        let equal = members(count, |_| 100);
        let weighted = members(count, |i| 1 + i % 10);
        group.bench_function(BenchmarkId::new("published", &parameter), |b| {
            b.iter(|| published(black_box(&equal), size));
        });
        group.bench_function(BenchmarkId::new("equal", &parameter), |b| {
            b.iter(|| build(black_box(&equal), size).unwrap());
        });
        group.bench_function(BenchmarkId::new("weighted", &parameter), |b| {
            b.iter(|| build(black_box(&weighted), size).unwrap());
        });
    }
    group.finish();
}

/// A way to build a table.
type Builder = fn(&[Member], u32) -> Vec<u32>;

/// Percent of the slots whose owner differs, mean and largest over changes to every (at most 50, of all weights) member.
fn disruption(
    builder: Builder,
    before: &[Member],
    size: u32,
    change: fn(&[Member], usize) -> Vec<Member>,
) -> (f64, f64) {
    let owners =
        |members: &[Member]| -> Vec<u64> { builder(members, size).iter().map(|&i| members[i as usize].id).collect() };
    let old = owners(before);
    let changed: Vec<f64> = (0..before.len())
        .step_by(before.len().div_ceil(50) | 1)
        .map(|i| {
            let after = change(before, i);
            let moved = owners(&after).iter().zip(&old).filter(|(new, old)| new != old).count();
            100.0 * moved as f64 / f64::from(size)
        })
        .collect();
    (changed.iter().sum::<f64>() / changed.len() as f64, changed.iter().copied().fold(0.0, f64::max))
}

fn remove(members: &[Member], i: usize) -> Vec<Member> {
    [&members[..i], &members[i + 1..]].concat()
}

fn double(members: &[Member], i: usize) -> Vec<Member> {
    let mut after = members.to_vec();
    after[i].weight *= 2;
    after
}

fn figures(_: &mut Criterion) {
    let ours: Builder = |members, size| build(members, size).unwrap();
    println!("slots that change, in percent: mean (largest)");
    for (size, count) in [(65537, 10), (65537, 100), (65537, 1000), (655_373, 100), (655_373, 1000)] {
        let equal = members(count, |_| 10);
        let weighted = members(count, |i| 1 + i % 10);
        let rows = [
            ("published, one of equals removed", disruption(published, &equal, size, remove)),
            ("one of equals removed", disruption(ours, &equal, size, remove)),
            ("one of weights 1 to 10 removed", disruption(ours, &weighted, size, remove)),
            ("weight of one of equals doubled", disruption(ours, &equal, size, double)),
        ];
        for (what, (mean, largest)) in rows {
            println!("{size:>6} x {count:<4} {what:<34} {mean:.2} ({largest:.2})");
        }
    }
}

criterion_group!(benches, figures, time);
criterion_main!(benches);
