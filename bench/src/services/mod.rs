//! Whole connections through Evenkeel and through what people run, everything on one core, so that the CPU time of a
//! connection decides: client, balancer and servers.
//!
//! Each subject has a network of its own (see [`evenkeel_tests::topology`]), all alike, and all are there at the same time;
//! measurements take turns.
//!
//! - [`subject`]: who is measured; [`proxies`]: HAProxy and nginx; [`translation`]: nftables. [`stage`]: a subject at
//!   work. [`responders`]: the servers. [`wrk`], [`clients`]: the clients. [`cpu`]: CPU time. [`cases`]: what is measured.
//! - [`flood`]: a section of its own, about latency in a SYN flood.

mod cases;
mod clients;
mod cpu;
mod flood;
mod proxies;
mod responders;
mod stage;
mod subject;
mod translation;
mod wrk;

pub(crate) use cases::SECTION;
pub(crate) use flood::SECTION as FLOOD;
