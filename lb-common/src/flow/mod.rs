//! The flow table: an array of 64-byte buckets of four 16-byte entries.
//!
//! A flow has two candidate buckets, so nearly every look-up costs one cache line and the table fills far past three
//! quarters before a live flow finds no room. State helps but is never needed: a flow without an entry goes
//! where its hash says.
//!
//! - [`entry`]: what an entry holds and why it cannot be read torn. [`state`]: the states of a flow.
//! - [`table`]: find and insert. [`room`]: what happens when both buckets are full. [`resize`]: into a table of another size.

pub mod entry;
#[cfg(not(target_arch = "bpf"))]
pub mod resize;
pub mod room;
pub mod state;
pub mod table;

pub use entry::{FlowBucket, FlowEntry, FlowWord, SKEW_TICKS, TICK_MASK};
pub use state::FlowState;
pub use table::{Placement, find, find_tag, insert};

/// Entries in a bucket.
pub const BUCKET_ENTRIES: usize = 4;
/// Memory for one flow, in bytes; there is nothing beside the table.
pub const ENTRY_BYTES: usize = 16;
