//! Schedulers: how a new flow gets its destination. One scheduler a file.
//!
//! [`slot`] is the part that the data path runs; the others prepare the tables that it reads.

#[cfg(feature = "std")]
pub mod maglev;
pub mod slot;
