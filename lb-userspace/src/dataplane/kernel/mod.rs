//! The kernel's side: the loaded program and its maps. The only user of aya.
//!
//! - [`object`]: the compiled program. [`loaded`]: it in the kernel, and its maps in our memory (`region`).
//! - [`decapsulator`]: the program of tunnel backends, likewise.
//! - `forwarder`: the forwarding code over the kernel's tables, for packets of this node's own.
//! - [`pins`]: what outlives the daemon, and whether it is ours. [`attach`], `detach`: the links to interfaces.
//! - `migration`: flows that move into another flow table. [`layouts`]: tables of earlier versions.
//! - [`clock`]: the data path's time. [`grace`]: when nobody reads what was replaced.

pub mod attach;
pub mod clock;
pub mod decapsulator;
mod detach;
mod forwarder;
pub mod grace;
pub mod layouts;
pub mod loaded;
mod migration;
pub mod object;
mod per_cpu;
pub mod pins;
mod region;
mod syscall;

pub use attach::{Attached, AttachedMode};
pub use clock::Clock;
pub use decapsulator::{DecapTables, Decapsulator};
pub use forwarder::Forwarder;
pub use loaded::{LoadOptions, Loaded};
pub use pins::Pins;
