//! The books: every packet is counted under exactly one verdict.

use crate::{abi::DestinationCounters, environment::Environment, verdict::Verdict};

/// What became of a packet, and where it is counted.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
#[derive(Clone, Copy)]
pub struct Outcome<'a> {
    /// What is done with it.
    pub verdict: Verdict,
    /// The counters of the destination that it goes to; `None` for what stays, and for replies of the node.
    pub destination: Option<&'a DestinationCounters>,
}

impl From<Verdict> for Outcome<'_> {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self { verdict, destination: None }
    }
}

/// Counts a packet of `bytes` bytes as it arrived: what goes to a destination there, everything else at the node.
#[inline(always)]
pub fn book<E: Environment>(env: &E, outcome: Outcome<'_>, bytes: u64) {
    if let Some(counters) = outcome.destination {
        match outcome.verdict {
            Verdict::Transmit => return counters.transmitted.add(bytes),
            Verdict::Redirect(_) | Verdict::Return(_) => return counters.redirected.add(bytes),
            Verdict::Pass(_) | Verdict::Drop(_) => {}
        }
    }
    let Some(counters) = env.node_counters() else { return };
    match outcome.verdict {
        Verdict::Transmit => counters.transmitted.add(bytes),
        Verdict::Redirect(_) | Verdict::Return(_) => counters.redirected.add(bytes),
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
