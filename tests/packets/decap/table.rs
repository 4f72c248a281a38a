//! Runs all rows.

use lb_common::decap::Rules;

use super::{
    Expect, Row, fragments, hosts, kinds, lengths,
    machine::{InKernel, InMemory, Machine, rules},
    outer,
};

/// So many failures are told in full.
const SHOWN: usize = 10;

pub(super) fn rows() -> Vec<Row> {
    [kinds::rows(), outer::rows(), hosts::rows(), fragments::rows(), lengths::rows()].concat()
}

pub(super) fn with_rules(machine: &mut impl Machine) {
    let (ends, sources, gue_port) = rules();
    machine.publish(&Rules { ends: &ends, sources: &sources, gue_port });
}

fn report(what: &str, wrong: &[String]) {
    println!("line 32, {what}");
    let shown = wrong.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} wrong, the first:\n{shown}", wrong.len());
}

fn all_rows<M: Machine>(mut machine: M) {
    with_rules(&mut machine);
    let rows = rows();
    let wrong = |row: &Row| match machine.judge(&row.frame) {
        Ok(seen) if seen == row.expect => None,
        seen => Some(format!("{}:\n  seen     {seen:02x?}\n  expected {:02x?}", row.what, row.expect)),
    };
    let wrong: Vec<String> = rows.iter().filter_map(wrong).collect();
    report(&format!("{}: {} rows", M::NAME, rows.len()), &wrong);
}

#[test]
fn in_memory() {
    all_rows(InMemory::default());
}

#[test]
fn in_the_kernel() {
    if let Some(machine) = InKernel::new() {
        all_rows(machine);
    }
}

/// What a cut row may become, from the length of its outer packet alone.
fn fits(row: &Row, len: usize, seen: &Expect) -> bool {
    let Expect::Unpacked(kind, whole) = &row.expect else { return !matches!(seen, Expect::Unpacked(..)) };
    let lost = row.frame.len() - len;
    if len < outer_end(&row.frame) {
        return !matches!(seen, Expect::Unpacked(..));
    }
    // Only padding is lost.
    *seen == Expect::Unpacked(*kind, whole[..whole.len() - lost].to_vec())
}

/// Where the outer packet ends by its own words.
pub(super) fn outer_end(frame: &[u8]) -> usize {
    let be16 = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let mut at = 12;
    while matches!(be16(at), 0x8100 | 0x88a8) {
        at += 4;
    }
    let network = at + 2;
    if be16(at) == 0x0800 { network + be16(network + 2) } else { network + 40 + be16(network + 4) }
}

#[test]
fn cut_at_every_length() {
    let Some(mut kernel) = InKernel::new() else { return };
    let mut memory = InMemory::default();
    with_rules(&mut kernel);
    with_rules(&mut memory);
    let (mut cuts, mut wrong) = (0, Vec::new());
    for row in rows() {
        for len in 0..=row.frame.len() {
            cuts += 1;
            let frame = &row.frame[..len];
            let seen = memory.judge(frame);
            if !seen.as_ref().is_ok_and(|seen| fits(&row, len, seen)) {
                wrong.push(format!("{}, cut to {len}: {seen:02x?}", row.what));
            }
            if len >= InKernel::SHORTEST {
                let other = kernel.judge(frame);
                if other != seen {
                    wrong.push(format!("{}, cut to {len}: memory {seen:02x?}, kernel {other:02x?}", row.what));
                }
            }
        }
    }
    report(&format!("both: {cuts} cuts"), &wrong);
}
