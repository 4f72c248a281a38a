//! Evenkeel: the daemon and the command line.
//!
//! The way of a change is one direction: *source* ([`config`], [`api`], [`state`]) → desired state → [`plan`] (a pure
//! function) → [`dataplane`] (publish). Health ([`health`], [`probe`]) and next hops ([`neighbour`]) are inputs to the plan.
//!
//! [`decap`] is a program of its own, for backends.
#![deny(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod controller;
pub mod dataplane;
pub mod decap;
pub mod health;
pub mod hooks;
pub mod import;
pub mod neighbour;
mod open_files;
pub mod plan;
pub mod probe;
mod process;
pub mod quic;
pub mod state;
pub mod supervisor;
