//! The data path, from outside: where plans are carried out.

pub mod kernel;
