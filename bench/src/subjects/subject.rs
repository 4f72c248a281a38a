//! What a program under test offers to the cases.

use anyhow::Result;
use aya::programs::ProgramFd;
use lb_common::abi::{Mode, Pick};

use super::packets::Shape;

/// What must have become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Forwarded, and the flow was known.
    Hit,
    /// Forwarded, and the flow was new.
    Insert,
    /// Forwarded, whether the flow could be remembered or not.
    Forwarded,
    /// Left to the host.
    Passed,
    /// Discarded.
    Dropped,
}

/// What the tables are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Services besides the one that packets are for.
    pub(crate) services: u32,
    /// Flows that must fit.
    pub(crate) capacity: u64,
    /// How packets get to the backends, which have IPv4 addresses.
    pub(crate) mode: Mode,
    /// How Evenkeel's services choose; the others have but one way.
    pub(crate) pick: Pick,
}

/// Counters of what became of packets, as far as a subject keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Sent on.
    pub(crate) forwarded: u64,
    /// New flows among them that were remembered.
    pub(crate) inserted: u64,
    /// Left to the host.
    pub(crate) passed: u64,
    /// Discarded.
    pub(crate) dropped: u64,
}

impl Tally {
    /// What was counted since.
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            forwarded: self.forwarded - before.forwarded,
            inserted: self.inserted - before.inserted,
            passed: self.passed - before.passed,
            dropped: self.dropped - before.dropped,
        }
    }
}

/// A program under test.
pub(crate) trait Subject {
    /// Its name in results.
    fn name(&self) -> &str;
    /// The program.
    fn program(&self) -> Result<ProgramFd>;
    /// Whether it is meaningful in a case.
    fn takes(&self, shape: Shape, expected: Expected) -> bool;
    /// Empties the table of flows.
    fn clear_flows(&mut self) -> Result<()> {
        Ok(())
    }
    /// The same before a case, however long it takes: flows of the case before must not be in the way.
    fn forget_flows(&mut self) -> Result<()> {
        self.clear_flows()
    }
    /// What it counted so far; `None` if it does not count.
    fn tally(&self) -> Result<Option<Tally>> {
        Ok(None)
    }
    /// Flows that its table has places for; `None` if it remembers none, or nobody knows.
    fn flow_entries(&self) -> Option<u64> {
        None
    }
}
