//! The decapsulator in user space.

use super::{Control, Counters, Environment, Verdict, process};
use crate::{frame::Frame as _, memory::Packet};

/// Tables in this process.
#[derive(Debug, Default)]
pub struct Tables {
    /// The control record.
    pub control: Box<Control>,
    /// What was counted.
    pub counters: Counters,
}

impl Environment for Tables {
    fn control(&self) -> Option<&Control> {
        Some(&self.control)
    }
}

impl Tables {
    /// Decides over a packet, unpacks it and counts it.
    pub fn run(&self, packet: &mut Packet) -> Verdict {
        let bytes = packet.len() as u64;
        let verdict = process(self, packet);
        self.counters.book(verdict, bytes);
        verdict
    }
}
