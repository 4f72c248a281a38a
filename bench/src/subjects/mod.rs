//! The programs under test, with their tables filled, and the packets that they get.
//!
//! - [`subject`]: what a program offers to a measurement; [`evenkeel`], [`references`], [`textbook`], [`pinned`]: those
//!   there are. [`packets`]: what is sent to them. [`object`]: the bench's own programs, compiled in.
//!   [`nftables`]: loads the kernel's own way.

pub(crate) mod evenkeel;
pub(crate) mod nftables;
pub(crate) mod object;
pub(crate) mod packets;
pub(crate) mod pinned;
pub(crate) mod references;
pub(crate) mod subject;
pub(crate) mod textbook;
