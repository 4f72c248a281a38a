//! The packets of all rows with bytes changed at random: both machines agree, and what is unpacked was inside.

use super::{
    Expect,
    machine::{InKernel, InMemory, Machine},
    table::{outer_end, rows, with_rules},
};
use crate::{
    effort,
    lines::mutations::{Random, mutate},
};

/// Changed copies of each packet.
const COPIES: usize = 24;

/// The frame that the host gets: the link header of the one that came with the inner packet's type, and the end of it.
fn was_inside(frame: &[u8], host: &[u8]) -> Result<(), String> {
    let link = (0..2)
        .fold(14, |link, _| if matches!(&frame[link - 2..link], [0x81, 0] | [0x88, 0xa8]) { link + 4 } else { link });
    if host.len() < link + 20 || host.len() + 20 > frame.len() {
        return Err(format!("{} of {} bytes", host.len(), frame.len()));
    }
    let (inner, from) = (&host[link..], frame.len() - (host.len() - link));
    if host[..link - 2] != frame[..link - 2] {
        return Err("another link header".to_owned());
    }
    let fits = match (&host[link - 2..link], inner[0] >> 4) {
        ([0x08, 0x00], 4) => usize::from(u16::from_be_bytes([inner[2], inner[3]])),
        ([0x86, 0xdd], 6) => 40 + usize::from(u16::from_be_bytes([inner[4], inner[5]])),
        other => return Err(format!("ethertype and version {other:02x?}")),
    };
    if from + fits > outer_end(frame) {
        return Err("more than the outer packet held".to_owned());
    }
    // The congestion mark and the checksum over it may have changed, and nothing else.
    let marked = inner[0] >> 4 == 4;
    let may_differ = |i: usize| i == 1 || marked && matches!(i, 10 | 11);
    match (0..inner.len()).find(|i| inner[*i] != frame[from + i] && !may_differ(*i)) {
        Some(at) => Err(format!("byte {at} of the inner packet")),
        None => Ok(()),
    }
}

#[test]
fn machines_agree_on_packets_with_random_faults() {
    let Some(mut kernel) = InKernel::new() else { return };
    let mut memory = InMemory::default();
    with_rules(&mut kernel);
    with_rules(&mut memory);
    let seed = effort::seed() | 1;
    println!("EVENKEEL_TEST_SEED={seed}");
    let (mut random, mut all, mut unpacked) = (Random(seed), 0, 0);
    for row in rows() {
        for _ in 0..effort::times(COPIES) {
            let frame = mutate(&mut random, &row.frame);
            let one = memory.judge(&frame).expect("the books are right in memory");
            let other = kernel.judge(&frame).expect("the books are right in the kernel");
            assert_eq!(one, other, "{}: {frame:02x?}", row.what);
            all += 1;
            if let Expect::Unpacked(_, host) = &one {
                unpacked += 1;
                was_inside(&frame, host)
                    .unwrap_or_else(|wrong| panic!("{}: {wrong}: {frame:02x?}\n{host:02x?}", row.what));
            }
        }
    }
    println!("line 32, both, {all} packets with random faults: {unpacked} unpacked");
    assert!(unpacked > all / 20, "too few packets survive to say anything: {unpacked} of {all}");
}
