//! Wire formats: one header a file, each with where its fields lie and a checked way in.

pub mod checksum;
pub mod ethernet;
pub mod gue;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;
