//! Evenkeel's packet logic and the layout of its tables.
//!
//! The crate is the one source of what happens to a packet. It never touches memory itself: bytes are reached through
//! [`frame::Frame`], tables through [`environment::Environment`]. `lb-ebpf` implements both over the XDP context and BPF
//! maps; tests, fuzzers and `evenkeel explain` over slices ([`memory`]).
//!
//! Where to find what:
//!
//! - [`packet`]: the way of a packet, on one screen.
//! - [`wire`]: one protocol header a file; [`parse`] walks them to a [`parse::Parsed`] packet.
//! - [`service`]: whose packet is it. [`flow`]: the flow table. [`schedule`]: how a new flow gets its destination.
//! - [`quic`]: which backend a QUIC packet names by its connection id.
//! - [`forward`]: one forwarding mode a file. [`reply`]: packets that the node makes itself. [`icmp`] and [`fragment`]: what
//!   becomes of ICMP and of fragments.
//! - [`nat`]: addresses and ports translated, and back.
//! - [`passive`]: what packets tell of a backend's health.
//! - [`features`]: what a configuration uses, and the program has in it.
//! - [`abi`]: records shared between the XDP program and user space. [`verdict`]: every reason, by name.
//!
//! [`decap`] is the other end of a tunnel, at a backend, and a program of its own.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![deny(unsafe_code)]

pub mod abi;
pub mod account;
pub mod clients;
pub mod decap;
pub mod environment;
pub mod features;
pub mod flow;
pub mod forward;
pub mod fragment;
pub mod frame;
pub mod hash;
pub mod icmp;
pub mod limits;
#[cfg(feature = "std")]
pub mod memory;
pub mod nat;
pub mod opaque;
pub mod packet;
pub mod parse;
pub mod passive;
pub mod quic;
pub mod reply;
pub mod schedule;
pub mod service;
pub mod steady;
pub mod verdict;
pub mod wire;
