//! The kernel's side: the loaded program and its maps. The only user of aya.
//!
//! - [`object`]: the compiled program. [`loaded`]: it in the kernel, and its maps in our memory (`region`).
//! - [`pins`]: what outlives the daemon, and whether it is ours. [`attach`], `detach`: the links to interfaces.
//! - [`clock`]: the data path's time. [`grace`]: when nobody reads what was replaced.

pub mod attach;
pub mod clock;
mod detach;
pub mod grace;
pub mod loaded;
pub mod object;
mod per_cpu;
pub mod pins;
mod region;
mod syscall;

pub use attach::{Attached, AttachedMode};
pub use clock::Clock;
pub use loaded::{LoadOptions, Loaded};
pub use pins::Pins;
