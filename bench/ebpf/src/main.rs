//! The XDP programs of the bench. None of them is part of the balancer.
//!
//! - `driver`: makes each packet anew and calls the program under test.
//! - `drop`, `pass`, `mac_swap`, `ipip_push`: the least that a program of their kind can do.
//! - `textbook`: a balancer as one would write it with the kernel's own maps.
//! - `generator`: sends a packet with ever new flows out of a veth; `sink` counts what arrives.
//! - `quic_route`: reads the server id of a QUIC connection id, and nothing else.
//! - `timed_sink`: counts and discards what arrives, and says when.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod driver;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod quic;
#[cfg(target_arch = "bpf")]
mod references;
#[cfg(target_arch = "bpf")]
mod sink;
#[cfg(target_arch = "bpf")]
mod textbook;
#[cfg(target_arch = "bpf")]
mod timed_sink;

/// Lets programs call helpers that the kernel gives only to those compatible with the GPL.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Nothing in the programs panics; the language asks for a handler all the same.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
