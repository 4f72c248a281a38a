//! What survives a restart besides the configuration file: changes made at run time, drains, the hash secret.

pub mod runtime;
pub mod secret;
pub mod store;

pub use runtime::{BackendRuntime, DrainRecord, Effective, Leaving, Runtime, ServiceRuntime};
pub use store::Store;
