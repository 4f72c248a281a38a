//! The books: every packet is counted under exactly one verdict.

use crate::{abi::NodeCounters, verdict::Verdict};

/// Counts a packet of `bytes` bytes as it arrived.
#[inline(always)]
pub fn book(counters: &NodeCounters, verdict: Verdict, bytes: u64) {
    match verdict {
        Verdict::Transmit => counters.transmitted.add(bytes),
        Verdict::Redirect(_) => counters.redirected.add(bytes),
        Verdict::Pass(reason) => {
            counters.passed(reason).add(1);
            counters.stopped_bytes.add(bytes);
        }
        Verdict::Drop(reason) => {
            counters.dropped(reason).add(1);
            counters.stopped_bytes.add(bytes);
        }
    }
}
