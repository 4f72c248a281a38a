//! The data path, in memory and in the kernel.
//!
//! The packet catalogue says what it does with each kind of packet, as one table of rows.
//!
//! Each row is a configuration, packets in order, and what becomes of each to the byte. It runs twice: over tables in this
//! process ([`in_memory`]) and through the loaded program with `BPF_PROG_TEST_RUN` ([`in_kernel`]). Then each of its packets
//! is cut at every length in both, which have to agree ([`runner::cut_all`]). The books are closed after every packet.
//!
//! [`lines`] holds the rows, by line of the catalogue; [`wire`] builds packets, [`world`] tables.
//!
//! The decapsulator at a backend is another program, with rows of its own ([`decap`]).
//!
//! Beyond what rows can say, [`differential`] gives random steps to both, and [`two_cpus`] has two CPUs meet in the program.
#![deny(unsafe_code)]

mod case;
mod cpus;
mod cut;
mod decap;
mod differential;
mod document;
mod in_kernel;
mod in_memory;
mod limits;
mod lines;
mod machine;
mod oracle;
mod outer;
mod quic;
mod runner;
mod schedulers;
mod specialise;
mod translated;
mod two_cpus;
mod verifier;
mod way;
mod wire;
mod world;

use evenkeel_tests::effort;
