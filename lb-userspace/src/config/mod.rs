//! Configuration: what the user wrote, what was checked.

pub mod model;
