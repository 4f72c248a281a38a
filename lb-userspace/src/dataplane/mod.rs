//! The data path, from outside: where plans are carried out.
//!
//! [`DataPlane`] is what publishing needs; [`kernel::Loaded`] is the real one and [`fake::Fake`] one in memory. Both keep
//! their tables in the same records, so [`publish()`] is one function for both.

pub mod explain;
pub mod fake;
pub mod kernel;
pub mod publish;
pub mod scan;

use anyhow::Result;
use lb_common::{
    features::Features,
    memory::{Constants, Slices},
};
pub use publish::publish;

/// Tables that a plan is written to.
pub trait DataPlane {
    /// The tables.
    fn tables(&self) -> Slices<'_>;

    /// The constants that the program runs with.
    fn constants(&self) -> Constants;

    /// The interfaces that packets come from, by the kernel's index.
    fn ingress(&self) -> &[u32];

    /// Sees to it that the program has these features, besides those that it has.
    ///
    /// # Errors
    ///
    /// If the kernel refuses another program; the one before stays then.
    fn require(&mut self, features: Features) -> Result<()>;

    /// The program's present tick.
    ///
    /// # Errors
    ///
    /// If it cannot be asked.
    fn now(&self) -> Result<u32>;

    /// Names the device behind an egress index.
    ///
    /// # Errors
    ///
    /// If there is no such device.
    fn set_device(&mut self, egress: u32, ifindex: u32) -> Result<()>;

    /// Hands the filter of VIPs ([`Slices::vip_filter`]) to the program.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    fn publish_filter(&mut self) -> Result<()>;

    /// Waits until no packet is under way that may have seen what was replaced before.
    ///
    /// # Errors
    ///
    /// If the kernel cannot.
    fn quiesce(&mut self) -> Result<()>;

    /// Lets the counters of a destination that no packet goes to begin anew.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    fn renew_counters(&mut self, destination: u32) -> Result<()>;

    /// Lets the counters of a service's limits begin anew.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    fn renew_limit_counters(&mut self, service: u32) -> Result<()>;
}

impl DataPlane for kernel::Loaded {
    fn tables(&self) -> Slices<'_> {
        Self::tables(self)
    }

    fn constants(&self) -> Constants {
        Self::constants(self)
    }

    fn ingress(&self) -> &[u32] {
        Self::ingress(self)
    }

    fn require(&mut self, features: Features) -> Result<()> {
        Self::require(self, features)
    }

    fn now(&self) -> Result<u32> {
        Self::now(self)
    }

    fn set_device(&mut self, egress: u32, ifindex: u32) -> Result<()> {
        Self::set_device(self, egress, ifindex)
    }

    fn publish_filter(&mut self) -> Result<()> {
        Self::publish_filter(self)
    }

    fn quiesce(&mut self) -> Result<()> {
        kernel::grace::wait()
    }

    fn renew_counters(&mut self, destination: u32) -> Result<()> {
        self.renew_destination_counters(destination)
    }

    fn renew_limit_counters(&mut self, service: u32) -> Result<()> {
        Self::renew_limit_counters(self, service)
    }
}
