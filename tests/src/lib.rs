//! The harness of Evenkeel's tests and of `cargo xtask demo`: real kernels, real servers, real clients.
//!
//! | Module | What it gives |
//! |---|---|
//! | [`topology`] | client, balancer and backends in network namespaces, joined by veth pairs and bridges |
//! | [`namespace`], [`process`] | running programs and closures inside a namespace, with guards |
//! | [`bpffs`] | a BPF file system of one's own for the pins |
//! | [`servers`] | nginx, a DNS server, iperf3 |
//! | [`clients`] | curl, wrk, dig, iperf3, and load generators that count exactly |
//! | [`capture`] | TCP segments as they arrive at a machine |
//! | [`daemon`] | the `evenkeel` binary: started, killed, reloaded, asked |
//! | [`wait`] | waiting for a condition, never for a time |
//! | [`vm`] | another kernel, in QEMU |
//!
//! Everything made is removed when its guard is dropped, on panic too; what a killed process
//! left behind is removed by [`names::sweep`], which every [`topology::Topology`] calls first.

pub mod bpffs;
pub mod capture;
pub mod clients;
pub mod content;
pub mod daemon;
pub mod effort;
pub mod http;
pub mod names;
pub mod namespace;
pub mod process;
pub mod scenario;
pub mod servers;
pub mod topology;
pub mod translation;
pub mod vm;
pub mod wait;
