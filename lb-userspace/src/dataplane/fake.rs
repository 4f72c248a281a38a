//! A data path in memory, for tests: the same tables, and packets through the same function.

use std::collections::BTreeMap;

use anyhow::Result;
use lb_common::{
    account,
    features::Features,
    frame::Frame as _,
    memory::{Constants, Packet, Sizes, Slices, Tables},
    packet,
    verdict::Verdict,
};

use super::DataPlane;

/// Tables in vectors, and what was done besides writing them.
#[derive(Debug)]
pub struct Fake {
    tables: Tables,
    /// The constants of the program.
    pub constants: Constants,
    /// The interfaces that packets come from.
    pub ingress: Vec<u32>,
    /// The tick that [`DataPlane::now`] tells.
    pub tick: u32,
    /// Devices by egress index.
    pub devices: BTreeMap<u32, u32>,
    /// Grace periods so far.
    pub grace_periods: usize,
}

impl Fake {
    /// Empty tables.
    #[must_use]
    pub fn new(sizes: Sizes) -> Self {
        let hash_key = std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(i as u32 + 1));
        // Nothing but what is asked for, so that a packet tells if it was not enough.
        let constants =
            Constants { hash_key, ticks_per_second: 16, fragment_timeout: 16 * 30, features: Features::NONE };
        Self {
            tables: Tables::new(sizes),
            constants,
            ingress: Vec::new(),
            tick: 0,
            devices: BTreeMap::new(),
            grace_periods: 0,
        }
    }

    /// Puts a packet from interface `ingress` through the balancer at tick `now`.
    pub fn run(&self, bytes: &[u8], now: u32, ingress: u32) -> (Verdict, Vec<u8>) {
        let mut packet = Packet::new(bytes);
        let length = packet.len() as u64;
        let view = self.tables.view(self.constants, now, ingress);
        let outcome = packet::process(&view, &mut packet);
        account::book(&view, outcome, length);
        (outcome.verdict, packet.into_bytes())
    }
}

impl DataPlane for Fake {
    fn tables(&self) -> Slices<'_> {
        self.tables.slices()
    }

    fn constants(&self) -> Constants {
        self.constants
    }

    fn ingress(&self) -> &[u32] {
        &self.ingress
    }

    fn require(&mut self, features: Features) -> Result<()> {
        self.constants.features = self.constants.features.with(features);
        Ok(())
    }

    fn now(&self) -> Result<u32> {
        Ok(self.tick)
    }

    fn set_device(&mut self, egress: u32, ifindex: u32) -> Result<()> {
        self.devices.insert(egress, ifindex);
        Ok(())
    }

    fn publish_filter(&mut self) -> Result<()> {
        Ok(())
    }

    fn quiesce(&mut self) -> Result<()> {
        self.grace_periods += 1;
        Ok(())
    }

    fn renew_counters(&mut self, _: u32) -> Result<()> {
        Ok(())
    }

    fn renew_limit_counters(&mut self, _: u32) -> Result<()> {
        Ok(())
    }
}
