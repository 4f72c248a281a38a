//! Line 33 and "never a wrong forward", beyond what anybody thought of: the packets of all rows with bytes changed at random.
//! Both machines have to agree on each, the books have to balance, and what leaves has changed in nothing but its MACs.

use super::services;
use crate::{
    case::{Step, case},
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Action, Machine as _, ROOMY},
    runner::{Run, same_outcome},
    world::{A, B, C},
};

/// Changed copies of each packet.
const COPIES: usize = 12;
/// Packets after which both tables are emptied: long before they fill up, because the clocks differ.
const ROUND: usize = 200;

/// Marsaglia's xorshift (Journal of Statistical Software 8(14), 2003): the same packets in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}

/// One to three bytes become others, mostly in the headers; one in four packets loses its end.
pub(crate) fn mutate(random: &mut Random, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(frame.len().min(90));
        frame[at] = match random.below(3) {
            0 => random.below(256) as u8,
            1 => frame[at] ^ 1 << random.below(8),
            _ => [0, 0xff, 6, 17, 43, 44, 60, 0x45][random.below(8)],
        };
    }
    if random.below(4) == 0 {
        frame.truncate(InKernel::SHORTEST + random.below(frame.len() + 1 - InKernel::SHORTEST));
    }
    frame
}

#[test]
fn machines_agree_on_packets_with_random_faults() {
    let Some(mut kernel) = InKernel::new(ROOMY) else { return };
    let mut memory = InMemory::new(ROOMY);
    let configuration = case("random faults", &services(&[A, B, C]), []);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let steps = super::all().into_iter().flat_map(|case| case.steps);
    let frames = steps.filter_map(|step| if let Step::Packet(frame, _) = step { Some(frame) } else { None });
    let mutated: Vec<Vec<u8>> =
        frames.flat_map(|frame| vec![frame; COPIES]).map(|frame| mutate(&mut random, &frame)).collect();
    let mut left = 0;
    for round in mutated.chunks(ROUND) {
        let mut a = Run::begin(&mut memory, &configuration);
        let mut b = Run::begin(&mut kernel, &configuration);
        for frame in round {
            let context = |message: String| format!("{message}: {frame:02x?}");
            let one = a.packet(frame).map_err(context).expect("the books are right in memory");
            let other = b.packet(frame).map_err(context).expect("the books are right in the kernel");
            same_outcome(&one, &other).map_err(context).expect("both machines do the same");
            let [replies, ..] = one.books.other;
            if replies == 0 && matches!(one.action, Action::Transmit | Action::Redirect) {
                left += 1;
                // Replies of the node have rows of their own.
                if one.books.other[0] > 0 {
                    continue;
                }
                assert_eq!(one.bytes[12..], frame[12..], "more than the MAC addresses changed");
            }
        }
    }
    println!("line 33, both, {} packets with random faults: {left} forwarded", mutated.len());
    assert!(left > mutated.len() / 10, "too few packets survive to say anything: {left}");
}
