//! Evenkeel's packet logic and the layout of its tables.
#![cfg_attr(not(feature = "std"), no_std)]

pub mod schedule;
