//! End-to-end tests: real clients and servers in network namespaces, the real daemon and its XDP program between them.
//!
//! Each test prints in one line what it showed. Needs root, iproute2, ethtool, nginx, dnsmasq, dig, curl, ping, wrk and iperf3.

mod affinity;
mod apply;
mod bond;
mod churn;
mod counters;
mod decap;
mod decapsulator;
mod drain;
mod drain_deadline;
mod drain_down;
mod drain_registration;
mod drain_server;
mod failure;
mod flood;
mod fragments;
mod health;
mod icmp;
mod import;
mod kernel_tunnels;
mod lifecycle;
mod limits;
mod lossless;
mod modes;
mod mtu;
mod nat;
mod nat_replies;
mod neighbour;
mod next_hops;
mod no_backend;
mod passive;
mod priority;
mod probe_way;
mod programs;
mod protocols;
mod quic;
mod restart;
mod runtime;
mod schedulers;
mod serving;
mod shares;
mod toa;
mod verify;
mod vlan;
