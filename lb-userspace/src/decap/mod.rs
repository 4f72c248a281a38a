//! `evenkeel decap`: the decapsulator at a backend. It shares nothing with the daemon but the mechanics of pins and links.
//!
//! - [`options`]: what the command line asks for. [`addresses`]: the default for the tunnel ends.
//! - [`service`]: puts the program to work and keeps its place. [`status`]: what it has done.

pub mod addresses;
pub mod options;
pub mod service;
pub mod status;
