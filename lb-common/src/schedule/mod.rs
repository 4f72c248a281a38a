//! Schedulers: how a new flow gets its destination. One scheduler a file.

#[cfg(feature = "std")]
pub mod maglev;
